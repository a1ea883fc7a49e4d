"""A cut resolved for one policy: exactly which blocks stay, and what is left of parameters and operations.

A plan is made from name and configuration alone (no weights), so it can be made for the 7 B model on a laptop. Its `digest` names
what *stays*: cuts that keep the same blocks have the same digest.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dtr.cost import config_digest, measure
from dtr.dropping.cut import Cut, Part, parse_cut
from dtr.dropping.scores import Score
from dtr.dropping.selection import Depth, brief, dropped_blocks
from dtr.dropping.width import DIVISOR, action_head, strongest_units, width_before
from dtr.errors import PlanMismatch
from dtr.policies.base import Policy
from dtr.policies.registry import skeleton
from dtr.provenance import digest, write_json
from dtr.records import read_record

Blocks = Mapping[str, tuple[int, ...]]
"""Stack name -> ascending indices in the undropped model."""


@dataclass(frozen=True)
class Left:
    """An amount after the cut and before it."""

    left: int
    before: int

    @property
    def fraction(self) -> float:
        """left / before."""
        return self.left / self.before

    def to_json(self) -> dict[str, Any]:
        """With the fraction."""
        return {"left": self.left, "before": self.before, "fraction": self.fraction}


@dataclass(frozen=True)
class Plan:
    """What goes and what stays.

    source, digest: configuration digests of the policy that the plan is for, and of what it leaves.
    scores: metric -> digest of the score record that chose. width: the action head's hidden width before and after, or None.
    dead_dropped, dead_kept: block names that cannot influence the actions, among those that go and those that stay.
    """

    policy: str
    cut: str
    source: str
    digest: str
    scores: Mapping[str, str]
    kept: Blocks
    dropped: Blocks
    width: tuple[int, int] | None
    dead_dropped: tuple[str, ...]
    dead_kept: tuple[str, ...]
    parameters: Left
    flops: Left

    @property
    def note(self) -> str:
        """How much of the cut was free: `of the 25 dropped blocks, 1 was dead and cost nothing to lose`."""
        dropped, dead = sum(map(len, self.dropped.values())), len(self.dead_dropped)
        if not dropped:
            return "no block was dropped"
        verb = "was" if dead == 1 else "were"
        return f"of the {dropped} dropped block{'s' if dropped > 1 else ''}, {dead} {verb} dead and cost nothing to lose"

    def to_json(self) -> dict[str, Any]:
        """The value of `schemas/plan.schema.json`."""
        return {
            "policy": self.policy,
            "cut": self.cut,
            "source": self.source,
            "digest": self.digest,
            "scores": dict(self.scores),
            "kept": {name: list(blocks) for name, blocks in self.kept.items()},
            "dropped": {name: list(blocks) for name, blocks in self.dropped.items()},
            "width": None if self.width is None else {"before": self.width[0], "after": self.width[1]},
            "dead": {"dropped": list(self.dead_dropped), "kept": list(self.dead_kept), "note": self.note},
            "parameters": self.parameters.to_json(),
            "flops": self.flops.to_json(),
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Plan:
        """The inverse of `to_json`, for a value that validates."""
        width = value["width"]
        return cls(
            **{name: value[name] for name in ("policy", "cut", "source", "digest", "scores")},
            kept={name: tuple(blocks) for name, blocks in value["kept"].items()},
            dropped={name: tuple(blocks) for name, blocks in value["dropped"].items()},
            width=None if width is None else (width["before"], width["after"]),
            dead_dropped=tuple(value["dead"]["dropped"]),
            dead_kept=tuple(value["dead"]["kept"]),
            parameters=Left(value["parameters"]["left"], value["parameters"]["before"]),
            flops=Left(value["flops"]["left"], value["flops"]["before"]),
        )

    def check(self, policy: Policy) -> None:
        """Raises PlanMismatch unless the plan was made for exactly this policy."""
        if self.policy != policy.name:
            raise PlanMismatch(
                f"the plan of cut {self.cut!r} is for {self.policy}, but the policy is {policy.name}; make a plan with `dtr drop`."
            )
        have = {name: stack.kept for name, stack in policy.stacks().items()}
        want = {name: tuple(sorted((*self.kept.get(name, ()), *self.dropped.get(name, ())))) for name in {*self.kept, *self.dropped}}
        for name in sorted(want.keys() | have.keys()):
            if want.get(name) != have.get(name):
                expected, got = (brief(blocks.get(name, ())) for blocks in (want, have))
                raise PlanMismatch(
                    f"the plan expects blocks {expected} in {name}, but the policy has {got}; make a plan for it with `dtr drop`."
                )
        if self.source != config_digest(policy):
            raise PlanMismatch(
                f"the plan is for configuration {self.source}, but the policy is {config_digest(policy)}; plan with `dtr drop`."
            )


@dataclass(frozen=True)
class Choice:
    """What a cut means for one policy: the blocks that stay and go, and the hidden width that the head is left (None: it has none)."""

    kept: Blocks
    dropped: Blocks
    width: int | None


def resolve(cut: Cut | str, policy: Policy, scores: Mapping[str, Score] | None = None, text_tokens: int | None = None) -> Plan:
    """What `cut` means for `policy`, which may be a skeleton on the meta device and may have been cut before.

    scores: metric -> Score, for cuts by a metric. text_tokens: length of the text whose operations are counted.
    Raises UnknownName for a component that the policy has not, PlanMismatch for a cut that it cannot bear.
    """
    cut = parse_cut(cut) if isinstance(cut, str) else cut
    return summary(cut, policy, choose(cut, policy, scores or {}), scores or {}, text_tokens)


def choose(cut: Cut, policy: Policy, scores: Mapping[str, Score]) -> Choice:
    """The blocks of `resolve`, without measuring what is left."""
    depths = {name: Depth(stack.depth, stack.kept, stack.dead) for name, stack in policy.stacks().items()}
    for metric in cut.metrics:
        if metric in scores:
            check_score(scores[metric], metric, policy)
    width, going = width_before(policy), {name: set[int]() for name in depths}
    after = None if width is None else width[0]
    for part in cut.parts:
        if part.sublayer:
            raise PlanMismatch(
                f"cut {str(part)!r} drops sublayers, but {policy.name} can lose whole blocks only so far; drop blocks instead."
            )
        if width is not None and cuts_width(part):
            after = min(after or width[0], max(width[1] // DIVISOR[part.rule], 1))
            continue
        for name, blocks in dropped_blocks(part, depths, scores.get(part.rule)).items():
            going[name] |= blocks
    kept = {name: tuple(i for i in depth.present if i not in going[name]) for name, depth in depths.items()}
    for name, depth in depths.items():
        if going[name] and not set(kept[name]) - set(depth.dead):
            left = f"only block {brief(kept[name])}, which no action depends on," if kept[name] else "nothing"
            raise PlanMismatch(f"cut {str(cut)!r} leaves {left} of {name} ({len(depth.present)} blocks); keep at least one live block.")
    return Choice(kept, {name: tuple(sorted(blocks)) for name, blocks in going.items()}, after)


def carry_out(policy: Policy, dropped: Blocks, width: int | None) -> None:
    """Delete the blocks, then narrow the head to `width` units when it is wider."""
    policy.drop(dropped)
    head = action_head(policy)
    if head is not None and width is not None and width < head.hidden:
        policy.narrow_head(strongest_units(head, width))


def cuts_width(part: Part) -> bool:
    """Whether a part means the hidden width of an MLP head: its blocks are no transformer blocks, so `half` and `ends` narrow it."""
    return part.component == "action" and part.rule in DIVISOR


def check_score(score: Score, metric: str, policy: Policy) -> None:
    """Raises PlanMismatch unless `score` is of this metric and this policy."""
    expected, got = (metric, policy.name, config_digest(policy)), (score.metric, score.policy, score.source)
    if expected != got:
        what = " ".join(expected)
        raise PlanMismatch(f"expected scores of {what}, got those of {' '.join(got)}; run `dtr score` on the policy that you cut.")


def summary(cut: Cut, policy: Policy, choice: Choice, scores: Mapping[str, Score], text_tokens: int | None) -> Plan:
    """The plan of a choice that has been made: carries it out on the meta device and measures what is left."""
    left = skeleton(policy.name, policy.config)
    carry_out(left, choice.dropped, choice.width)
    before, after = measure(policy, text_tokens), measure(left, text_tokens)
    dead, dead_left = ({f"{name}.{i}" for name, stack in p.stacks().items() for i in stack.dead} for p in (policy, left))
    now = width_before(policy)
    return Plan(
        policy=policy.name,
        cut=str(cut),
        source=before.digest,
        digest=after.digest,
        scores={metric: digest(scores[metric].to_json()) for metric in cut.metrics},
        kept=choice.kept,
        dropped=choice.dropped,
        width=None if now is None or choice.width is None else (now[0], choice.width),
        dead_dropped=tuple(f"{name}.{i}" for name, blocks in choice.dropped.items() for i in blocks if f"{name}.{i}" in dead),
        dead_kept=tuple(f"{name}.{i}" for name, blocks in choice.kept.items() for i in blocks if f"{name}.{i}" in dead_left),
        parameters=Left(after.parameters.total, before.parameters.total),
        flops=Left(after.flops.total, before.flops.total),
    )


def read_plan(path: str | Path) -> Plan:
    """Read a plan file. Raises BadRecord when it does not validate."""
    return Plan.from_json(read_record(path, "plan"))


def write_plan(path: str | Path, plan: Plan) -> None:
    """Write a plan file, atomically."""
    write_json(path, plan.to_json())
