"""Official key names of GigaBrain-0 (module tree of giga-models `b0e05c7`); in a layer, index 0 is the language stream, 1 the expert.

Dead for acting: the language stream's final norm. The word table and lm_head are one weight under two names.
"""

from __future__ import annotations

from dtr.policies.checkpoint import KeyMap, Pairs, Part, Tied
from dtr.policies.pi05_keys import PROJECTIONS, siglip, stream

SOURCE = {"input_layernorms.{s}": "norm", "self_attn.k_proj.{s}": "k", "self_attn.v_proj.{s}": "v"}
BLOCK = {
    "self_attn.q_proj.{s}": "q",
    "self_attn.o_proj.{s}": "o",
    "post_attention_layernorms.{s}": "post1",
    "pre_feedforward_layernorms.{s}": "norm2",
    "mlps.{s}.gate_proj": "gate",
    "mlps.{s}.up_proj": "up",
    "mlps.{s}.down_proj": "down",
    "post_feedforward_layernorms.{s}": "post2",
}
_MODEL = "paligemma_with_expert"


def _stream(s: int, ours: str) -> Pairs:
    """Stream `s` of the joint layers."""
    source, block = ({a.replace("{s}", str(s)): b for a, b in names.items()} for names in (SOURCE, BLOCK))
    return stream(f"{_MODEL}.layers.{{i}}", ours, source, block, steered=(".dense",) if s else ("",))


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
