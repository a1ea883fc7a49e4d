"""Which blocks of one policy a cut keeps, by index in the undropped model.

    Half:  i kept  <=>  i even                     every second block, whatever it does       (paper section 4, "Uniform")
    Ends:  i kept  <=>  i in {0, n - 1}            n = depth of the undropped stack           ("Endpoints")
    Metric, k: the k blocks least in I(B) go       counted over all towers of the component together; side by side where the metric
                                                   scores spans (spans.py)

A selection chooses among the blocks that are still there. What already went stays gone, and indices never shift.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dtr.dropping.cut import Part
from dtr.dropping.scores import BlockScore, Score, block_index, least_important
from dtr.dropping.spans import cheapest_spans
from dtr.errors import PlanMismatch, unknown


@dataclass(frozen=True)
class Depth:
    """One stack of residual blocks: `total` in the undropped model, `present` now (for a cut of parts: those that have the part), `dead` =
    those that cannot influence the actions."""

    total: int
    present: tuple[int, ...]
    dead: tuple[int, ...] = ()


def targeted(part: Part, depths: Mapping[str, Depth]) -> list[str]:
    """The stacks that a part of a cut speaks of. Raises UnknownName when the policy has none such."""
    stacks = [name for name in depths if part.target in (name, name.split(".")[0])]
    if not stacks:
        raise unknown("component", part.target, {*depths, *(name.split(".")[0] for name in depths)}, "The policy has no other.")
    return stacks


def dropped_blocks(part: Part, depths: Mapping[str, Depth], score: Score | None) -> dict[str, set[int]]:
    """Stack name -> the blocks that `part` makes go, out of those present.

    Raises PlanMismatch when the policy has no such blocks, or when a metric's score is missing or does not cover them.
    """
    stacks = targeted(part, depths)
    if part.rule == "half":
        return {name: {i for i in depths[name].present if i % 2 == 1} for name in stacks}
    if part.rule == "ends":
        return {name: set(depths[name].present) - {0, depths[name].total - 1} for name in stacks}
    if part.rule == "keep":
        return {name: set(depths[name].present) - set(kept_by_name(part, name, depths[name])) for name in stacks}
    return lowest(part, {name: depths[name] for name in stacks}, score)


def kept_by_name(part: Part, stack: str, depth: Depth) -> tuple[int, ...]:
    """The indices of a `keep` part, which must all be present."""
    if missing := [i for i in part.keep if i not in depth.present]:
        have = f"{part.sublayer + ' in ' if part.sublayer else ''}blocks {brief(depth.present)} of {depth.total}"
        raise PlanMismatch(
            f"cut {str(part)!r} keeps block {missing[0]} of {stack}, but this policy has {have}; name blocks that are there."
        )
    return part.keep


def lowest(part: Part, depths: Mapping[str, Depth], score: Score | None) -> dict[str, set[int]]:
    """The `part.count` least important present blocks of all these stacks together."""
    if score is None:
        raise PlanMismatch(
            f"cut {str(part)!r} needs {part.metric} scores: run `dtr score --metric {part.metric}` and pass its file with --scores."
        )
    names = [f"{stack}.{i}" for stack, depth in depths.items() for i in depth.present]
    if missing := [name for name in names if name not in score.blocks]:
        raise PlanMismatch(
            f"the {part.metric} scores lack {missing[0]}, which this policy has; score this policy and cut it with those scores."
        )
    if part.count >= len(names):
        raise PlanMismatch(f"cut {str(part)!r} leaves no block: {part.target} has {len(names)}, so at most {len(names) - 1} can go.")
    going = least(depths, score.blocks, part.count)
    return {stack: {block_index(name) for name in going if name.rsplit(".", 1)[0] == stack} for stack in depths}


def least(depths: Mapping[str, Depth], blocks: Mapping[str, BlockScore], count: int) -> list[str]:
    """The names of the `count` blocks that a metric takes out of the present ones of all these stacks."""
    names = [f"{stack}.{i}" for stack, depth in depths.items() for i in depth.present]
    if any(blocks[name].spans for name in names):
        stacks = {stack: [f"{stack}.{i}" for i in depth.present] for stack, depth in depths.items()}
        alive = {f"{stack}.{i}" for stack, depth in depths.items() for i in depth.present if i not in depth.dead}
        return cheapest_spans(stacks, {name: blocks[name].spans for name in names}, count, alive)
    return least_important(names, {name: blocks[name].score for name in names})[:count]


def depths_of(score: Score) -> dict[str, dict[str, Depth]]:
    """Component -> stack -> which of its blocks the record has, and which of them are dead."""
    found: dict[str, dict[str, list[str]]] = {}
    for name in score.blocks:
        found.setdefault(name.split(".")[0], {}).setdefault(name.rsplit(".", 1)[0], []).append(name)
    return {component: {stack: depth_of(names, score.blocks) for stack, names in stacks.items()} for component, stacks in found.items()}


def depth_of(names: Sequence[str], blocks: Mapping[str, BlockScore]) -> Depth:
    """One stack."""
    present = tuple(sorted(block_index(name) for name in names))
    return Depth(present[-1] + 1, present, tuple(block_index(name) for name in names if blocks[name].dead))


def brief(indices: tuple[int, ...]) -> str:
    """`0-8, 11` for (0, 1, ..., 8, 11)."""
    runs: list[list[int]] = []
    for i in sorted(indices):
        if runs and i == runs[-1][-1] + 1:
            runs[-1].append(i)
        else:
            runs.append([i])
    return ", ".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs) or "none"
