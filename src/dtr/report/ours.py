"""What our cells say about a claim on success rates.

One training seed: the difference as it is (dtr.report.differences), which covers evaluation noise alone, and the line says so.
S seeds: d is their mean; its interval Student's t over them, within what d can be and never narrower than the one that covers evaluation
alone; its p the larger of the two, with the name of its test. They cover training and evaluation, so the bootstrap and the smallest
difference that could have been shown, which cover evaluation alone, are left out; the spread over seeds stands in their place.
"""

from __future__ import annotations

from typing import Any

from dtr.report.claims import Claim
from dtr.report.differences import Cell, Difference, contrast, pairs_by_task, single
from dtr.report.evidence import EVALUATION, Evidence
from dtr.sim.perturbations.variant import split
from dtr.stats import Interval, Seeds, Tasks, over_seeds

OWN = "under this project's own perturbations in LIBERO-Plus's categories, not LIBERO-Plus's assets and tasks"


def of_cells(claim: Claim, *cells: Cell) -> Evidence:
    """What the cells of a claim's places say: row and other, of a contrast in both columns."""
    columns = list(zip(cells[::2], cells[1::2], strict=True))
    pairs = [found for row, other in columns if (found := pairs_by_task(row, other)) is not None]
    if len(pairs) < len(columns) or any(set(found) != set(pairs[0]) for found in pairs):
        return Evidence("not comparable", why="the rates were rolled out under other protocols, tasks or training seeds")
    d = single(claim, pairs[0]) if len(pairs) == 1 else contrast(claim, *pairs)
    seeds = over_seeds([value for value, _ in d.seeds], [variance for _, variance in d.seeds]) if len(d.seeds) > 1 else None
    interval, p, test = d.interval, d.p, d.test
    if seeds is not None:
        interval = wider(seeds.interval, d.interval, len(columns))
        p, test = max((p, test), (seeds.p(claim.threshold, claim.rule == "not_worse"), "student-t"))
    rates = [cell["value"] for cell in cells] if len(columns) == 1 else [row["value"] - other["value"] for row, other in columns]
    verdict = claim.decide(interval, p)
    at_edge = edge(claim, rates[0], rates[1], d.detectable) if verdict == "underpowered" and len(columns) == 1 else ""
    return Evidence(
        verdict=verdict,
        rate=rates[0],
        other_rate=rates[1],
        n=sum(found.n for tasks in pairs[0].values() for found in tasks.values()),
        difference=d.value,
        low=interval.low,
        high=interval.high,
        p=p,
        test=test,
        noise=EVALUATION if seeds is None else f"{EVALUATION} and training ({seeds.count} seeds)",
        why="; ".join(text for text in (at_edge, perturbed(cells[0])) if text),
        **covering(d, seeds),
        **(counted(d.tasks) if d.tasks else {}),
    )


def counted(tasks: Tasks) -> dict[str, Any]:
    """On how many tasks d shows."""
    return {"tasks": tasks.count, "tasks_better": tasks.better, "tasks_worse": tasks.worse, "tasks_p": tasks.p}


def covering(d: Difference, seeds: Seeds | None) -> dict[str, Any]:
    """What stands beside the interval: of one seed what covers its evaluation noise, of several their spread."""
    if seeds is not None:
        return {"between_seeds": seeds.between, "training_sd": seeds.training}
    return {"bootstrap_low": d.bootstrap.low, "bootstrap_high": d.bootstrap.high, "detectable": d.detectable}


def wider(one: Interval, two: Interval, bound: float) -> Interval:
    """The interval that holds both, within what d can be."""
    return Interval(max(-bound, min(one.low, two.low)), min(bound, max(one.high, two.high)), one.level, one.method)


def perturbed(cell: Cell) -> str:
    """What has to be said of a rate under perturbations: the paper's are LIBERO-Plus's, those of our suites are our own."""
    return OWN if any(split(suite)[1].perturbation for suite in cell["outcomes"] if "+" in suite) else ""


def edge(claim: Claim, rate: float, other: float, detectable: float | None) -> str:
    """Why this benchmark can hardly tell: both rates are at an edge, or the other one leaves less room for what is claimed than these
    episodes could have seen. Non-inferiority needs no room: more episodes do tell."""
    if claim.rule == "not_worse":
        return ""
    room = 1 - other if claim.rule == "greater" else other
    if min(rate, other) > 0.99 or max(rate, other) < 0.01:
        return f"{100 * other:.1f} is at the edge: {'harder' if other > 0.5 else 'easier'} tasks would tell, more episodes hardly"
    if room < (detectable or 0.0):
        return f"{100 * other:.1f} leaves {100 * room:.1f} points of room, less than these episodes could show"
    return ""
