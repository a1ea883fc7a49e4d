"""Attention and MLP of a block alone, in all four policies: gates, drops, configurations, and that nothing older has moved."""

from __future__ import annotations

import itertools

import pytest
import torch
from four_policies import NAMES, OUTPUTS, VISION, batch, config, made, parts

from dtr.cost import config_digest
from dtr.errors import BadConfig, PlanMismatch, UnknownName
from dtr.policies.base import Policy
from dtr.policies.file import fill
from dtr.policies.registry import beside, skeleton

FLOW = NAMES[1:]
BEFORE = {
    "openvla_oft": ("1850af88016d9e55", "c92b2f8fa1b38980", "1349f3b2c6e365e7"),
    "pi05": ("cbc431fcb777ed6c", "22999931427fafc3", "d0da9b666aa8b109"),
    "gigabrain0": ("e5c740f6d504dc32", "b1d220843e0a7684", "df38d9960a257074"),
    "lingbot_vla": ("10dd0dbeecdfa2e3", "c8f686f538d66c0d", "e0885cdc9f40ab62"),
}
"""Digests from before blocks had parts: whole, without language 1, 3, 5, vision 1 and action 0, and the full size."""


@pytest.mark.parametrize("name", NAMES)
def test_what_was_written_before_keeps_its_digest(name: str) -> None:
    policy, vision = skeleton(name, config(name)), VISION.get(name, "vision")
    whole = config_digest(policy)
    policy.drop({"language": [1, 3, 5], vision: [1], "action": [0]})
    full = skeleton(name, beside(name, "_config", "FULL_SIZE"))
    assert (whole, config_digest(policy), config_digest(full)) == BEFORE[name]
    assert "without" not in str(policy.config.to_dict())


@pytest.mark.parametrize("name", NAMES)
def test_a_part_gone_is_its_gate_at_zero_and_an_output_of_zero(name: str) -> None:
    """And the configuration builds the same policy again, from which the same weights act alike to the bit."""
    gated, silent, dropped, given = made(name), made(name), made(name), batch(name)
    for part, stacks in parts(name).items():
        dropped.drop(stacks, part)
        for stack, i in ((stack, i) for stack, blocks in stacks.items() for i in blocks):
            gated.gates(part)[f"{stack}.{i}.{part}"].alpha = 0.0
            for parameter in (p for n, p in silent.stacks()[stack].blocks[str(i)].named_parameters() if n.split(".")[0] in OUTPUTS[part]):
                torch.nn.init.zeros_(parameter)
    again = skeleton(name, dropped.config.to_dict())
    fill(again, dropped.state_dict(), "the dropped policy")
    assert config_digest(again) == config_digest(dropped) and again.config == dropped.config
    with torch.no_grad():
        losses, actions = dropped.losses(given), dropped.act(given)
        for other in (gated, silent):
            torch.testing.assert_close(other.losses(given), losses, atol=1e-6, rtol=0)
            torch.testing.assert_close(other.act(given), actions, atol=1e-6, rtol=0)
        assert again.act(given).equal(actions)
        whole = made(name)
        for part, stacks in parts(name).items():  # each of these parts does something
            for stack, blocks in stacks.items():
                alone = made(name)
                alone.drop({stack: blocks}, part)
                assert (alone.losses(given) - whole.losses(given)).abs().max() > 1e-4, (stack, part)


@pytest.mark.parametrize("name", NAMES)
def test_a_block_without_both_parts_is_gone_and_order_does_not_matter(name: str) -> None:
    vision = VISION.get(name, "vision")
    drops: list[tuple[dict[str, list[int]], str]] = [
        ({"language": [2, 3], vision: [1]}, "attention"),
        ({"language": [2], vision: [1, 2]}, "mlp"),
        ({"language": [5]}, "block"),
    ]
    if name in FLOW:
        drops.append(({"action": [2, 3]}, "attention"))
    ends = []
    for order in itertools.permutations(drops):
        policy = made(name)
        for blocks, granularity in order:
            policy.drop(blocks, granularity)
        ends.append(policy)
    whole = made(name)
    whole.drop({"language": [2, 5], vision: [1]})
    whole.drop({"language": [3], **({"action": [2, 3]} if name in FLOW else {})}, "attention")
    whole.drop({vision: [2]}, "mlp")
    actions = whole.act(batch(name))
    for policy in ends:
        assert policy.config == whole.config and policy.state_dict().keys() == whole.state_dict().keys()
        assert {stack: s.readout for stack, s in policy.stacks().items()} == {stack: s.readout for stack, s in whole.stacks().items()}
    assert ends[-1].act(batch(name)).equal(actions)
    assert 2 not in ends[0].stacks()["language"].kept and "language.2" not in ends[0].gates()


def keys(policy: Policy, place: str) -> set[str]:
    return {name.removeprefix(f"{place}.").split(".")[0] for name in policy.state_dict() if name.startswith(f"{place}.")}


@pytest.mark.parametrize("name", FLOW)
def test_a_source_stays_while_somebody_reads_it(name: str) -> None:
    policy = made(name)
    policy.drop({"language": [2, 4], "action": [1]}, "attention")
    assert keys(policy, "language.sources.2") == {"norm", "k", "v"}
    assert keys(policy, "language.stack.blocks.2") == {"norm2", "gate", "up", "down"} | ({"post2"} if name == "gigabrain0" else set())
    assert not keys(policy, "action.sources.1") and keys(policy, "language.sources.1"), "language 1 reads its own source"
    policy.drop({"action": [2]}, "attention")
    assert not keys(policy, "language.sources.2") and not keys(policy, "action.sources.2")
    policy.drop({"action": [4]})
    assert not keys(policy, "language.sources.4")
    policy.drop({"language": [0], "action": [0]}, "mlp")
    assert keys(policy, "language.sources.0") and keys(policy, "action.sources.0")
    policy.losses(batch(name))


@pytest.mark.parametrize("name", FLOW)
def test_layers_behind_the_last_that_the_expert_attends_at_are_dead(name: str) -> None:
    policy, given = made(name), batch(name)
    policy.drop({"action": [4, 5]}, "attention")
    assert policy.stacks()["language"].dead == (3, 4, 5)
    assert {"language.3", "language.3.mlp", "language.5.attention"} <= policy.dead and "language.2.mlp" not in policy.dead
    actions = policy.act(given)
    again = skeleton(name, policy.config.to_dict())
    assert again.stacks()["language"].readout == 2 and again.state_dict().keys() == policy.state_dict().keys()
    policy.drop({"language": [3]}, "attention")
    policy.drop({"language": [4, 5]})
    assert policy.act(given).equal(actions)


def test_names_of_gates() -> None:
    policy = skeleton("openvla_oft", config("openvla_oft"))
    depths = {"vision.dino": 4, "vision.siglip": 5, "language": 6, "action": 2}
    assert list(policy.gates()) == [f"{stack}.{i}" for stack, depth in depths.items() for i in range(depth)]
    assert list(policy.gates("mlp"))[-1] == "language.5.mlp" and len(policy.gates("attention")) == 4 + 5 + 6
    policy.drop({"language": [5]}, "mlp")
    assert list(policy.gates("mlp", ["language"])) == [f"language.{i}.mlp" for i in range(5)] and "language.5" in policy.gates()


def test_drops_that_are_refused() -> None:
    policy = skeleton("pi05", config("pi05"))
    policy.drop({"language": [1]}, "attention")
    policy.drop({"language": [2]})
    for blocks in ([1], [2], [0, 6]):
        with pytest.raises(PlanMismatch, match=r"drops the attention of blocks \[\d\] but this stack has that in \[0, 3, 4, 5\]"):
            policy.drop({"language": blocks}, "attention")
    assert policy.stacks()["language"].having("attention") == (0, 3, 4, 5), "a refused drop must change nothing"
    before = policy.config
    for blocks in ({"language": [3], "vision": [9]}, {"language": [3], "visoin": [0]}):
        with pytest.raises((PlanMismatch, UnknownName)):
            policy.drop(blocks)
    assert policy.config == before, "a refused drop of several stacks must change none of them"
    with pytest.raises(UnknownName, match="did you mean 'attention'"):
        policy.drop({"language": [0]}, "atention")
    oft = skeleton("openvla_oft", config("openvla_oft"))
    for ask in (lambda: oft.drop({"action": [0]}, "mlp"), lambda: oft.gates("mlp", ["action"])):
        with pytest.raises(PlanMismatch, match="openvla_oft has no mlp in its action blocks"):
            ask()


@pytest.mark.parametrize(
    ("change", "answer"),
    [
        ({"without_mlp": [1], "without_attention": [1]}, "blocks .1. have neither attention nor MLP: leave them out of language.kept"),
        ({"kept": [0, 1], "without_mlp": [2]}, "language.without_mlp must hold increasing indices of kept blocks, got .2."),
        ({"without_attention": [2, 1]}, "increasing indices"),
        ({"without_attention": "2"}, "must be a list"),
        ({"without_mpl": [1]}, "did you mean 'without_mlp'"),
    ],
)
def test_configurations_that_are_refused(change: dict[str, object], answer: str) -> None:
    values = config("openvla_oft").to_dict()
    with pytest.raises(BadConfig, match=answer):
        skeleton("openvla_oft", values | {"language": values["language"] | change})
    with pytest.raises(BadConfig, match="no field of HeadConfig"):
        skeleton("openvla_oft", values | {"action": values["action"] | {"without_mlp": []}})
