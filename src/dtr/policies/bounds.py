"""Normalisation by quantiles (BOUNDS_Q99).

    n = 2 (x - q01) / (q99 - q01 + e) - 1        x = 0.5 (n + 1) (q99 - q01 + e) + q01        where the mask is set; n = x elsewhere

e = 1e-8 in openvla-oft, 1e-6 in openpi and its kin.
Source: openvla-oft `prismatic/vla/datasets/rlds/utils/data_utils.py`, `experiments/robot/openvla_utils.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dtr.errors import BadConfig

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class Bounds:
    """Quantiles `q01`, `q99` (D,) of every dimension and the `mask` (D,) of those that are normalised."""

    q01: tuple[float, ...]
    q99: tuple[float, ...]
    mask: tuple[bool, ...]

    def __post_init__(self) -> None:
        for name, kind in (("q01", float), ("q99", float), ("mask", bool)):
            object.__setattr__(self, name, tuple(kind(v) for v in getattr(self, name)))
        if not len(self.q01) == len(self.q99) == len(self.mask):
            raise BadConfig(f"q01, q99 and mask must have one length, got {len(self.q01)}, {len(self.q99)}, {len(self.mask)}.")

    def normalise(self, x: ArrayLike, clip: bool = True, epsilon: float = 1e-8) -> FloatArray:
        """(..., D) -> (..., D) float64. With `clip` masked dimensions stay in [-1, 1], as OpenVLA's do in training and inference."""
        x = np.asarray(x, dtype=np.float64)
        low, high = np.array(self.q01), np.array(self.q99)
        n = 2 * (x - low) / (high - low + epsilon) - 1
        return np.where(self.mask, np.clip(n, -1, 1) if clip else n, x)

    def restore(self, n: ArrayLike, epsilon: float = 1e-8) -> FloatArray:
        """(..., D) -> (..., D) float64, the inverse inside the bounds; not clipped."""
        n = np.asarray(n, dtype=np.float64)
        low, high = np.array(self.q01), np.array(self.q99)
        return np.where(self.mask, 0.5 * (n + 1) * (high - low + epsilon) + low, n)

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        return {"q01": list(self.q01), "q99": list(self.q99), "mask": list(self.mask)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Bounds:
        """What `to_dict` described."""
        return cls(tuple(values["q01"]), tuple(values["q99"]), tuple(values["mask"]))
