"""`dtr parity` on folders of pi0.5 and GigaBrain-0 with every kind of field changed, made by the naive float64 re-derivation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from naive_paligemma import config, write_golden

from dtr.parity import parity

VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "one_kv_head_and_depth": {"both__num_kv_heads": 1, "both__num_blocks": 4, "vision__num_blocks": 3},
    "no_groups_wide_heads": {"both__num_kv_heads": 4, "both__head_dim": 10},
    "rope_base_and_eps": {"both__rope_base": 50.0, "language__rms_norm_eps": 0.1, "action__rms_norm_eps": 0.05},
    "attention_bias": {"both__attention_bias": True, "vision__layer_norm_eps": 0.02},
    "one_image": {"vision__num_images": 1},
    "three_larger_images": {"vision__num_images": 3, "vision__image_size": 24},
    "depth_channel": {"vision__in_channels": 4, "language__vocab_size": 61},
    "flow": {
        "flow__num_steps": 7,
        "action__time_embedding": {"min_period": 0.01, "max_period": 3.0, "computed_in": "float64"},
    },
    "chunk_and_widths": {
        "action__action_dim": 7,
        "action__horizon": 6,
        "action__hidden_size": 24,
        "action__mlp_size": 13,
        "max_text_len": 9,
    },
}
GIGABRAIN0 = {"scale": {"both__query_pre_attn_scalar": 11}, "robots": {"action__num_embodiments": 5}}
CASES = [(model, name) for model in ("pi05", "gigabrain0") for name in VARIANTS] + [("gigabrain0", name) for name in GIGABRAIN0]


@pytest.mark.parametrize(("model", "name"), CASES, ids=["-".join(case) for case in CASES])
def test_variant_passes(model: str, name: str, tmp_path: Path) -> None:
    write_golden(tmp_path, config(model, **(VARIANTS | GIGABRAIN0)[name]), seed=3, lengths=(5, 3))
    report = parity(tmp_path)
    assert report.passed, str(report)
