"""Which blocks and parts of one policy a cut makes go: the union of its terms.

a term without a sublayer takes whole blocks, one with it that part of its blocks
a block of which every part goes is gone, as if it had been named whole
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from dtr.cost import config_digest
from dtr.dropping.cut import Cut, Part
from dtr.dropping.scores import Score
from dtr.dropping.selection import Depth, brief, dropped_blocks, targeted
from dtr.dropping.width import DIVISOR, width_before
from dtr.errors import PlanMismatch
from dtr.policies.base import Policy
from dtr.policies.parts import GRANULARITIES, PARTS
from dtr.policies.stack import Stack

Blocks = Mapping[str, tuple[int, ...]]
"""Stack name -> ascending indices in the undropped model."""


@dataclass(frozen=True)
class Choice:
    """What a cut means for one policy: the blocks that stay and go, the parts that go alone, and the hidden width that the head is left
    (None: it has none)."""

    kept: Blocks
    dropped: Blocks
    parts: Mapping[str, Blocks]
    width: int | None


def choose(cut: Cut, policy: Policy, scores: Mapping[str, Score]) -> Choice:
    """The blocks and parts of `resolve`, without measuring what is left."""
    stacks = policy.stacks()
    for metric in cut.metrics:
        if metric in scores:
            check_score(scores[metric], metric, policy)
    width, going = width_before(policy), {granularity: {name: set[int]() for name in stacks} for granularity in GRANULARITIES}
    after = None if width is None else width[0]
    for part in cut.parts:
        granularity = part.sublayer or "block"
        depths = {name: Depth(stack.depth, stack.having(granularity), stack.dead) for name, stack in stacks.items()}
        aimed = targeted(part, depths)
        if width is not None and part.sublayer is None and cuts_width(part):
            after = min(after or width[0], max(width[1] // DIVISOR[part.rule], 1))
            continue
        for name in aimed:
            policy.check_granularity(name, granularity)
        for name, blocks in dropped_blocks(part, depths, scores.get(part.metric or "")).items():
            going[granularity][name] |= blocks
    for name, stack in stacks.items():
        going["block"][name] |= lost_all(stack, {part: going[part][name] for part in PARTS})
        check_left(cut, name, stack, {granularity: going[granularity][name] for granularity in GRANULARITIES})
    whole = going["block"]
    kept = {name: tuple(i for i in stack.kept if i not in whole[name]) for name, stack in stacks.items()}
    dropped = {name: tuple(sorted(blocks)) for name, blocks in whole.items()}
    alone = {part: {name: tuple(sorted(blocks - whole[name])) for name, blocks in going[part].items()} for part in PARTS}
    parts = {part: lost for part in PARTS if (lost := {name: blocks for name, blocks in alone[part].items() if blocks})}
    return Choice(kept, dropped, parts, after)


def lost_all(stack: Stack, going: Mapping[str, set[int]]) -> set[int]:
    """The blocks that keep no part when these go, by part."""
    left = {part: set(stack.having(part)) - going[part] for part in PARTS}
    return set().union(*going.values()) - set().union(*left.values())


def check_left(cut: Cut, name: str, stack: Stack, going: Mapping[str, set[int]]) -> None:
    """Raises PlanMismatch unless a live block stays of a stack that loses some, and a live attention and MLP of one that has these."""
    if not any(going.values()):
        return
    for granularity in GRANULARITIES:
        have = stack.having(granularity)
        left = tuple(i for i in have if i not in going["block"] | going[granularity])
        if have and not set(left) - set(stack.dead):
            what, nothing = ("block", "nothing") if granularity == "block" else (f"{granularity} part", f"no {granularity} part")
            only = f"only {what} {brief(left)}, which no action depends on," if left else nothing
            raise PlanMismatch(f"cut {str(cut)!r} leaves {only} of {name} ({len(have)} {what}s); keep at least one live {what}.")


def cuts_width(part: Part) -> bool:
    """Whether a part means the hidden width of an MLP head: its blocks are no transformer blocks, so `half` and `ends` narrow it."""
    return part.component == "action" and part.rule in DIVISOR


def check_score(score: Score, metric: str, policy: Policy) -> None:
    """Raises PlanMismatch unless `score` is of this metric and this policy."""
    expected, got = (metric, policy.name, config_digest(policy)), (score.metric, score.policy, score.source)
    if expected != got:
        what = " ".join(expected)
        raise PlanMismatch(f"expected scores of {what}, got those of {' '.join(got)}; run `dtr score` on the policy that you cut.")
