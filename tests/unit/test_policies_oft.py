"""OpenVLA-OFT: sizes, padding, dropping, initial weights, shapes."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from beartype import beartype
from jaxtyping import Float, jaxtyped
from narrow_oft import CONFIG, batch, oft
from torch import Tensor

from dtr.errors import BadConfig, PlanMismatch, UnknownName
from dtr.policies.base import Batch
from dtr.policies.openvla_oft import OpenVLAOFT
from dtr.policies.openvla_oft_config import FULL_SIZE, OpenVLAOFTConfig
from dtr.policies.registry import build, policy_class, skeleton
from dtr.policies.vit import TowerConfig


def millions(module: torch.nn.Module) -> float:
    return sum(p.numel() for p in module.parameters()) / 1e6


def test_full_size_has_the_published_numbers_of_parameters() -> None:
    policy = skeleton("openvla_oft", FULL_SIZE)
    assert isinstance(policy, OpenVLAOFT)
    head, proprio, lm_head = millions(policy.action), millions(policy.proprio), millions(policy.unused["lm_head"])
    assert round(millions(policy.dino)) == 303
    assert round(millions(policy.siglip)) == 412
    assert round(millions(policy.language) + lm_head) == 6739  # Llama-2-7B with 64 more words
    assert round(millions(policy.projector)) == 71
    assert (round(head), round(proprio)) == (151, 17)
    vlm = policy.parameter_count / 1e6 - head - proprio - millions(policy.unused["siglip_pool"])
    assert round(vlm / 1e3, 2) == 7.53
    assert {name: stack.dead for name, stack in policy.stacks().items() if stack.dead} == {"vision.dino": (23,), "vision.siglip": (26,)}


# Aliases, because jaxtyping's axis names are no annotations to a linter.
Losses, Actions, Features = Float[Tensor, "B"], Float[Tensor, "B 3 7"], Float[Tensor, "B patches channels"]


@jaxtyped(typechecker=beartype)
def check(policy: OpenVLAOFT, b: Batch) -> tuple[Losses, Actions, Features]:
    return policy.losses(b), policy.act(b), policy.features(b["pixel_values"])


def test_shapes() -> None:
    loss, actions, features = check(oft(), batch())
    assert loss.requires_grad and not actions.requires_grad
    assert features.shape[1:] == (2 * 4, 16 + 12)


def test_images_may_be_a_dimension_of_their_own() -> None:
    policy, b = oft(), batch()
    apart = b | {"pixel_values": b["pixel_values"].view(2, 2, 6, 16, 16)}
    assert torch.equal(policy.act(apart), policy.act(b))


def test_a_padded_batch_equals_each_sample_alone() -> None:
    policy, b = oft(), batch(lengths=(30, 26, 28))
    together = policy.losses(b)
    for k, n in enumerate((30, 26, 28)):
        alone = {name: x[k : k + 1] for name, x in b.items()}
        alone |= {"input_ids": alone["input_ids"][:, :n], "attention_mask": alone["attention_mask"][:, :n]}
        torch.testing.assert_close(policy.losses(alone)[0], together[k], rtol=0, atol=1e-6)


def test_bits_of_a_row_do_not_depend_on_its_neighbours() -> None:
    policy, b = oft(), batch(lengths=(30, 30, 30))
    other = batch(lengths=(30, 25, 27), seed=2)
    mixed = {name: torch.cat([b[name][:1], other[name][1:]]) for name in b}
    assert torch.equal(policy.act(b)[0], policy.act(mixed)[0])


def test_the_ids_of_placeholders_do_not_matter_but_those_of_the_prompt_do() -> None:
    policy, b = oft(), batch(lengths=(30, 27))
    ids = b["input_ids"].clone()
    ids[0, 8:29] = 7
    ids[1, 5:26] = 9
    ids[1, 27:] = 11  # padding
    assert torch.equal(policy.act(b | {"input_ids": ids}), policy.act(b))
    for position in (0, 7, 29):  # BOS, the empty token, stop
        changed = b["input_ids"].clone()
        changed[0, position] = (changed[0, position] + 1) % 40
        assert not torch.equal(policy.act(b | {"input_ids": changed})[0], policy.act(b)[0])


def test_dropping_shrinks_and_the_configuration_follows() -> None:
    policy = oft()
    before = policy.parameter_count
    block = sum(p.numel() for p in policy.language.stack.blocks["1"].parameters())
    policy.drop({"language": [1], "vision.dino": [2]})
    assert policy.config.language.kept == (0, 2) and policy.config.dino.kept == (0, 1)
    assert policy.parameter_count < before - block
    assert policy.stacks()["language"].kept == (0, 2) and policy.stacks()["vision.dino"].dead == ()
    again = skeleton("openvla_oft", OpenVLAOFTConfig.from_dict(policy.config.to_dict()))
    assert {k: v.shape for k, v in again.state_dict().items()} == {k: v.shape for k, v in policy.state_dict().items()}
    with pytest.raises(PlanMismatch, match=r"drops blocks \[1\]"):
        policy.drop({"language": [1]})
    with pytest.raises(UnknownName, match="did you mean 'language'"):
        policy.drop({"languag": [0]})


def test_the_readout_stays_at_its_original_block() -> None:
    policy, b = oft(), batch()
    before = policy.act(b)
    policy.drop({"vision.dino": [2], "vision.siglip": [3]})
    assert torch.equal(policy.act(b), before)
    policy.drop({"vision.siglip": [2]})
    assert not torch.equal(policy.act(b), before)


def test_a_readout_behind_the_last_block_is_refused() -> None:
    assert [TowerConfig(depth, 8, 2, 8, readout=-2).readout for depth in (1, 2, 6)] == [0, 0, 4]
    with pytest.raises(BadConfig, match="has no block 9 to read out"):
        TowerConfig(6, 8, 2, 8, readout=9)


def test_narrowing_the_head_keeps_the_chosen_units() -> None:
    policy, b = oft(), batch()
    whole = policy.action.fc1.weight.clone()
    policy.narrow_head(range(0, 32, 2))
    assert policy.config.action.hidden == 16 and policy.config.action.full_hidden == 32
    assert torch.equal(policy.action.fc1.weight, whole[::2])
    assert policy.act(b).shape == (2, 3, 7)
    again = skeleton("openvla_oft", policy.config)
    assert {k: v.shape for k, v in again.state_dict().items()} == {k: v.shape for k, v in policy.state_dict().items()}


def test_all_units_in_another_order_are_the_same_head() -> None:
    policy, b = oft(), batch()
    before = policy.act(b)
    policy.narrow_head(list(reversed(range(32))))
    torch.testing.assert_close(policy.act(b), before, rtol=0, atol=1e-5)


def test_initial_weights_depend_on_seed_and_name_alone() -> None:
    torch.manual_seed(1)
    state = torch.get_rng_state()
    first = build("openvla_oft", CONFIG, 7).state_dict()
    assert torch.equal(torch.get_rng_state(), state)
    second, other = build("openvla_oft", CONFIG, 7).state_dict(), build("openvla_oft", CONFIG, 8).state_dict()
    assert all(torch.equal(first[k], second[k]) for k in first)
    assert not torch.equal(first["projector.fc.0.weight"], other["projector.fc.0.weight"])
    pruned = build("openvla_oft", CONFIG | {"language": CONFIG["language"] | {"kept": [2]}}, 7).state_dict()
    assert all(torch.equal(first[k], pruned[k]) for k in pruned) and len(pruned) < len(first)
    assert all(bool(v.isfinite().all()) for v in first.values())


def test_one_step_of_training_reaches_every_live_weight() -> None:
    policy = oft(unused=True).train()
    policy.losses(batch()).mean().backward()
    idle = {name for name, p in policy.named_parameters() if p.grad is None}
    assert {name.rsplit(".", 1)[0] for name in idle if not name.startswith("unused.")} >= {"dino.stack.blocks.2.qkv"}
    assert all(name.startswith(("unused.", "dino.stack.blocks.2.", "siglip.stack.blocks.3.")) for name in idle)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"imagesize": 3}, "did you mean 'image_size'"),
        ({"image_size": 15}, "multiple of patch_size"),
        ({"chunk": "8"}, "chunk must be int"),
        ({"language": CONFIG["language"] | {"kept": [2, 1]}}, "increasing"),
        ({"language": CONFIG["language"] | {"kv_heads": 3}}, "kv_heads must divide"),
        ({"language": {"depth": 3}}, "language.width is missing"),
        ({"language": CONFIG["language"] | {"heads": 0}}, "language.heads must be 1 or more, got 0"),
        ({"language": CONFIG["language"] | {"heads": 7}}, "heads must divide the width"),
        ({"language": CONFIG["language"] | {"eps": float("nan")}}, "language.eps must be a finite number, got nan"),
        ({"dino": CONFIG["dino"] | {"heads": 0}}, "tower.heads must be 1 or more, got 0"),
        ({"patch_size": 0}, "patch_size must be 1 or more, got 0"),
        ({"chunk": -1}, "chunk must be 1 or more, got -1"),
    ],
)
def test_wrong_configurations_are_named(change: dict[str, object], message: str) -> None:
    with pytest.raises(BadConfig, match=message):
        build("openvla_oft", CONFIG | change, 0)


def test_unknown_policy_is_answered_with_a_near_one() -> None:
    with pytest.raises(UnknownName, match="did you mean 'openvla_oft'"):
        policy_class("openvla-oft")


def test_configuration_survives_json() -> None:
    assert OpenVLAOFTConfig.from_dict(FULL_SIZE.to_dict()) == FULL_SIZE
    assert dataclasses.replace(FULL_SIZE, images=1).visual_tokens == 257
