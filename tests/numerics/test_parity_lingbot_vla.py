"""LingBot-VLA: `dtr parity` on the golden values of the official code; official keys both ways; what a drop leaves; padding."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import golden_folder
import pytest
import torch
from golden_folder import change
from naive_lingbot import LANGUAGE, config, inputs

from dtr.cost import measure
from dtr.errors import BadCheckpoint, BadConfig
from dtr.hub import export
from dtr.parity import parity
from dtr.parity.golden import Golden
from dtr.parity.lingbot_vla import config as read_config
from dtr.parity.lingbot_vla import load
from dtr.policies.base import Batch
from dtr.policies.checkpoint import import_weights
from dtr.policies.lingbot_vla import LingBotVLA
from dtr.policies.lingbot_vla_config import FULL_SIZE
from dtr.policies.lingbot_vla_keys import KEYS
from dtr.policies.registry import build, skeleton

GOLDEN = golden_folder.GOLDEN / "lingbot_vla"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the golden folder to spoil."""
    return Path(shutil.copytree(GOLDEN, tmp_path / "golden"))


@pytest.fixture
def policy(tmp_path: Path) -> LingBotVLA:
    """A narrow policy with initial weights; `steps` are few."""
    (tmp_path / "config.json").write_text(json.dumps(config(flow__num_steps=2)))
    built = build("lingbot_vla", read_config(Golden.read(tmp_path)), seed=0)
    assert isinstance(built, LingBotVLA)
    return built


def request(lengths: tuple[int, ...] = (6, 3), missing: tuple[tuple[int, int], ...] = ((1, 1),), **change: Any) -> Batch:
    """A batch for that policy."""
    given = inputs(config(**change), 1, lengths, missing)
    names = {"pixel_values": "images", "input_ids": "tokens", "attention_mask": "token_mask"}
    return {ours: given[names.get(ours, ours)] for ours in (*names, "image_mask", "state", "actions", "noise", "time")}


@pytest.mark.parametrize(
    "key",
    [
        f"{LANGUAGE}.layers.3.self_attn.k_proj.bias",  # of a block whose residual is dead
        "model.qwenvl_with_expert.qwen_expert.model.layers.1.post_attention_layernorm.gamma.bias",
        "model.qwenvl_with_expert.qwenvl.visual.blocks.4.attn.qkv.bias",
    ],
)
def test_a_perturbed_weight_fails(folder: Path, key: str) -> None:
    change(folder / "weights.safetensors", key, 0.3)
    assert not parity(folder).passed


def test_a_dead_weight_changes_only_what_no_action_reads(folder: Path) -> None:
    change(folder / "weights.safetensors", f"{LANGUAGE}.layers.3.mlp.up_proj.weight", 1.0)
    change(folder / "weights.safetensors", f"{LANGUAGE}.norm.weight", 1.0)
    assert {c.quantity for c in parity(folder).failures} == {"language.output", "language.final"}


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("action", "time_embedding", "computed_in"), "float64", "float32"),
        (("action", "time_embedding", "dim"), 30, "as wide as the expert"),
        (("action", "rope_base"), 1e6, "same rope_base"),
        (("vision", "window_size_pixels"), 4, "window"),
        (("loss",), "cross entropy", "loss"),
    ],
)
def test_a_folder_of_another_model_is_refused(folder: Path, path: tuple[str, ...], value: Any, message: str) -> None:
    whole = json.loads((folder / "config.json").read_text())
    node = whole
    for key in path[:-1]:
        node = node[key]
    node[path[-1]] = value
    (folder / "config.json").write_text(json.dumps(whole))
    with pytest.raises(BadConfig, match=message):
        parity(folder)


def test_keys_are_mapped_both_ways_and_strictly() -> None:
    golden = Golden.read(GOLDEN)
    official = golden.tensors("weights.safetensors")
    whole = load(golden)
    back = export.official(whole, KEYS, consecutive=False)["weights"]
    assert set(back) == set(official) and all(tensor.equal(official[key]) for key, tensor in back.items())

    slim = skeleton("lingbot_vla", whole.config.to_dict() | {"unused": False})
    import_weights(slim, KEYS, {"weights": official})
    assert set(official) - set(export.official(slim, KEYS, consecutive=False)["weights"]) == {f"{LANGUAGE}.norm.weight"}

    some = official["model.state_proj.bias"]
    import_weights(slim, KEYS, {"weights": official | {"model.qwenvl_with_expert.qwenvl.lm_head.weight": some}})
    for key, message in (("model.depth_proj.bias", "is no key"), (f"{LANGUAGE}.layers.4.mlp.up_proj.weight", "absent")):
        with pytest.raises(BadCheckpoint, match=message):
            import_weights(slim, KEYS, {"weights": official | {key: some}})
    with pytest.raises(BadCheckpoint, match=r"state_in\.bias"):
        import_weights(slim, KEYS, {"weights": {k: t for k, t in official.items() if k != "model.state_proj.bias"}})


def test_parameters_of_the_released_model() -> None:
    policy = skeleton("lingbot_vla", FULL_SIZE)
    count = lambda *names: sum(p.numel() for n, p in policy.named_parameters() if n.startswith(names))  # noqa: E731
    assert round(count("") / 1e9, 2) == 4.20
    assert round(count("vision", "projector") / 1e9, 2) == 0.67
    assert round(count("language", "unused") / 1e9, 2) == 3.09
    assert round(count("action.") / 1e9, 2) == 0.44
    block = count("language.stack.blocks.5.", "language.sources.5.")
    assert round(block / 1e6, 1) == 77.1
    before, source = policy.parameter_count, 2048 + 2 * (2048 + 1) * 256  # what is kept of a language block: norm, W_k, W_v, biases
    policy.drop({"language": [5]})
    assert before - policy.parameter_count == block - source
    policy.drop({"action": [5]})
    assert count("language.sources.5.") == 0 and count("action.sources.5.", "action.stack.blocks.5.") == 0
    assert policy.config.vision.tokens * policy.config.images == 192


def test_operations_follow_the_windows(policy: LingBotVLA) -> None:
    def vision(window: int) -> int:
        tower = policy.config.to_dict()["vision"] | {"image_size": 24, "window": window}
        return measure(skeleton("lingbot_vla", policy.config.to_dict() | {"vision": tower})).flops.by_component["vision"]

    blocks, images, patches, width = 2, 2, 36, 24  # two of three blocks look through windows; a score and its value cost 4 operations
    assert vision(24) - vision(8) == blocks * images * 4 * width * (patches**2 - 9 * (patches // 9) ** 2)
    assert vision(16) == vision(24)  # 16 does not divide 24: a mask, and every score is computed


def test_padding_and_neighbours_change_nothing(policy: LingBotVLA) -> None:
    batch = request()
    with torch.no_grad():
        losses, actions = policy.losses(batch), policy.act(batch)
        for b, (length, cameras) in enumerate(((6, 2), (3, 1))):
            alone = {name: tensor[b : b + 1] for name, tensor in batch.items()}
            alone |= {name: alone[name][:, :length] for name in ("input_ids", "attention_mask")}
            torch.testing.assert_close(policy.losses(alone), losses[b : b + 1], atol=1e-6, rtol=0)
            torch.testing.assert_close(policy.act(alone), actions[b : b + 1], atol=2e-6, rtol=0)
            if cameras == 1:  # what the missing camera's slot holds does not matter
                alone["pixel_values"] = alone["pixel_values"].clone()
                alone["pixel_values"][:, 1] = 7.0
                torch.testing.assert_close(policy.act(alone), actions[b : b + 1], atol=2e-6, rtol=0)


def test_loss_kinds_and_padded_dimensions(policy: LingBotVLA) -> None:
    batch = request()
    other = batch | {"actions": batch["actions"].clone()}
    other["actions"][..., policy.config.loss_dims :] += 1.0  # moves x_t, but the padded dimensions themselves are not in the loss
    with torch.no_grad():
        _, apart = policy.against(batch)
        real = apart[..., : policy.config.loss_dims]
        torch.testing.assert_close(policy.losses(batch), real.abs().mean((1, 2)))
        assert not policy.losses(other).equal(policy.losses(batch))
        squared = skeleton("lingbot_vla", policy.config.to_dict() | {"loss": "mse"})
        squared.load_state_dict(policy.state_dict(), assign=True)
        torch.testing.assert_close(squared.losses(batch), real.square().mean((1, 2)))
