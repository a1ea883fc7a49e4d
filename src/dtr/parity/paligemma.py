"""What pi0.5 and GigaBrain-0 have in common beside the flow: SigLIP, and an expert whose norms an MLP of the time steers."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from dtr.parity import flow
from dtr.parity.golden import Golden, Tensors
from dtr.policies.base import Batch
from dtr.policies.pi05 import PaliGemmaPolicy

ONLY = flow.ONLY | {
    "vision.activation": "gelu_tanh",
    "vision.patch_embedding_bias": True,
    "vision.post_layernorm_used": True,
    "vision.class_token": False,
    "vision.pooling_head": False,
    "vision.image_feature_scale": 1.0,
    "language.rms_norm_weight": "1+w",
    "language.tie_word_embeddings": True,
    "action.state_token": False,
    "action.time_embedding.computed_in": "float64",
}


def config(golden: Golden, post_norm: str) -> dict[str, Any]:
    """Every dimension of config.json. `post_norm`: the norm behind attention and MLP, "" for none. BadConfig for a foreign flag."""
    golden.only(ONLY, str(golden.value("model")))
    value, optional = golden.value, golden.optional
    fields = {"depth": "num_blocks", "width": "hidden_size", "heads": "num_heads", "mlp": "mlp_size", "eps": "layer_norm_eps"}
    fields |= {"image_size": "image_size", "patch_size": "patch_size"}

    def stream(path: str) -> dict[str, Any]:
        bias = optional(f"{path}.attention_bias", optional("language.attention_bias", False))
        more = {"eps": value(f"{path}.rms_norm_eps"), "scale": float(optional(f"{path}.query_pre_attn_scalar", 0.0))}
        return flow.stream(golden, path) | more | {"qkv_bias": bias, "o_bias": bias, "post_norm": post_norm}

    return {
        "vision": {mine: value(f"vision.{theirs}") for mine, theirs in fields.items()} | {"channels": optional("vision.in_channels", 3)},
        "language": stream("language") | {"norm": "rms_plus_one"},
        "action": stream("action") | {"norm": "scale_shift_gate", "final_norm": "scale_shift_gate"},
        "vocab": value("language.vocab_size"),
        "images": value("vision.num_images"),
        "max_text": value("max_text_len"),
        "text_scale": flow.text_scale(golden),
        "chunk": value("action.horizon"),
        "action_dim": value("action.action_dim"),
        "flow": flow.flow(golden),
        "unused": True,
    }


def more(policy: PaliGemmaPolicy, batch: Batch, found: Tensors) -> Tensors:
    """The quantities of tower, language norm and time."""
    features = policy.vision.norm(found["vision.output"])
    return {
        "vision.features": features,
        "vision.projected": policy.projector(features),
        "language.final": language_final(policy, found),
        "time_condition": policy.condition(batch["time"]),
    }


def language_final(policy: PaliGemmaPolicy, found: Tensors) -> Tensor:
    """The first stream behind its final norm, which no action depends on: (B, N, D)."""
    y: Tensor = policy.unused["language_norm"](found["language.output"])[0]
    return y
