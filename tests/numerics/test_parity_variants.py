"""`dtr parity` on folders of the golden format with every kind of field changed, made by the naive float64 re-derivation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from naive_oft import config, tower, write_golden

from dtr.parity import parity

VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "grouped_queries": {"language__num_kv_heads": 2},
    "one_kv_head_wide_heads": {"language__num_kv_heads": 1, "language__head_dim": 10},
    "rope_base_and_eps": {"language__rope_base": 50.0, "language__rms_norm_eps": 0.1, "action__layer_norm_eps": 0.05},
    "attention_bias": {"language__attention_bias": True},
    "tied_embeddings": {"language__tie_word_embeddings": True},
    "one_image": {"vision__num_images": 1},
    "three_images": {"vision__num_images": 3},
    "larger_image": {"vision__image_size": 40},
    "action_dim_and_chunk": {"action__action_dim": 3, "action__chunk": 7},
    "deeper_head": {"action__num_blocks": 5, "action__hidden_size": 17},
    "depths": {
        "language__num_blocks": 6,
        "vision__featurizer": tower(5, 12, 3, 20, 4, True, True, 1e-6),
        "vision__fused_featurizer": tower(2, 18, 2, 23, 0, False, False, 1e-6),
    },
    "prefixes_and_scales_swapped": {
        "vision__featurizer": tower(3, 12, 2, 20, 0, True, False, 1e-2),
        "vision__fused_featurizer": tower(3, 18, 3, 23, 2, False, True, 1e-6),
    },
    "proprio_and_projector": {
        "proprio__dim": 3,
        "proprio__projector_sizes": [3, 11, 24],
        "vision__projector__sizes": [30, 19, 45, 24],
    },
}


@pytest.mark.parametrize("name", VARIANTS)
def test_variant_passes(name: str, tmp_path: Path) -> None:
    write_golden(tmp_path, config(**VARIANTS[name]), seed=3, prompts=(7, 4, 5))
    report = parity(tmp_path)
    assert report.passed, str(report)


@pytest.mark.parametrize(("prompts", "text_tokens"), [((6, 6), 0), ((3,), 0), ((4, 9), 40)], ids=["no padding", "one sample", "all padded"])
def test_padding_passes(prompts: tuple[int, ...], text_tokens: int, tmp_path: Path) -> None:
    write_golden(tmp_path, config(), seed=5, prompts=prompts, text_tokens=text_tokens)
    report = parity(tmp_path)
    assert report.passed, str(report)
