"""The paper's claims as a sheet (config/experiments/claims.tsv), and what decides one.

A claim is about a difference d of two success rates, row minus other:

    greater      d > margin          the row is better (by more than the margin)
    less         d < -margin         the row is worse (by more than the margin)
    not_worse    d > -margin         non-inferior: worse by less than the margin

and is decided by an interval for d, at level 95 %: all of it inside what is claimed: `holds`; all of it outside: `does not hold`; otherwise
the episodes cannot tell: `underpowered`, with the smallest difference that they would have shown. A claim whose two numbers do not exist,
or do not belong to one condition, or to two policies, is `not comparable`. The paper states no margins: they are ours.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from dtr.errors import BadConfig

if TYPE_CHECKING:
    from dtr.stats import Interval

Verdict = Literal["holds", "does not hold", "underpowered", "not comparable"]
RULES = ("greater", "less", "not_worse")


@dataclass(frozen=True)
class Claim:
    """One claim: its name, the sentence, where the paper makes it, and the two cells and the rule that stand for it."""

    claim: str
    text: str
    source: str
    table: str
    row: str
    other: str
    column: str
    rule: str
    margin: float

    @property
    def threshold(self) -> float:
        """The difference at which the claim turns."""
        return self.margin if self.rule == "greater" else -self.margin

    def decide(self, interval: Interval) -> Verdict:
        """What an interval for d says."""
        if interval.low > self.threshold:
            return "does not hold" if self.rule == "less" else "holds"
        if interval.high < self.threshold:
            return "holds" if self.rule == "less" else "does not hold"
        return "underpowered"


def read_claims(path: Path) -> list[Claim]:
    """The claims of a sheet in order. Raises BadConfig."""
    names = [field.name for field in fields(Claim)]
    try:
        with open(path, newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file, delimiter="\t")
            lines = list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise BadConfig(f"expected a sheet of claims at {path}, but it cannot be read ({error}): correct --claims.") from error
    if list(reader.fieldnames or ()) != names or not lines:
        raise BadConfig(f"{path}: expected the columns {', '.join(names)} and a line a claim, got {', '.join(reader.fieldnames or ())}.")
    claims = []
    for number, line in enumerate(lines, 2):
        try:
            claims.append(Claim(**{**line, "margin": float(line["margin"])}))  # type: ignore[arg-type]
        except (TypeError, ValueError) as error:
            raise BadConfig(f"{path} line {number}: expected all {len(names)} columns and a margin in [0, 1), got {line}.") from error
        if claims[-1].rule not in RULES or not 0 <= claims[-1].margin < 1 or (claims[-1].rule == "not_worse") > (claims[-1].margin > 0):
            wanted = f"one of {', '.join(RULES)} with a margin in [0, 1), above 0 for not_worse"
            raise BadConfig(f"{path} line {number}: expected {wanted}, got {claims[-1].rule} with {claims[-1].margin}.")
    twice = next((c.claim for i, c in enumerate(claims) if c.claim in {d.claim for d in claims[:i]}), None)
    if twice is not None:
        raise BadConfig(f"{path}: the claim {twice!r} is there twice; give each its own name.")
    return claims
