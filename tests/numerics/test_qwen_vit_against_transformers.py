"""The Qwen tower against transformers', with windows that divide the image and windows that do not; and what a window may not see."""

from __future__ import annotations

import warnings
from dataclasses import replace

import pytest
import torch

from dtr.errors import BadConfig
from dtr.policies.lingbot_vla_keys import MERGER, TOWER_BLOCK
from dtr.policies.qwen_vit import Merger, QwenTowerConfig, QwenViT, windows

transformers = pytest.importorskip("transformers")
TOWER = QwenTowerConfig(depth=3, width=24, heads=2, mlp=20, image_size=60, patch_size=6, window=24, full=(1,))


@pytest.mark.parametrize(
    ("image_size", "window", "merge", "copies"), [(48, 24, 2, 2), (60, 24, 2, 2), (54, 36, 3, 1), (36, 400, 2, 2)],
    ids=["equal windows", "smaller windows at the border", "cells of nine patches", "one window"],
)  # fmt: skip
def test_agrees_with_transformers(image_size: int, window: int, merge: int, copies: int) -> None:
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from transformers.models.qwen2_5_vl import modeling_qwen2_5_vl as qwen

        theirs = qwen.Qwen2_5_VisionTransformerPretrainedModel(
            qwen.Qwen2_5_VLVisionConfig(
                depth=3, hidden_size=24, intermediate_size=20, num_heads=2, patch_size=6, spatial_merge_size=merge, window_size=window,
                temporal_patch_size=copies, out_hidden_size=10, fullatt_block_indexes=[1], attn_implementation="eager",
            )
        ).eval()  # fmt: skip
    for p in theirs.parameters():
        torch.nn.init.normal_(p, std=0.3)
    config = QwenTowerConfig(3, 24, 2, 20, image_size, 6, window, (1,), merge, copies)
    tower, merger, state = QwenViT(config), Merger(config, 10), theirs.state_dict()
    names = {f"stack.blocks.{i}.{ours}": f"blocks.{i}.{official}" for i in range(3) for official, ours in TOWER_BLOCK.items()}
    named = {f"{a}.{w}": state[f"{b}.{w}"] for a, b in names.items() for w in ("weight", "bias") if f"{b}.{w}" in state}
    tower.load_state_dict(named | {"patch.weight": state["patch_embed.proj.weight"]})
    merger.load_state_dict(
        {f"{b}.{w}": state[f"merger.{a}.{w}"] for a, b in MERGER.items() for w in ("weight", "bias") if f"merger.{a}.{w}" in state}
    )
    images = torch.randn(2, 3, image_size, image_size)
    patches = tower.patches(images).unsqueeze(4).expand(-1, -1, -1, -1, copies, -1, -1).reshape(-1, 3 * copies * 36)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        side = image_size // 6
        expected = theirs(patches, grid_thw=torch.tensor([[1, side, side]] * 2)).pooler_output
        got = tower.row_major(merger(tower(images)))
    torch.testing.assert_close(got.flatten(0, 1), expected, rtol=1e-5, atol=2e-5)


def test_windows_cover_the_grid_once() -> None:
    assert windows(3, 2) == [[0, 1, 3, 4], [2, 5], [6, 7], [8]]
    assert windows(2, 1) == [[0], [1], [2], [3]]


@pytest.mark.parametrize("image_size", [48, 60])
def test_only_full_blocks_see_other_windows_and_original_indices_say_which(image_size: int) -> None:
    tower = QwenViT(QwenTowerConfig(3, 24, 2, 20, image_size, 6, 24, full=(1,)))
    for name, p in tower.named_parameters():
        torch.nn.init.normal_(p, std=0.3 if "norm" not in name else 1.0, generator=torch.Generator().manual_seed(1))
    image = torch.randn(1, 3, image_size, image_size)
    other = image.clone()
    other[:, :, :24, :24] += 1.0  # the first window: 2 x 2 cells of 12 pixels, 16 patches

    def moved() -> torch.Tensor:
        with torch.no_grad():
            return (tower(other) - tower(image)).abs().amax(-1)[0]

    assert bool((moved() > 0).all())
    tower.stack.drop([0])
    assert tower.stack.blocks["1"].full and bool((moved() > 0).all())
    tower.stack.drop([1])  # what is left was, and stays, a window block
    assert bool((moved()[:16] > 0).all()) and bool((moved()[16:] == 0).all())


@pytest.mark.parametrize(
    ("wrong", "message"),
    [({"image_size": 50}, "image_size"), ({"window": 6}, "window"), ({"full": (3,)}, "full"), ({"heads": 4}, "head width")],
)
def test_a_wrong_configuration_is_one_sentence(wrong: dict[str, object], message: str) -> None:
    with pytest.raises(BadConfig, match=message):
        replace(TOWER, **wrong)  # type: ignore[arg-type]
