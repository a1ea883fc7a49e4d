"""Official key names of OpenVLA-OFT (module tree of openvla-oft `213c5ff`, timm 0.9.16, transformers 4.40.1).

Dead: both tower norms, SigLIP's attention pool and lm_head never reach an action. A policy whose configuration says `unused` carries
them, so that it exports whole; one that does not forgets them at import.
"""

from __future__ import annotations

from dtr.policies.checkpoint import KeyMap, Pairs, Part, renamed


def _tower(official: str, ours: str) -> Pairs:
    """A timm vision transformer; `scale_factor` is what openvla renames LayerScale's `gamma` to."""
    block, mine = f"{official}.blocks.{{i}}", f"{ours}.stack.blocks.{{i}}"
    return (
        (f"{official}.patch_embed.proj.{{w}}", f"{ours}.patch.{{w}}"),
        (f"{official}.pos_embed", f"{ours}.position"),
        (f"{official}.cls_token", f"{ours}.class_token"),
        (f"{official}.reg_token", f"{ours}.registers"),
        (f"{official}.norm.{{w}}", f"unused.{ours}_norm.{{w}}"),
        *renamed(TOWER_BLOCK, f"{block}.", f"{mine}."),
        (f"{block}.ls1.scale_factor", f"{mine}.scale1"),
        (f"{block}.ls2.scale_factor", f"{mine}.scale2"),
    )


TOWER_BLOCK = {"norm1": "norm1", "attn.qkv": "qkv", "attn.proj": "proj", "norm2": "norm2", "mlp.fc1": "fc1", "mlp.fc2": "fc2"}
LANGUAGE_BLOCK = {
    "input_layernorm": "norm1",
    "self_attn.q_proj": "q",
    "self_attn.k_proj": "k",
    "self_attn.v_proj": "v",
    "self_attn.o_proj": "o",
    "post_attention_layernorm": "norm2",
    "mlp.gate_proj": "gate",
    "mlp.up_proj": "up",
    "mlp.down_proj": "down",
}
POOL = {"q": "q", "kv": "kv", "proj": "proj", "norm": "norm", "mlp.fc1": "fc1", "mlp.fc2": "fc2"}
_POOL, _LAYER = "vision_backbone.fused_featurizer.attn_pool", "language_model.model.layers.{i}"

VLM = Part(
    pairs=(
        *_tower("vision_backbone.featurizer", "dino"),
        *_tower("vision_backbone.fused_featurizer", "siglip"),
        (f"{_POOL}.latent", "unused.siglip_pool.latent"),
        *renamed(POOL, f"{_POOL}.", "unused.siglip_pool."),
        *((f"projector.fc{k + 1}.{{w}}", f"projector.fc.{k}.{{w}}") for k in range(9)),
        ("language_model.model.embed_tokens.weight", "language.embedding.weight"),
        *renamed(LANGUAGE_BLOCK, f"{_LAYER}.", "language.stack.blocks.{i}."),
        ("language_model.model.norm.weight", "language.norm.weight"),
        ("language_model.lm_head.weight", "unused.lm_head.weight"),
    ),
    # Old transformers wrote RoPE's frequencies into some Llama checkpoints; they follow from rope_base.
    dead=(r"language_model\.model\.layers\.\d+\.self_attn\.rotary_emb\.inv_freq",),
)
ACTION_HEAD = Part(
    pairs=(
        ("model.layer_norm1.{w}", "action.norm1.{w}"),
        ("model.fc1.{w}", "action.fc1.{w}"),
        ("model.mlp_resnet_blocks.{i}.ffn.0.{w}", "action.stack.blocks.{i}.norm.{w}"),
        ("model.mlp_resnet_blocks.{i}.ffn.1.{w}", "action.stack.blocks.{i}.fc.{w}"),
        ("model.layer_norm2.{w}", "action.norm2.{w}"),
        ("model.fc2.{w}", "action.fc2.{w}"),
    ),
    prefix="module.",
    file="action_head--latest_checkpoint.pt",
)
PROPRIO = Part(
    pairs=tuple((f"fc{k + 1}.{{w}}", f"proprio.fc.{k}.{{w}}") for k in range(9)),
    prefix="module.",
    file="proprio_projector--latest_checkpoint.pt",
)

KEYS = KeyMap({"weights": VLM, "action_head": ACTION_HEAD, "proprio_projector": PROPRIO})
"""Parts by the file they come in: the VLM's weights, `action_head--*.pt`, `proprio_projector--*.pt`."""
