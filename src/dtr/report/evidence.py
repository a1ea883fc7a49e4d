"""One side of a line of verdicts.csv: what two numbers say about a claim (our cells': dtr.report.ours; the paper's: dtr.report.theirs)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from dtr.report.claims import Claim, Verdict

EVALUATION = "evaluation"
COUNTED = ("size", "flops")


@dataclass(frozen=True)
class Evidence:
    """None where there is no number. Of a contrast `rate` and `other_rate` are the differences in its two columns."""

    verdict: Verdict
    rate: float | None = None
    other_rate: float | None = None
    n: int | None = None
    difference: float | None = None
    low: float | None = None
    high: float | None = None
    p: float | None = None
    test: str | None = None
    bootstrap_low: float | None = None
    bootstrap_high: float | None = None
    detectable: float | None = None
    between_seeds: float | None = None
    training_sd: float | None = None
    tasks: int | None = None
    tasks_better: int | None = None
    tasks_worse: int | None = None
    tasks_p: float | None = None
    ratio: float | None = None
    noise: str | None = None
    why: str = ""

    def line(self, prefix: str = "") -> dict[str, Any]:
        """The fields under their column names."""
        return {f"{prefix}{key}": value for key, value in asdict(self).items()}


def of_ratio(claim: Claim, value: float, other: float) -> Evidence:
    """What two numbers without an interval say about a ratio."""
    ratio = value / other
    holds = ratio >= claim.margin if claim.rule == "ratio_at_least" else ratio <= claim.margin
    rests = "counted, from the shapes of the policies" if claim.column in COUNTED else "one number of one machine, without an interval"
    return Evidence("holds" if holds else "does not hold", ratio=ratio, why=f"ratio {ratio:.3g}: {rests}")


def of_blocks(kept: Sequence[str | None]) -> Evidence:
    """What the digests of two plans say about two cuts."""
    if None in kept:
        return Evidence("not comparable", why="this scale has no plans of these cuts")
    return Evidence("holds" if len(set(kept)) == 1 else "does not hold", why="by the plans of the two cuts")


def beside(own: Evidence, paper: Evidence) -> Evidence:
    """Ours, undecided, with a word where it does exclude a difference as large as the paper's."""
    if own.verdict != "underpowered" or own.low is None or own.high is None or paper.difference is None:
        return own
    if own.low <= paper.difference <= own.high:
        return own
    said = f"a difference as large as the paper's ({100 * paper.difference:+.1f} points) is excluded"
    return replace(own, why="; ".join(text for text in (own.why, said) if text))
