"""What two success rates say about a claim: ours, paired on the same initial states, and the paper's, as reconstructed counts.

Ours: pairs of equal (suite, training seed, task, initial state) of two cells; Tango's interval, exact McNemar p, the stratified bootstrap
over tasks beside them. With two training seeds or more the interval is that over seeds, which covers training and evaluation; with one it
covers evaluation alone, and the line says so.
Two arms that kept the same blocks are one policy, and a claim that one of them is better has nothing to compare.
The paper's: k of n from the printed percentage and n = 500 episodes a suite, 2 000 for an average (its model cards). Its text says 20
trials a task, 200 episodes a suite: where that would change the verdict, the line says so. Two independent counts, because which episodes
failed is not published: Newcombe's interval, Fisher's exact p (of non-inferiority: Newcombe's interval turned round). It covers evaluation
alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from dtr.report.claims import Claim, Verdict
from dtr.sim.perturbations.variant import split
from dtr.stats import (
    Interval,
    Paired,
    detectable_paired,
    detectable_unpaired,
    fisher_p,
    mcnemar_exact,
    non_inferior_p,
    non_inferior_unpaired_p,
    over_seeds,
    paired,
    paired_bootstrap,
    paired_difference,
    unpaired_difference,
)

Cell = Mapping[str, Any]
EPISODES_A_SUITE = 500
EPISODES_IN_THE_TEXT = 200
SUITES = 4
EVALUATION = "evaluation"
OWN = "under this project's own perturbations in LIBERO-Plus's categories, not LIBERO-Plus's assets and tasks"


@dataclass(frozen=True)
class Evidence:
    """One side of a line of verdicts.csv; None where there is no number."""

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
    noise: str | None = None
    why: str = ""

    def line(self, prefix: str = "") -> dict[str, Any]:
        """The fields under their column names."""
        return {f"{prefix}{key}": value for key, value in asdict(self).items()}


def pairs_by_task(cell: Cell, other: Cell) -> dict[int, dict[tuple[str, str], Paired]] | None:
    """Training seed -> (suite, task) -> pairs; None when the cells do not hold the same episodes."""
    found: dict[int, dict[tuple[str, str], Paired]] = {}
    if {s: {k: set(t) for k, t in seeds.items()} for s, seeds in cell["outcomes"].items()} != {
        s: {k: set(t) for k, t in seeds.items()} for s, seeds in other["outcomes"].items()
    }:
        return None
    for suite, seeds in cell["outcomes"].items():
        for seed, tasks in seeds.items():
            for task, marks in tasks.items():
                against = other["outcomes"][suite][seed][task]
                if len(against) != len(marks):
                    return None
                pairs = paired([m == "1" for m in marks], [m == "1" for m in against])
                found.setdefault(int(seed), {})[suite, task] = pairs
    return found


def of_cells(claim: Claim, cell: Cell, other: Cell) -> Evidence:
    """What our two cells say."""
    by_seed = pairs_by_task(cell, other)
    if cell["protocol"] != other["protocol"] or by_seed is None:
        return Evidence("not comparable", why="the two rates were rolled out under other protocols, tasks or training seeds")
    strata = [pairs for tasks in by_seed.values() for pairs in tasks.values()]
    total = sum(strata[1:], strata[0])
    interval, noise = spread(by_seed, total)
    boot = paired_bootstrap(strata)
    discordant = (total.gained + total.lost) / total.n
    verdict, detectable = claim.decide(interval), detectable_paired(total.n, discordant)
    at_edge = edge(claim, cell["value"], other["value"], detectable) if verdict == "underpowered" else ""
    p, test = (
        (non_inferior_p(total, claim.margin), "tango-non-inferiority")
        if claim.rule == "not_worse"
        else (mcnemar_exact(total), "mcnemar-exact")
    )
    return Evidence(
        verdict,
        cell["value"],
        other["value"],
        total.n,
        total.difference,
        interval.low,
        interval.high,
        p,
        test,
        boot.low,
        boot.high,
        detectable,
        noise,
        "; ".join(text for text in (at_edge, perturbed(cell)) if text),
    )


def perturbed(cell: Cell) -> str:
    """What has to be said of a rate under perturbations: the paper's are LIBERO-Plus's, those of our suites are our own."""
    return OWN if any(split(suite)[1].perturbation for suite in cell["outcomes"] if "+" in suite) else ""


def spread(by_seed: Mapping[int, Mapping[tuple[str, str], Paired]], total: Paired) -> tuple[Interval, str]:
    """The interval that decides, and what noise it covers."""
    if len(by_seed) < 2:
        return paired_difference(total), EVALUATION
    sums = [sum(list(tasks.values())[1:], next(iter(tasks.values()))) for tasks in by_seed.values()]
    variances = [((s.gained + s.lost) / s.n - s.difference**2) / s.n for s in sums]
    return over_seeds([s.difference for s in sums], variances).interval, f"evaluation and training ({len(sums)} seeds)"


def edge(claim: Claim, rate: float, other: float, detectable: float | None) -> str:
    """Why more episodes of this benchmark would not help: both rates are at an edge, or the other one leaves less room for what is claimed
    than these episodes could have seen."""
    room = {"greater": 1 - other, "less": other, "not_worse": 1.0}[claim.rule]
    if min(rate, other) > 0.99 or max(rate, other) < 0.01 or room < (detectable or 0.0):
        return f"{100 * other:.1f} is at the edge: harder tasks would tell, more episodes would not"
    return ""


def beside(own: Evidence, paper: Evidence) -> Evidence:
    """Ours, undecided, with a word where it does exclude a difference as large as the paper's."""
    if own.verdict != "underpowered" or own.low is None or own.high is None or paper.difference is None:
        return own
    if own.low <= paper.difference <= own.high:
        return own
    said = f"a difference as large as the paper's ({100 * paper.difference:+.1f} points) is excluded"
    return replace(own, why="; ".join(text for text in (own.why, said) if text))


def of_paper(claim: Claim, value: float | None, other: float | None) -> Evidence:
    """What the paper's two printed rates say."""
    if value is None or other is None:
        return Evidence("not comparable", why="the paper prints no such number that we know")
    suites = SUITES if claim.column == "average" else 1
    n, fewer = EPISODES_A_SUITE * suites, EPISODES_IN_THE_TEXT * suites
    k, k0 = round(value * n), round(other * n)
    interval = unpaired_difference(k, n, k0, n)
    verdict = claim.decide(interval)
    p, test = (
        (non_inferior_unpaired_p(k, n, k0, n, claim.margin), "newcombe-non-inferiority")
        if claim.rule == "not_worse"
        else (fisher_p(k, n, k0, n), "fisher-exact")
    )
    in_text = claim.decide(unpaired_difference(round(value * fewer), fewer, round(other * fewer), fewer))
    return Evidence(
        verdict=verdict,
        rate=k / n,
        other_rate=k0 / n,
        n=n,
        difference=(k - k0) / n,
        low=interval.low,
        high=interval.high,
        p=p,
        test=test,
        detectable=detectable_unpaired(k0 / n, n, n),
        noise=EVALUATION,
        why="" if in_text == verdict else f"{in_text} at the 20 trials a task of its text (n {fewer})",
    )
