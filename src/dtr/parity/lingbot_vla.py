"""Golden values of LingBot-VLA."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from dtr.errors import BadConfig
from dtr.parity import flow
from dtr.parity.comparison import Comparison, difference
from dtr.parity.golden import Golden, Tensors
from dtr.policies.base import Batch
from dtr.policies.lingbot_vla import LingBotVLA
from dtr.policies.lingbot_vla_config import LingBotVLAConfig
from dtr.policies.lingbot_vla_keys import KEYS

TOLERANCES = flow.Tolerances(loss=3e-6, hidden=1e-4, actions=2e-5, gates=2e-5)
LOSSES = {"L1_fm": "l1", "fm": "mse"}
ONLY = flow.ONLY | {
    "vision.activation": "silu",
    "vision.gated_mlp": True,
    "vision.mlp_bias": True,
    "language.activation": "silu",
    "language.rms_norm_weight": "w",
    "language.attention_scale": "head_dim**-0.5",
    "action.activation": "silu",
    "action.state_token": True,
    "action.time_embedding.computed_in": "float32",
}


def compare(golden: Golden) -> Iterator[Comparison]:
    """Every quantity of the folder."""
    policy = load(golden)
    batch, sampling = flow.batches(golden, {"pixel_values": "images", "state": "state"})
    given = golden.tensors("inputs.safetensors", "image_patches")["image_patches"]
    yield difference("image_patches", patches(policy, batch["pixel_values"]), given, 0.0)
    yield from flow.compare(golden, policy, batch, sampling, lambda found: more(golden, policy, batch, found), TOLERANCES)


def load(golden: Golden) -> LingBotVLA:
    """The policy of the folder with the official weights."""
    return flow.load(golden, LingBotVLA, config(golden), KEYS)


def config(golden: Golden) -> LingBotVLAConfig:
    """Our configuration from every dimension and flag of config.json. BadConfig for a flag that the official code has not."""
    golden.only(ONLY, "LingBot-VLA")
    value = golden.value
    loss = str(value("loss")).split(":")[0]
    if loss not in LOSSES:
        raise BadConfig(f"config.json says loss = {loss!r} but LingBot-VLA has {', '.join(LOSSES)}: compare another folder.")
    return LingBotVLAConfig.from_dict(
        {
            "vision": tower(golden),
            "language": stream(golden, "language") | {"norm": "rms", "eps": value("language.rms_norm_eps")},
            "action": stream(golden, "action")
            | {"norm": "gamma_beta", "eps": value("action.ada_rms_norm_eps")}
            | {"final_norm": "rms", "final_eps": value("action.final_rms_norm_eps")},
            "vocab": value("language.vocab_size"),
            "images": value("vision.num_images"),
            "max_text": value("max_text_len"),
            "text_scale": flow.text_scale(golden),
            "chunk": value("action.chunk"),
            "action_dim": value("action.padded_action_dim"),
            "loss_dims": value("action.action_dim"),
            "state_dim": value("action.state_dim"),
            "flow": flow.flow(golden),
            "loss": LOSSES[loss],
            "unused": True,
        }
    )


def tower(golden: Golden) -> dict[str, Any]:
    """Qwen's tower."""
    fields = {"depth": "num_blocks", "width": "hidden_size", "heads": "num_heads", "mlp": "mlp_size", "image_size": "image_size"}
    fields |= {"patch_size": "patch_size", "window": "window_size_pixels", "full": "full_attention_blocks", "eps": "rms_norm_eps"}
    fields |= {"merge": "spatial_merge_size", "copies": "temporal_patch_size", "channels": "in_channels", "rope_base": "rope_base"}
    return {mine: golden.value(f"vision.{theirs}") for mine, theirs in fields.items()}


def stream(golden: Golden, path: str) -> dict[str, Any]:
    """One stream of Qwen blocks, but for its norms."""
    biases = {"qkv_bias": golden.value(f"{path}.qkv_bias"), "o_bias": golden.optional(f"{path}.o_proj_bias", False)}
    return flow.stream(golden, path) | biases


def patches(policy: LingBotVLA, images: Tensor) -> Tensor:
    """What Qwen's image processor makes of images: (B, n, 3, S, S) -> (B, n, P, 3 copies p p)."""
    found = policy.vision.patches(images).unsqueeze(4).expand(-1, -1, -1, -1, policy.vision.config.copies, -1, -1)
    return found.flatten(3).flatten(1, 2).unflatten(0, images.shape[:2])


def more(golden: Golden, policy: LingBotVLA, batch: Batch, found: Tensors) -> Tensors:
    """The quantities of the tower, the language norm, the action tokens, and the losses that are not trained on."""
    images, tower, mixed = batch["pixel_values"], policy.vision, batch["time"][:, None, None]
    path = mixed * batch["noise"] + (1 - mixed) * batch["actions"]
    merged = tower.row_major(policy.projector(found["vision.output"].flatten(0, 1)))
    real = found["apart"][..., : golden.value("action.action_dim")]
    return {
        "vision.window_index_one_image": tower.order(images.device),
        "vision.window_boundaries_one_image": torch.tensor(tower.boundaries()),
        "vision.projected": merged.unflatten(0, images.shape[:2]),
        "language.final": policy.unused["language_norm"](found["language.output"])[0],
        "action_time_embedding": policy.enter(batch, path, batch["time"])[0][:, 1:],
        "loss_elementwise": found["apart"].abs(),
        "loss_mse": real.square().mean(dim=(1, 2)),
        "loss_all_dims": found["apart"].abs().mean(dim=(1, 2)),
    }
