"""Official key names of GigaBrain-0 (module tree of giga-models `b0e05c7`); in a layer, index 0 is the language stream, 1 the expert.

Dead for acting: the language stream's final norm. The word table and lm_head are one weight under two names.
"""

from __future__ import annotations

from dtr.policies.checkpoint import KeyMap, Part, Tied
from dtr.policies.pi05_keys import PROJECTIONS, Pairs, siglip

SOURCE = {"input_layernorms": "norm", "self_attn.k_proj": "k", "self_attn.v_proj": "v"}
BLOCK = {
    "self_attn.q_proj": "q",
    "self_attn.o_proj": "o",
    "post_attention_layernorms": "post1",
    "pre_feedforward_layernorms": "norm2",
    "mlps.{s}.gate_proj": "gate",
    "mlps.{s}.up_proj": "up",
    "mlps.{s}.down_proj": "down",
    "post_feedforward_layernorms": "post2",
}
_MODEL = "paligemma_with_expert"


def _stream(s: int, ours: str) -> Pairs:
    """Stream `s` of the joint layers."""
    pairs = []
    for place, names in (("sources.{i}", SOURCE), ("stack.blocks.{i}", BLOCK)):
        for official, mine in names.items():
            name = official.replace("{s}", str(s)) if "{s}" in official else f"{official}.{s}"
            dense = ".dense" if s == 1 and mine in ("norm", "norm2") else ""
            pairs.append((f"{_MODEL}.layers.{{i}}.{name}{dense}.{{w}}", f"{ours}.{place}.{mine}{dense}.{{w}}"))
    return tuple(pairs)


KEYS = KeyMap(
    {
        "weights": Part(
            pairs=(
                *siglip(f"{_MODEL}.vision_tower"),
                (f"{_MODEL}.multi_modal_projector.linear.{{w}}", "projector.{w}"),
                (f"{_MODEL}.embed_tokens.weight", "language.embedding.weight"),
                *_stream(0, "language"),
                *_stream(1, "action"),
                (f"{_MODEL}.norms.0.weight", "unused.language_norm.weight"),
                (f"{_MODEL}.norms.1.dense.{{w}}", "action.norm.dense.{w}"),
                *PROJECTIONS,
            ),
            tied=(Tied(f"{_MODEL}.lm_head.weight", f"{_MODEL}.embed_tokens.weight", written=True),),
        )
    }
)
"""One part."""
