"""The naive re-derivation agrees with the official code; `dtr parity` on folders that it makes, with every kind of field changed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from naive_lingbot import Weights, config, run, write_golden
from safetensors.torch import load_file

from dtr.parity import parity

GOLDEN = Path(__file__).parents[1] / "golden" / "lingbot_vla"
VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "groups": {f"{s}__{k}": v for s in ("language", "action") for k, v in {"num_kv_heads": 1, "num_heads": 3, "head_dim": 10}.items()},
    "windows_that_do_not_divide": {"vision__image_size": 24, "vision__window_size_pixels": 16},
    "one_window_no_full_block": {"vision__window_size_pixels": 64, "vision__full_attention_blocks": []},
    "cells_and_frames": {"vision__spatial_merge_size": 3, "vision__image_size": 24, "vision__window_size_pixels": 12,
                         "vision__temporal_patch_size": 1, "vision__in_channels": 2},
    "tower": {"vision__num_blocks": 4, "vision__hidden_size": 16, "vision__num_heads": 1, "vision__full_attention_blocks": [0, 3]},
    "bases_and_eps": {"vision__rope_base": 30.0, "language__rope_base": 50.0, "action__rope_base": 50.0, "vision__rms_norm_eps": 0.1,
                      "language__rms_norm_eps": 0.2, "action__ada_rms_norm_eps": 0.05, "action__final_rms_norm_eps": 0.3},
    "one_image": {"vision__num_images": 1},
    "sizes_of_robot": {"action__chunk": 5, "action__action_dim": 2, "action__padded_action_dim": 4, "action__state_dim": 3},
    "depth_and_steps": {"language__num_blocks": 5, "action__num_blocks": 5, "flow__num_steps": 4, "language__embedding_scale": 1.0},
    "periods": {"action__time_embedding__min_period": 0.1, "action__time_embedding__max_period": 2.0},
    "wide_text": {"max_text_len": 11},
}  # fmt: skip


def test_the_naive_one_agrees_with_the_official_code() -> None:
    w, files = Weights(0), {name: load_file(GOLDEN / f"{name}.safetensors") for name in ("weights", "inputs", "outputs")}
    w.parts["weights"] = {name: tensor.clone().double() for name, tensor in files["weights"].items()}
    with torch.no_grad():
        out, _ = run(json.loads((GOLDEN / "config.json").read_text()), w, {k: t.clone() for k, t in files["inputs"].items()}, removed={})
    assert len(w.parts["weights"]) == len(files["weights"]), "it asked for a weight that the official code has not"
    for name, tolerance in {"loss": 1e-6, "velocity": 2e-5, "actions": 5e-6}.items():
        torch.testing.assert_close(out[name], files["outputs"][name].double(), atol=tolerance, rtol=0)


@pytest.mark.parametrize("name", VARIANTS)
def test_variant_passes(name: str, tmp_path: Path) -> None:
    missing = ((1, 1),) if VARIANTS[name].get("vision__num_images", 2) > 1 else ()
    write_golden(tmp_path, config(**VARIANTS[name]), seed=3, missing=missing)
    report = parity(tmp_path)
    assert report.passed, str(report)


def test_squared_loss_passes_but_for_the_rounding_of_larger_numbers(tmp_path: Path) -> None:
    write_golden(tmp_path, config(loss="fm: mean squared error"), seed=3)
    report = parity(tmp_path)
    assert all(c.difference <= 5 * c.tolerance for c in report.comparisons), str(report)  # tolerances are those of the absolute error
