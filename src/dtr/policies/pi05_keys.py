"""Official key names of pi0.5 (module tree of openpi `15a9616`, PyTorch path; lerobot puts `model.` before every key).

Dead: Gemma's final norm and the expert's lm_head. The word table is tied to PaliGemma's lm_head; released files hold only that one.
"""

from __future__ import annotations

from collections.abc import Mapping

from dtr.policies.checkpoint import KeyMap, Pairs, Part, Tied, renamed

SIGLIP_BLOCK = {
    "layer_norm1": "norm1",
    "self_attn.q_proj": "q",
    "self_attn.k_proj": "k",
    "self_attn.v_proj": "v",
    "self_attn.out_proj": "o",
    "layer_norm2": "norm2",
    "mlp.fc1": "fc1",
    "mlp.fc2": "fc2",
}
SOURCE = {"input_layernorm": "norm", "self_attn.k_proj": "k", "self_attn.v_proj": "v"}
BLOCK = {
    "self_attn.q_proj": "q",
    "self_attn.o_proj": "o",
    "post_attention_layernorm": "norm2",
    "mlp.gate_proj": "gate",
    "mlp.up_proj": "up",
    "mlp.down_proj": "down",
}


def siglip(official: str) -> Pairs:
    """Transformers' SigLIP tower."""
    return (
        (f"{official}.embeddings.patch_embedding.{{w}}", "vision.patch.{w}"),
        (f"{official}.embeddings.position_embedding.weight", "vision.position"),
        *renamed(SIGLIP_BLOCK, f"{official}.encoder.layers.{{i}}.", "vision.stack.blocks.{i}."),
        (f"{official}.post_layernorm.{{w}}", "vision.norm.{w}"),
    )


def stream(
    layer: str, ours: str, source: Mapping[str, str] = SOURCE, block: Mapping[str, str] = BLOCK, steered: tuple[str, ...] = ("", ".dense")
) -> Pairs:
    """A stream of joint layers, by default named as transformers' Gemma and Qwen; `steered`: what may stand behind a norm, `dense` the map
    of one that the time steers."""
    return tuple(
        (f"{layer}.{a}{dense}.{{w}}", f"{ours}.{place}.{b}{dense}.{{w}}")
        for place, names in (("sources.{i}", source), ("stack.blocks.{i}", block))
        for a, b in names.items()
        for dense in (steered if b.startswith("norm") else ("",))
    )


PROJECTIONS = renamed(
    {"action_in_proj": "action_in", "action_out_proj": "action_out", "time_mlp_in": "time_in", "time_mlp_out": "time_out"}
)
_VLM, _EXPERT = "paligemma_with_expert.paligemma", "paligemma_with_expert.gemma_expert"
PAIRS = (
    *siglip(f"{_VLM}.model.vision_tower.vision_model"),
    (f"{_VLM}.model.multi_modal_projector.linear.{{w}}", "projector.{w}"),
    (f"{_VLM}.lm_head.weight", "language.embedding.weight"),
    *stream(f"{_VLM}.model.language_model.layers.{{i}}", "language"),
    (f"{_VLM}.model.language_model.norm.weight", "unused.language_norm.weight"),
    *stream(f"{_EXPERT}.model.layers.{{i}}", "action"),
    (f"{_EXPERT}.model.norm.dense.{{w}}", "action.norm.dense.{w}"),
    (f"{_EXPERT}.lm_head.weight", "unused.expert_head.weight"),
    *PROJECTIONS,
    *siglip(f"{_VLM}.model.vision_tower"),  # transformers 5 writes the tower without its `vision_model`; exports have it
)
TIED = (Tied(f"{_VLM}.model.language_model.embed_tokens.weight", f"{_VLM}.lm_head.weight"),)

KEYS = KeyMap({"weights": Part(PAIRS, tied=TIED)})
"""One part, as openpi writes it; of lerobot's files the wrapper is found and taken off."""
