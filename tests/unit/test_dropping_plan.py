"""What cuts mean for a policy: the blocks, the free lunch of dead ones, and every cut that a policy cannot bear."""

from __future__ import annotations

import itertools
import json
import random

import cut_world
import pytest
from narrow_flow import narrow

from dtr.cost import config_digest
from dtr.dropping.choice import Choice, choose
from dtr.dropping.cut import COMPONENTS, parse_cut
from dtr.dropping.drop import drop
from dtr.dropping.plan import Plan, resolve
from dtr.dropping.scores import BlockScore, Score
from dtr.errors import BadRecord, DtrError, PlanMismatch, UnknownName
from dtr.policies.base import Policy
from dtr.policies.openvla_oft_config import FULL_SIZE
from dtr.policies.registry import skeleton
from dtr.records import validate


def chosen(cut: str, policy: Policy, table: dict[str, Score] | None = None) -> Choice:
    return choose(parse_cut(cut), policy, table or {})


def make(config: object = cut_world.CONFIG) -> Policy:
    return skeleton("openvla_oft", config)


def scores(policy: Policy, values: dict[str, float] | None = None, metric: str = "gateprobe") -> dict[str, Score]:
    blocks = {name: BlockScore((values or {}).get(name, 1.0), 0.0) for name in policy.gates()}
    return {metric: Score(metric, policy.name, config_digest(policy), "0" * 64, ("d",), "0" * 64, 8, 0, blocks)}


@pytest.mark.parametrize(
    ("cut", "kept"),
    [
        ("none", {}),
        ("language-half", {"language": (0, 2, 4)}),
        ("language-ends", {"language": (0, 5)}),
        ("language-keep-0_5", {"language": (0, 5)}),
        ("vision-half", {"vision.dino": (0, 2), "vision.siglip": (0, 2, 4)}),
        ("vision-ends", {"vision.dino": (0, 3), "vision.siglip": (0, 4)}),
        ("vision.siglip-keep-0_1", {"vision.siglip": (0, 1)}),
        ("action-keep-1", {"action": (1,)}),
        ("language-keep-0_1_2+vision-ends", {"language": (0, 1, 2), "vision.dino": (0, 3), "vision.siglip": (0, 4)}),
        ("language-half+language-keep-0_1_2_3", {"language": (0, 2)}),
    ],
)
def test_blocks_kept(cut: str, kept: dict[str, tuple[int, ...]]) -> None:
    policy = make()
    plan, whole = chosen(cut, policy), {name: stack.kept for name, stack in policy.stacks().items()}
    assert dict(plan.kept) == whole | kept
    assert all(tuple(sorted(plan.kept[name] + plan.dropped[name])) == blocks for name, blocks in whole.items())


def test_full_size_half_and_ends() -> None:
    policy = make(FULL_SIZE)
    assert chosen("language-half", policy).kept["language"] == tuple(range(0, 32, 2))
    assert chosen("language-ends", policy).kept["language"] == (0, 31)
    vision = chosen("vision-ends", policy)
    assert (vision.kept["vision.dino"], vision.kept["vision.siglip"]) == ((0, 23), (0, 26))
    assert (chosen("action-half", policy).width, chosen("action-ends", policy).width) == (2048, 256)


def test_least_important_go_first_and_ties_go_from_the_deep_end() -> None:
    policy = make()
    values = {"language.4": 0.1, "language.1": 0.2}
    order = scores(policy, values)["gateprobe"].order("language")
    assert order == ["language.4", "language.1", "language.5", "language.3", "language.2", "language.0"]
    for k in range(1, 6):
        dropped = chosen(f"language-gateprobe-{k}", policy, scores(policy, values)).dropped["language"]
        assert set(dropped) == {int(name.split(".")[1]) for name in order[:k]}


def test_towers_are_ranked_together() -> None:
    policy = make()
    values = {"vision.dino.1": 0.1, "vision.siglip.2": 0.2, "vision.siglip.0": 0.3}
    plan = chosen("vision-gateprobe-2", policy, scores(policy, values))
    assert plan.dropped["vision.dino"] == (1,)
    assert plan.dropped["vision.siglip"] == (2,)


def test_scored_cuts_are_nested_and_of_the_asked_size() -> None:
    rng, policy = random.Random(0), make()
    for _ in range(50):
        table = scores(policy, {name: rng.choice([0.0, 0.5, rng.random()]) for name in policy.gates()})
        plans = [chosen(f"language-gateprobe-{k}", policy, table).dropped["language"] for k in range(1, 6)]
        assert [len(p) for p in plans] == [1, 2, 3, 4, 5]
        assert all(set(a) < set(b) for a, b in itertools.pairwise(plans))


def test_dead_blocks_are_reported_apart() -> None:
    policy = make()
    half, ends = resolve("vision-half", policy), resolve("vision-ends", policy)
    assert (half.dead_dropped, half.dead_kept) == (("vision.dino.3",), ("vision.siglip.4",))
    assert half.note == "of the 4 dropped blocks, 1 was dead and cost nothing to lose"
    assert (ends.dead_dropped, ends.dead_kept) == ((), ("vision.dino.3", "vision.siglip.4"))
    free = resolve("vision.dino-keep-0_1_2", policy)
    assert free.flops.fraction == 1.0
    assert free.parameters.fraction < 1.0


def test_digest_names_what_stays_not_how_the_cut_is_spelled() -> None:
    policy = make()
    same = [resolve(cut, policy).digest for cut in ("language-ends", "language-keep-0_5", "language-keep-0_5+language-ends")]
    assert len(set(same)) == 1
    scored = resolve("language-gateprobe-4", policy, scores(policy, {"language.0": 2.0, "language.5": 2.0}))
    assert scored.digest == same[0]
    cuts = ("none", "language-half", "language-ends", "vision-half", "vision-ends", "action-half", "action-ends", "action-keep-0")
    assert len({resolve(cut, policy).digest for cut in cuts}) == len(cuts)
    assert resolve("none", policy).digest == resolve("none", policy).source


def test_two_cuts_in_a_row_are_one() -> None:
    policy = make()
    first = resolve("language-keep-0_1_2_5", policy)
    drop(policy, first)
    second = resolve("language-ends", policy)
    assert second.dropped["language"] == (1, 2)
    assert second.digest == resolve("language-ends", make()).digest
    drop(policy, second)
    assert resolve("language-ends", policy).dropped["language"] == ()


def test_plan_survives_json() -> None:
    policy = make()
    for cut in ("none", "language-half+action-ends", "vision-ends"):
        plan = resolve(cut, policy)
        value = json.loads(json.dumps(plan.to_json()))
        validate(value, "plan", cut)
        assert Plan.from_json(value) == plan
    broken = resolve("language-half", policy).to_json() | {"kept": {"language": [-1]}}
    with pytest.raises(BadRecord, match="kept"):
        validate(broken, "plan", "plan.json")


@pytest.mark.parametrize(
    ("cut", "answer"),
    [
        ("language-gateprobe-6", "at most 5 can go"),
        ("language-gateprobe-99", "at most 5 can go"),
        ("language-leave_one_out-2", "needs leave_one_out scores"),
        ("language-keep-0_6", "keeps block 6 of language, but this policy has blocks 0-5 of 6"),
        ("vision-keep-4", "keeps block 4 of vision.dino"),
        ("vision.dino-keep-3", "only block 3, which no action depends on, of vision.dino"),
        ("language-keep-0+language-keep-1", "leaves nothing of language"),
        ("action-half-mlp", "no mlp in its action blocks"),
        ("action-keep-0-attention", "no attention in its action blocks"),
        ("language-keep-0-mlp+language-keep-1-mlp", "leaves no mlp part of language (6 mlp parts)"),
        ("vision.dino-keep-3-attention", "only attention part 3, which no action depends on, of vision.dino"),
    ],
)
def test_cuts_that_the_policy_cannot_bear(cut: str, answer: str) -> None:
    policy = make()
    with pytest.raises(PlanMismatch) as caught:
        chosen(cut, policy, scores(policy))
    assert answer in str(caught.value)


def test_no_half_of_a_stack_without_even_blocks() -> None:
    policy = make()
    drop(policy, resolve("language-keep-1_3", policy))
    with pytest.raises(PlanMismatch, match="leaves nothing of language"):
        resolve("language-half", policy)


def test_unknown_tower_and_foreign_scores() -> None:
    policy = make()
    with pytest.raises(UnknownName, match=r"did you mean 'vision.siglip'"):
        resolve("vision.siglop-half", policy)
    for cut in ("action.head-half", "action.head-ends"):  # rules that narrow the head look at the name too
        with pytest.raises(UnknownName, match=r"unknown component 'action.head': did you mean 'action'"):
            resolve(cut, policy)
    table = scores(policy)
    drop(policy, resolve("language-keep-0_1_2", policy))
    with pytest.raises(PlanMismatch, match="run `dtr score` on the policy that you cut"):
        resolve("language-gateprobe-1", policy, table)
    with pytest.raises(PlanMismatch, match="expected scores of leave_one_out"):
        resolve("language-leave_one_out-1", make(), {"leave_one_out": table["gateprobe"]})


def test_random_unions_keep_a_live_block_or_fail() -> None:
    rng, policy = random.Random(4), make()
    for _ in range(200):
        rules = ("half", "ends", "keep-0", "keep-0_1", "keep-1")
        parts = [f"{rng.choice(COMPONENTS)}-{rng.choice(rules)}" for _ in range(rng.randint(1, 3))]
        try:
            plan = chosen("+".join(dict.fromkeys(parts)), policy)
        except DtrError:
            continue
        for name, stack in policy.stacks().items():
            assert set(plan.kept[name]) - set(stack.dead)
            assert not set(plan.kept[name]) & set(plan.dropped[name])


@pytest.mark.parametrize("cut", ["action-keep-0", "action-keep-0-attention", "action-keep-0+language-half"])
def test_an_expert_that_attends_at_the_first_layer_alone_is_refused(cut: str) -> None:
    """It reads keys and values of what enters the first language block: no language block would do anything."""
    flow = skeleton("pi05", narrow("pi05"))
    with pytest.raises(PlanMismatch, match=r"leaves no block of language that an action depends on, although .* stay: keep a later block"):
        resolve(cut, flow)
    assert resolve("action-keep-1", flow).dead_kept[0] == "language.1"
