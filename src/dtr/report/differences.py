"""The difference d of two arms on the same initial states, with its noise: pairs of equal (suite, training seed, task, initial state).

    single      d = row minus other: Tango's interval; exact McNemar p at margin 0, else Tango's p at the margin
    contrast    d = (row minus other) in one column, minus that in another: the two Tango intervals squared and added

Beside them the bootstrap stratified by task, and what so many pairs could have shown. All cover evaluation noise alone. `tasks` says on
how many of the tasks a single difference shows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from scipy.stats import norm

from dtr.report.claims import Claim
from dtr.stats import (
    Interval,
    Paired,
    Tasks,
    apart,
    contrast_bootstrap,
    detectable_margin_paired,
    detectable_paired,
    mcnemar_exact,
    non_inferior_p,
    over_tasks,
    paired,
    paired_bootstrap,
    paired_difference,
    tango_p,
    turned_round,
)

Cell = Mapping[str, Any]
Pairs = Mapping[int, Mapping[tuple[str, str], Paired]]
"""Training seed -> (suite, task) -> pairs."""
LEVEL = 0.95


@dataclass(frozen=True)
class Difference:
    """d as the episodes of all seeds together give it, and of each seed (d, its own sampling variance)."""

    value: float
    interval: Interval
    p: float
    test: str
    bootstrap: Interval
    detectable: float | None
    seeds: list[tuple[float, float]]
    tasks: Tasks | None = None


def pairs_by_task(cell: Cell, other: Cell) -> Pairs | None:
    """The pairs of two cells; None when they do not hold the same episodes."""
    pairs = pairs_of(cell, other)
    if pairs is None or cell["protocol"] != other["protocol"]:
        return None
    found: dict[int, dict[tuple[str, str], Paired]] = {}
    for (suite, seed, task), one in pairs.items():
        found.setdefault(int(seed), {})[suite, task] = one
    return found


def pairs_of(cell: Cell, other: Cell) -> dict[tuple[str, str, str], Paired] | None:
    """(suite, training seed, task) -> pairs of two cells; None when their suites, seeds, tasks or numbers of states differ."""
    one, two = spelled(cell), spelled(other)
    if {key: len(marks) for key, marks in one.items()} != {key: len(marks) for key, marks in two.items()}:
        return None
    return {key: paired([m == "1" for m in marks], [m == "1" for m in two[key]]) for key, marks in one.items()}


def spelled(cell: Cell) -> dict[tuple[str, str, str], str]:
    """(suite, training seed, task) -> one character an initial state."""
    return {
        (s, seed, task): marks for s, seeds in cell["outcomes"].items() for seed, tasks in seeds.items() for task, marks in tasks.items()
    }


def single(claim: Claim, pairs: Pairs) -> Difference:
    """Row minus other in one column."""
    strata = in_strata(pairs)
    total = added(strata)
    discordant = (total.gained + total.lost) / total.n
    if claim.rule == "not_worse":
        p, test, detectable = non_inferior_p(total, claim.margin), "tango-non-inferiority", detectable_margin_paired(total.n, discordant)
    elif claim.margin:
        p, test, detectable = tango_p(total, claim.threshold), "tango", None
    else:
        p, test, detectable = mcnemar_exact(total), "mcnemar-exact", detectable_paired(total.n, discordant)
    seeds, tasks = list(of_seeds(pairs).values()), over_tasks(by_task(pairs))
    return Difference(total.difference, paired_difference(total), p, test, paired_bootstrap(strata), detectable, seeds, tasks)


def by_task(pairs: Pairs) -> list[Paired]:
    """The pairs of each task, of all training seeds and variants (`+camera-3`) of its suite together."""
    found: dict[tuple[str, str], list[Paired]] = {}
    for (suite, task), one in (item for tasks in pairs.values() for item in tasks.items()):
        found.setdefault((suite.partition("+")[0], task), []).append(one)
    return [added(strata) for strata in found.values()]


def contrast(claim: Claim, pairs: Pairs, others: Pairs) -> Difference:
    """Row minus other in the first column, minus that in the second."""
    strata, against = in_strata(pairs), in_strata(others)
    one, two = added(strata), added(against)

    def at(level: float) -> Interval:
        return apart(one.difference, paired_difference(one, level), two.difference, paired_difference(two, level), "tango-apart")

    value = one.difference - two.difference
    p = 2 * float(norm.sf(abs(turned_round(at, value, claim.threshold))))
    second = of_seeds(others)
    seeds = [(d - second[seed][0], variance + second[seed][1]) for seed, (d, variance) in of_seeds(pairs).items()]
    return Difference(value, at(LEVEL), p, "tango-apart", contrast_bootstrap(strata, against), None, seeds)


def of_seeds(pairs: Pairs) -> dict[int, tuple[float, float]]:
    """Training seed -> (d, its sampling variance ((b + c) / n - d^2) / n)."""
    sums = {seed: added(list(tasks.values())) for seed, tasks in pairs.items()}
    return {seed: (s.difference, ((s.gained + s.lost) / s.n - s.difference**2) / s.n) for seed, s in sums.items()}


def in_strata(pairs: Pairs) -> list[Paired]:
    """The pairs of each training seed, suite and task."""
    return [p for tasks in pairs.values() for p in tasks.values()]


def added(strata: Sequence[Paired]) -> Paired:
    """The pairs of all strata together."""
    return sum(strata[1:], strata[0])
