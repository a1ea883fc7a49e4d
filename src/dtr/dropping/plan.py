"""A cut resolved for one policy: exactly which blocks stay, and what is left of parameters and operations.

A plan is made from name and configuration alone (no weights), so it can be made for the 7 B model on a laptop. Its `digest` names
what *stays*: cuts that keep the same blocks have the same digest.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dtr.cost import config_digest, measure
from dtr.dropping.choice import Blocks, Choice, choose
from dtr.dropping.cut import Cut, parse_cut
from dtr.dropping.scores import Score
from dtr.dropping.selection import brief
from dtr.dropping.width import action_head, strongest_units, width_before
from dtr.errors import PlanMismatch
from dtr.policies.base import Policy
from dtr.policies.parts import PARTS
from dtr.policies.registry import skeleton
from dtr.policies.stack import Stack
from dtr.provenance import digest, write_json
from dtr.records import read_record


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
    parts: attention or mlp -> the blocks that stay and lose this; a block that loses both is among `dropped`.
    dead_dropped, dead_kept: names of blocks and parts that cannot influence the actions, among those that go and those that stay.
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
    parts: Mapping[str, Blocks] = field(default_factory=dict)

    @property
    def note(self) -> str:
        """How much of the cut was free: `of the 25 dropped blocks, 1 was dead and cost nothing to lose`."""
        counts = {"block": total(self.dropped)} | {f"{part} part": total(self.parts.get(part, {})) for part in PARTS}
        dropped = " and ".join(f"{n} dropped {what}{'s' if n > 1 else ''}" for what, n in counts.items() if n)
        if not dropped:
            return "no block was dropped"
        dead = len(self.dead_dropped)
        return f"of the {dropped}, {dead} {'was' if dead == 1 else 'were'} dead and cost nothing to lose"

    def to_json(self) -> dict[str, Any]:
        """The value of `schemas/plan.schema.json`; without `parts` where no part goes alone."""
        parts = {part: {name: list(blocks) for name, blocks in stacks.items()} for part, stacks in self.parts.items()}
        return ({"parts": parts} if parts else {}) | {
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
            parts={part: {name: tuple(blocks) for name, blocks in s.items()} for part, s in value.get("parts", {}).items()},
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


def resolve(cut: Cut | str, policy: Policy, scores: Mapping[str, Score] | None = None, text_tokens: int | None = None) -> Plan:
    """What `cut` means for `policy`, which may be a skeleton on the meta device and may have been cut before.

    scores: metric -> Score, for cuts by a metric. text_tokens: length of the text whose operations are counted.
    Raises UnknownName for a component that the policy has not, PlanMismatch for a cut that it cannot bear.
    """
    cut = parse_cut(cut) if isinstance(cut, str) else cut
    return plan_of(cut, policy, choose(cut, policy, scores or {}), scores or {}, text_tokens)


def carry_out(policy: Policy, dropped: Blocks, parts: Mapping[str, Blocks], width: int | None) -> None:
    """Delete the blocks and the parts, then narrow the head to `width` units when it is wider."""
    policy.drop(dropped)
    for part, blocks in parts.items():
        policy.drop(blocks, part)
    head = action_head(policy)
    if head is not None and width is not None and width < head.hidden:
        policy.narrow_head(strongest_units(head, width))


def plan_of(cut: Cut, policy: Policy, choice: Choice, scores: Mapping[str, Score], text_tokens: int | None) -> Plan:
    """The plan of a choice that has been made: carries it out on the meta device and measures what is left."""
    left = skeleton(policy.name, policy.config)
    carry_out(left, choice.dropped, choice.parts, choice.width)
    check_alive(cut, policy, left)
    before, after = measure(policy, text_tokens), measure(left, text_tokens)
    gone = [f"{name}.{i}" for name, blocks in choice.dropped.items() for i in blocks]
    gone += [f"{name}.{i}.{part}" for part, stacks in choice.parts.items() for name, blocks in stacks.items() for i in blocks]
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
        parts=choice.parts,
        dead_dropped=tuple(name for name in gone if name in policy.dead),
        dead_kept=tuple(rest(name, i, stack) for name, stack in left.stacks().items() for i in stack.dead),
        parameters=Left(after.parameters.total, before.parameters.total),
        flops=Left(after.flops.total, before.flops.total),
    )


def check_alive(cut: Cut, policy: Policy, left: Policy) -> None:
    """Raises PlanMismatch when a drop in one stack leaves another without a block that an action depends on: an expert that attends at the
    first layer alone reads nothing that a language block has done."""
    for name, stack in left.stacks().items():
        was = policy.stacks()[name]
        if set(was.kept) - set(was.dead) and not set(stack.kept) - set(stack.dead):
            raise PlanMismatch(
                f"cut {str(cut)!r} leaves no block of {name} that an action depends on, although {brief(stack.kept)} stay: "
                "keep a later block, with its attention, of the stack that reads them."
            )


def rest(name: str, i: int, stack: Stack) -> str:
    """What is left of block i: `language.7`, or `language.7.mlp` where that is all."""
    parts = [part for part in PARTS if i in stack.having(part)]
    return f"{name}.{i}.{parts[0]}" if len(parts) == 1 else f"{name}.{i}"


def total(blocks: Blocks) -> int:
    """How many blocks these are."""
    return sum(map(len, blocks.values()))


def read_plan(path: str | Path) -> Plan:
    """Read a plan file. Raises BadRecord when it does not validate."""
    return Plan.from_json(read_record(path, "plan"))


def write_plan(path: str | Path, plan: Plan) -> None:
    """Write a plan file, atomically."""
    write_json(path, plan.to_json())
