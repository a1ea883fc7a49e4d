"""OpenVLA-OFT's and LingBot-VLA's image paths, which are TensorFlow's, without TensorFlow.

    oft       x' = crop(lanczos3(jpeg(x), S))             run_libero_eval.py, openvla_utils.py
    lingbot   x' = lanczos3(jpeg(x), S)                   the LIBERO client

jpeg: encoded with quality 95 and halved chroma, and decoded, as the demonstrations once were. lanczos3: separable, with antialiasing,

    x'[i] = sum_j w_ij x[j] / sum_j w_ij,   w_ij = L3((j + 1/2 - (i + 1/2) / s) min(s, 1)),   s = S / H,
    L3(t) = 3 sin(pi t) sin(pi t / 3) / (pi t)^2  for |t| <= 3, else 0

crop: the centred window of 90 % of the area, bilinear between pixel centres at the corners, back to S. Every sum is taken in float32 and in
TensorFlow's order, so results are TensorFlow's bytes (tests/golden/images).
"""

from __future__ import annotations

import functools
import io
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

Pictures = NDArray[np.uint8]
Floats = NDArray[np.float32]

JPEG_QUALITY = 95
"""Default of tf.image.encode_jpeg; chroma is halved in both directions."""
CROP_AREA = 0.9
"""Share of the picture that the centred window has."""


def oft(image: Pictures, size: int) -> Pictures:
    """(H, W, 3) -> (S, S, 3): OpenVLA-OFT's `resize_image_for_policy`, then `center_crop_image`."""
    return centre_crop(lanczos3(jpeg(image), size))


def lingbot(image: Pictures, size: int) -> Pictures:
    """(H, W, 3) -> (S, S, 3): as OpenVLA-OFT's, not cropped."""
    return lanczos3(jpeg(image), size)


def jpeg(image: Pictures) -> Pictures:
    """Encoded and decoded as TensorFlow does: the accurate cosine transform there, the fast one back, which makes pictures 0.5 grey levels
    darker and moves single bytes by up to 10. Pillow cannot be told to decode fast, simplejpeg can."""
    from PIL import Image
    from simplejpeg import decode_jpeg

    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, format="JPEG", quality=JPEG_QUALITY, subsampling="4:2:0")
    decoded: Pictures = decode_jpeg(buffer.getvalue(), colorspace="RGB", fastdct=True, fastupsample=False)
    return decoded


def lanczos3(image: Pictures, size: int) -> Pictures:
    """(H, W, 3) -> (S, S, 3): `tf.image.resize(..., "lanczos3", antialias=True)`, rounded half to even and clipped to bytes."""
    rows = gather(image.astype(np.float32), *spans(size, image.shape[0]))
    columns = gather(np.ascontiguousarray(rows.swapaxes(0, 1)), *spans(size, image.shape[1])).swapaxes(0, 1)
    return np.clip(np.rint(columns), 0, 255).astype(np.uint8)


def gather(values: Floats, starts: NDArray[np.int64], weights: Floats) -> Floats:
    """(H, ...) -> (S, ...): out[i] = sum_k weights[i, k] values[starts[i] + k], k ascending."""
    out = np.zeros((len(starts), *values.shape[1:]), np.float32)
    last = len(values) - 1
    for k, column in enumerate(weights.T):
        out += column.reshape(-1, *[1] * (values.ndim - 1)) * values[np.minimum(starts + k, last)]
    return out


@functools.cache
def spans(size: int, given: int) -> tuple[NDArray[np.int64], Floats]:
    """First source pixel (S,) and weights (S, taps) of every target pixel, in float32 as TensorFlow's `ComputeSpansCore` has them."""
    one, half = np.float32(1), np.float32(0.5)
    inverse = np.float32(1 / (np.float32(size) / np.float32(given)))
    stretch = max(inverse, one)
    reach = np.float32(3) * stretch
    starts, rows = np.zeros(size, np.int64), []
    for i in range(size):
        centre = (np.float32(i) + half) * inverse
        first = min(max(math.ceil(centre - reach - half), 0), given - 1)
        last = min(max(math.floor(centre + reach - half), 0), given - 1)
        weights = lanczos_kernel(np.abs((np.arange(first, last + 1, dtype=np.float32) + half - centre) * (one / stretch)))
        starts[i] = first
        rows.append(weights * (one / np.cumsum(weights, dtype=np.float32)[-1]))
    taps = max(map(len, rows))
    return starts, np.stack([np.pad(row, (0, taps - len(row))) for row in rows])


def lanczos_kernel(t: Floats) -> Floats:
    """L3(|t|), one near zero."""
    radius, pi = np.float32(3), np.float32(math.pi)
    safe = np.where(t <= 1e-3, np.float32(1), t)
    value = radius * sine(pi * safe) * sine(pi * safe / radius) / (pi * pi * safe * safe)
    return np.where(t > radius, np.float32(0), np.where(t <= 1e-3, np.float32(1), value)).astype(np.float32)


def sine(x: Floats) -> Floats:
    """sin in float32, correctly rounded as the C library's; NumPy's own is off by a bit, which moves a byte in 50 000."""
    return np.sin(x.astype(np.float64)).astype(np.float32)


def centre_crop(image: Pictures) -> Pictures:
    """(S, S, 3) -> (S, S, 3): the centred window of CROP_AREA of the picture, `tf.image.crop_and_resize`, cut off to bytes (x 255.5)."""
    x = image.astype(np.float32) * np.float32(1 / 255)
    (low_y, high_y, part_y), (low_x, high_x, part_x) = (neighbours(length) for length in image.shape[:2])
    part_y, part_x = part_y[:, None, None], part_x[None, :, None]
    top = x[low_y][:, low_x] + (x[low_y][:, high_x] - x[low_y][:, low_x]) * part_x
    bottom = x[high_y][:, low_x] + (x[high_y][:, high_x] - x[high_y][:, low_x]) * part_x
    value = np.clip(top + (bottom - top) * part_y, 0, 1)
    return np.clip(value * np.float32(255.5), 0, 255).astype(np.uint8)


def neighbours(length: int) -> tuple[Any, Any, Floats]:
    """Of every target pixel along one side: the source pixels below and above, and how far it lies between them."""
    one, most = np.float32(1), np.float32(length - 1)
    side = np.sqrt(np.float32(CROP_AREA))
    low = (one - side) / np.float32(2)
    step = ((low + side) - low) * most / most
    at = low * most + np.arange(length, dtype=np.float32) * step
    below, above = np.floor(at).astype(int), np.minimum(np.ceil(at).astype(int), length - 1)
    return below, above, (at - below.astype(np.float32)).astype(np.float32)
