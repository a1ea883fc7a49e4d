"""From the simulator's picture to the model's, as each official evaluation does it.

    exact      x' = x                                    the picture has the model's size already
    openpi     x' = bilinear(x, S), letter-boxed         pi0.5: Pillow, with antialias; openpi-client `image_tools.py`
    lerobot    x' = four nearest(x, S), letter-boxed     lerobot 0.4.4 `modeling_pi05.py`: no antialias, not rounded; border -1 of [0, 1]
    gigabrain  the same in a black border                giga-models `giga_brain_0_utils.py`
    oft        JPEG, Lanczos3, centre crop               OpenVLA-OFT: `dtr.policies.tensorflow_pictures`
    lingbot    JPEG, Lanczos3                            LingBot-VLA's LIBERO client

A policy was trained behind one path, and behind another it fails without a word. So its processor names its own and goes it, a protocol
names the one of its pictures, and a pair that differs is refused (`dtr.rollout.inference`).
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch.nn import functional as F

from dtr.errors import BadConfig, unknown
from dtr.policies.tensorflow_pictures import lingbot, oft

Pictures = NDArray[Any]
"""(..., H, W, 3): bytes, or float32 in the units of bytes."""
Path = Callable[[Pictures, int], Pictures]
"""(..., H, W, 3) uint8, S -> (..., S, S, 3)."""


def image_path(name: str) -> Path:
    """The function of a path. Raises UnknownName; it raises BadConfig for what are no pictures."""
    if name not in IMAGE_PATHS:
        raise unknown("image path", name, IMAGE_PATHS)
    return functools.partial(_each, IMAGE_PATHS[name])


def _each(path: Path, images: Pictures, size: int) -> Pictures:
    """`path` on every picture of a stack of any shape."""
    if images.dtype != np.uint8 or images.ndim < 3 or images.shape[-1] != 3:
        raise BadConfig(f"expected pictures (..., H, W, 3) of bytes, got {images.dtype} {images.shape}.")
    flat = images.reshape(-1, *images.shape[-3:])
    return np.stack([path(image, size) for image in flat]).reshape(*images.shape[:-3], size, size, 3)


def exact(image: Pictures, size: int) -> Pictures:
    """(S, S, 3) as it is. Raises BadConfig for another size."""
    if image.shape[:2] != (size, size):
        given = f"{image.shape[0]} x {image.shape[1]}"
        raise BadConfig(f"the image path 'exact' resizes nothing: expected {size} x {size} pixels, got {given}.")
    return image


def openpi(image: Pictures, size: int) -> Pictures:
    """(H, W, 3) -> (S, S, 3)."""
    rows, columns = fitting(image, size)
    small = Image.fromarray(image).resize((columns, rows), Image.Resampling.BILINEAR)
    return boxed(np.asarray(small), size, 0)


def lerobot(image: Pictures, size: int, border: float = -255.0) -> Pictures:
    """(H, W, 3) -> (S, S, 3) float32; a picture that has the size stays free of any border."""
    planes = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)[None].float()
    small = F.interpolate(planes, size=fitting(image, size), mode="bilinear", align_corners=False)
    return boxed(small[0].permute(1, 2, 0).numpy(), size, border)


def gigabrain(image: Pictures, size: int) -> Pictures:
    """(H, W, 3) -> (S, S, 3) float32."""
    return lerobot(image, size, 0.0)


def fitting(image: Pictures, size: int) -> tuple[int, int]:
    """Rows and columns of the picture once its longer side is S."""
    height, width = image.shape[:2]
    ratio = max(height / size, width / size)
    return int(height / ratio), int(width / ratio)


def boxed(image: Pictures, size: int, border: float) -> Pictures:
    """(h, w, 3) in the middle of (S, S, 3); an odd row more goes below, an odd column to the right."""
    h, w = image.shape[:2]
    top, left = (size - h) // 2, (size - w) // 2
    return np.pad(image, ((top, size - h - top), (left, size - w - left), (0, 0)), constant_values=border)


IMAGE_PATHS: dict[str, Path] = {"exact": exact, "openpi": openpi, "lerobot": lerobot, "gigabrain": gigabrain}
IMAGE_PATHS |= {"oft": oft, "lingbot": lingbot}
