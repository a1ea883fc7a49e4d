"""Official key names of LingBot-VLA (module tree of lingbot-vla `61ef6b1` on transformers 4.51.3, whose Qwen2.5-VL has the old layout).

Dead: the language stream's final norm, which a policy with `unused` carries, and both lm_heads, which the official class deletes.
"""

from __future__ import annotations

from dtr.policies.checkpoint import KeyMap, Pairs, Part, renamed
from dtr.policies.pi05_keys import stream

TOWER_BLOCK = {
    "norm1": "norm1",
    "attn.qkv": "qkv",
    "attn.proj": "proj",
    "norm2": "norm2",
    "mlp.gate_proj": "gate",
    "mlp.up_proj": "up",
    "mlp.down_proj": "down",
}
MERGER = {"ln_q": "norm", "mlp.0": "fc1", "mlp.2": "fc2"}
PROJECTIONS = {
    "state_proj": "state_in",
    "action_in_proj": "action_in",
    "action_time_mlp_in": "time_in",
    "action_time_mlp_out": "time_out",
    "action_out_proj": "action_out",
}
_VLM, _EXPERT = "qwenvl_with_expert.qwenvl", "qwenvl_with_expert.qwen_expert"
_NORMS = {"input_layernorm": "action.sources.{i}.norm", "post_attention_layernorm": "action.stack.blocks.{i}.norm2"}
STEERED: Pairs = tuple(
    (f"{_EXPERT}.model.layers.{{i}}.{a}.{part}.{{w}}", f"{b}.{part}.{{w}}") for a, b in _NORMS.items() for part in ("gamma", "beta")
)

KEYS = KeyMap(
    {
        "weights": Part(
            pairs=(
                (f"{_VLM}.visual.patch_embed.proj.{{w}}", "vision.patch.{w}"),
                *renamed(TOWER_BLOCK, f"{_VLM}.visual.blocks.{{i}}.", "vision.stack.blocks.{i}."),
                *renamed(MERGER, f"{_VLM}.visual.merger.", "projector."),
                (f"{_VLM}.model.embed_tokens.weight", "language.embedding.weight"),
                *stream(f"{_VLM}.model.layers.{{i}}", "language"),
                (f"{_VLM}.model.norm.weight", "unused.language_norm.weight"),
                *stream(f"{_EXPERT}.model.layers.{{i}}", "action"),
                *STEERED,
                (f"{_EXPERT}.model.norm.weight", "action.norm.weight"),
                *renamed(PROJECTIONS),
            ),
            dead=(r"qwenvl_with_expert\.(qwenvl|qwen_expert)\.lm_head\.weight",),
            prefix="model.",
        )
    }
)
"""One part."""
