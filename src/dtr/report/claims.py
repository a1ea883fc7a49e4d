"""The paper's claims as a sheet (config/experiments/claims.tsv), and what decides one.

A claim is about two rows, `row` and `other`, and a column. About success rates, with d = row minus other:

    greater           d > margin              the row is better (by more than the margin)
    less              d < -margin             the row is worse (by more than the margin)
    not_worse         d > -margin             non-inferior: worse by less than the margin

d is decided by its interval at level 95 %: all of it inside what is claimed: `holds`; all of it outside: `does not hold`; otherwise the
episodes cannot tell: `underpowered`. At margin 0 both need the p-value of the exact test to be at most 0.05 as well: a score interval may
leave 0 out by a hair where the exact test does not. A column `a-b` stands for a contrast: d is the difference in column a minus that in b.
About numbers without an interval (size, FLOPs, speed, memory), and about cuts:

    ratio_at_least    row / other >= margin
    ratio_at_most     row / other <= margin
    same_blocks       both rows keep the same blocks: their plans say so, whether or not they are trained

A claim whose numbers do not exist, or do not belong to one condition, or to two policies, is `not comparable`; so are shares of size, FLOPs
and memory of policies whose shapes are not the paper's. A row may name its table
(`table4/pi05.drop16`). The paper states no margins: they are ours; those of ratios are its own ratios, rounded to the weaker side.
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
Place = tuple[str, str, str]
"""Table, row and column of a cell."""
RATIOS = ("ratio_at_least", "ratio_at_most")
RULES = ("greater", "less", "not_worse", *RATIOS, "same_blocks")
A = 0.05


@dataclass(frozen=True)
class Claim:
    """One claim: its name, the sentence, where the paper makes it, and the cells and the rule that stand for it."""

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

    def places(self) -> list[Place]:
        """The cells that it is about: row and other, of a contrast in its first column and then in its second."""
        found = [(row.rpartition("/"), column) for column in self.column.split("-") for row in (self.row, self.other)]
        return [(table or self.table, row, column) for (table, _, row), column in found]

    def decide(self, interval: Interval, p: float) -> Verdict:
        """What an interval for d says, at margin 0 together with the p-value that d is 0."""
        if not self.margin and p > A:
            return "underpowered"
        if interval.low > self.threshold:
            return "does not hold" if self.rule == "less" else "holds"
        if interval.high < self.threshold:
            return "holds" if self.rule == "less" else "does not hold"
        return "underpowered"

    def fault(self) -> str:
        """What is wrong with its rule, margin or column; empty where nothing is."""
        bounds = {"not_worse": 0 < self.margin < 1, "same_blocks": self.margin == 0} | dict.fromkeys(RATIOS, self.margin > 0)
        if self.rule not in RULES or not bounds.get(self.rule, 0 <= self.margin < 1):
            wanted = f"one of {', '.join(RULES)} with a margin in [0, 1), above 0 for not_worse and ratios, 0 for same_blocks"
            return f"expected {wanted}, got {self.rule} with {self.margin}"
        if "-" in self.column and (self.rule not in ("greater", "less") or self.column.count("-") > 1):
            return f"expected a contrast of two columns with greater or less, got {self.column} with {self.rule}"
        return ""


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
            raise BadConfig(f"{path} line {number}: expected all {len(names)} columns and a number as margin, got {line}.") from error
        if fault := claims[-1].fault():
            raise BadConfig(f"{path} line {number}: {fault}.")
    twice = next((c.claim for i, c in enumerate(claims) if c.claim in {d.claim for d in claims[:i]}), None)
    if twice is not None:
        raise BadConfig(f"{path}: the claim {twice!r} is there twice; give each its own name.")
    return claims
