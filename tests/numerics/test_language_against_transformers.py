"""The language stack against transformers' Llama under an explicit bidirectional mask."""

from __future__ import annotations

import warnings

import pytest
import torch

from dtr.policies.decoder import Decoder, LanguageConfig
from dtr.policies.openvla_oft_keys import LANGUAGE_BLOCK

transformers = pytest.importorskip("transformers")


@pytest.mark.parametrize(
    ("depth", "width", "heads", "kv_heads", "mlp", "eps", "base"),
    [(3, 48, 4, 4, 80, 1e-6, 10000.0), (2, 60, 6, 3, 50, 1e-2, 100.0), (4, 40, 10, 1, 33, 1e-5, 500000.0)],
)
def test_hidden_states_agree(depth: int, width: int, heads: int, kv_heads: int, mlp: int, eps: float, base: float) -> None:
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = transformers.LlamaModel(
            transformers.LlamaConfig(
                vocab_size=50, hidden_size=width, num_hidden_layers=depth, num_attention_heads=heads, num_key_value_heads=kv_heads,
                intermediate_size=mlp, rms_norm_eps=eps, rope_theta=base, attn_implementation="eager",
            )
        ).eval()  # fmt: skip
    for p in theirs.parameters():
        torch.nn.init.normal_(p, std=0.3 if p.dim() > 1 else 1.0)
    ours = Decoder(LanguageConfig(depth, width, heads, mlp, 50, kv_heads=kv_heads, eps=eps, rope_base=base))
    state = theirs.state_dict()
    names = {f"stack.blocks.{i}.{b}.weight": state[f"layers.{i}.{a}.weight"] for i in range(depth) for a, b in LANGUAGE_BLOCK.items()}
    ours.load_state_dict(names | {"norm.weight": state["norm.weight"], "embedding.weight": state["embed_tokens.weight"]})
    h, valid = torch.randn(3, 17, width), torch.arange(17) < torch.tensor([17, 11, 14])[:, None]
    additive = torch.where(valid, 0.0, -1e30)[:, None, None, :].expand(3, 1, 17, 17)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = theirs(inputs_embeds=h, attention_mask=additive, use_cache=False).last_hidden_state
        got = ours.norm(ours(h, valid[:, None, None, :]))
    torch.testing.assert_close(got[valid], expected[valid], rtol=1e-5, atol=2e-5)
