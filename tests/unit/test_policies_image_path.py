"""Image paths by hand, and that a policy goes its own and no other."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from test_policies_flow_processor import observation, processor

from dtr.errors import BadConfig, UnknownName
from dtr.policies.base import Observation
from dtr.policies.image_path import IMAGE_PATHS, image_path
from dtr.policies.processor import read_processor

ROOT = Path(__file__).resolve().parents[2]


def squares(side: int, cell: int) -> np.ndarray:
    """A chessboard of `cell` pixels, black and white."""
    at = np.indices((side, side)).sum(0) if cell == 1 else np.add.outer(np.arange(side) // cell, np.arange(side) // cell)
    return np.repeat((255 * (at % 2)).astype(np.uint8)[..., None], 3, axis=2)


def test_pillow_averages_and_torch_takes_the_nearest_four() -> None:
    """Of 8 x 8 pixels that are black but for the borders of 4 x 4 cells, only antialiasing sees the borders."""
    cell = np.full((4, 4), 255, np.uint8)
    cell[1:3, 1:3] = 0
    image = np.repeat(np.tile(cell, (2, 2))[..., None], 3, axis=2)
    assert image_path("lerobot")(image, 2).max() == 0
    assert image_path("openpi")(image, 2).min() > 100
    ramp = np.repeat(np.arange(0, 160, 10, dtype=np.uint8).reshape(4, 4)[..., None], 3, axis=2)
    np.testing.assert_allclose(image_path("gigabrain")(ramp, 2)[..., 0], [[25, 45], [105, 125]])  # means of 2 x 2 pixels


def test_the_shorter_side_is_boxed() -> None:
    image = np.full((1, 2, 6, 8, 3), 200, np.uint8)
    for name, border in (("openpi", 0), ("gigabrain", 0), ("lerobot", -255)):
        found = image_path(name)(image, 4)
        assert found.shape == (1, 2, 4, 4, 3) and found.dtype == (np.uint8 if name == "openpi" else np.float32)
        assert (found[..., 3, :, :] == border).all() and (found[..., :3, :, :] == 200).all()  # 3 of 4 rows: the odd one lies below


def test_a_picture_of_the_policy_s_size_stays_as_it_is() -> None:
    image = squares(8, 1)
    for name in IMAGE_PATHS.keys() - {"oft", "lingbot"}:  # these two go through JPEG
        np.testing.assert_array_equal(image_path(name)(image, 8), image)
    with pytest.raises(BadConfig, match="resizes nothing: expected 4 x 4 pixels, got 8 x 8"):
        image_path("exact")(image, 4)
    with pytest.raises(UnknownName, match="did you mean 'openpi'"):
        image_path("openp")
    with pytest.raises(BadConfig, match="of bytes, got float64"):
        image_path("openpi")(image / 255, 4)


def test_a_processor_goes_its_own_path_and_its_file_says_which() -> None:
    pictures = np.stack([squares(16, 2), squares(16, 4)])
    large = Observation(pictures, np.zeros(8, np.float32), "push it")
    with pytest.raises(BadConfig, match="render them at the policy's image size"):
        processor().inputs([large])
    for name in ("openpi", "gigabrain"):
        p = processor(image_path=name)
        small = processor().batch(np.rint(image_path(name)(pictures, 8)).astype(np.uint8)[None], large.state[None], ["push it"])
        np.testing.assert_allclose(p.inputs([large])["pixel_values"], small["pixel_values"], atol=0.005)
        assert read_processor(json.loads(json.dumps(p.to_dict()))) == p
    assert "image_path" not in processor().to_dict()
    assert processor(image_path="openpi").inputs([observation()])["pixel_values"].equal(processor().inputs([observation()])["pixel_values"])


def test_the_protocol_s_schema_knows_every_path() -> None:
    schema = json.loads((ROOT / "schemas/protocol.schema.json").read_text())
    assert schema["properties"]["image_path"]["enum"] == list(IMAGE_PATHS)
