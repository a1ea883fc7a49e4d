"""Image paths: TensorFlow's bytes (tests/golden/images), and the published formulas in float64."""

from pathlib import Path

import numpy as np
import pytest

from dtr.policies import tensorflow_pictures as paths
from dtr.policies.image_path import image_path

SIZES = {"frame": 224, "noise": 56, "up": 80}


@pytest.fixture(scope="module")
def golden():
    with np.load(Path(__file__).parents[1] / "golden/images/tensorflow.npz") as arrays:
        given = {name: arrays[name] for name in arrays.files}
    return given | {"up": given["noise"], "up_jpeg": given["noise_jpeg"]}


@pytest.mark.parametrize("name", SIZES)
def test_every_byte_is_tensorflow_s(golden, name):
    size = SIZES[name]
    assert np.array_equal(paths.jpeg(golden[name]), golden[f"{name}_jpeg"])
    assert np.array_equal(paths.lanczos3(golden[f"{name}_jpeg"], size), golden[f"{name}_lingbot"])
    assert np.array_equal(paths.centre_crop(golden[f"{name}_lingbot"]), golden[f"{name}_oft"])
    stack = np.stack([golden[name]] * 2)[None]
    for path in ("lingbot", "oft"):
        out = image_path(path)(stack, size)
        assert out.shape == (1, 2, size, size, 3) and np.array_equal(out[0, 1], golden[f"{name}_{path}"])


def resized(image, size, kernel, radius):
    """Separable antialiased resampling in float64: sum_j w_ij x_j / sum_j w_ij along both sides."""
    for _ in range(2):
        n = len(image)
        s = min(size / n, 1.0)
        t = ((np.arange(n) + 0.5)[None] - (np.arange(size) + 0.5)[:, None] * n / size) * s
        w = np.where(np.abs(t) <= radius, kernel(t), 0.0)
        image = np.moveaxis(np.tensordot(w / w.sum(1, keepdims=True), image, 1), 0, 1)
    return image


def test_lanczos_is_its_formula(golden):
    expected = resized(golden["frame_jpeg"].astype(float), 224, lambda t: np.sinc(t) * np.sinc(t / 3), 3)
    assert np.abs(paths.lanczos3(golden["frame_jpeg"], 224) - np.clip(expected, 0, 255)).max() < 0.501


def test_openpi_is_bilinear_in_a_black_frame(golden):
    expected = resized(golden["frame"].astype(float), 224, lambda t: 1 - np.abs(t), 1)
    assert np.abs(image_path("openpi")(golden["frame"], 224) - expected).max() < 1.01  # Pillow rounds after each side
    wide = image_path("openpi")(golden["frame"][64:192], 224)
    assert not wide[:56].any() and not wide[168:].any() and wide[57:167].any(axis=(1, 2)).all()
    assert np.array_equal(image_path("openpi")(golden["noise"], 64), golden["noise"])


def test_the_crop_is_nine_tenths_of_the_area():
    ramp = np.repeat(np.arange(224, dtype=np.uint8)[None, :, None], 224, 0).repeat(3, 2)
    row = paths.centre_crop(ramp)[100, :, 0].astype(float)
    margin = (1 - np.sqrt(0.9)) / 2 * 223
    assert abs(row[0] - margin) < 1.01 and abs(row[-1] - (223 - margin)) < 1.01
