"""Normalisation of actions and state, by quantiles (`q99`) or by mean and standard deviation (`meanstd`).

    q99      n = 2 (x - q01) / (q99 - q01 + e) - 1        x = 0.5 (n + 1) (q99 - q01 + e) + q01
    meanstd  n = (x - mean) / (std + e)                   x = n (std + e) + mean

where the mask is set; n = x elsewhere. e = 1e-8 in openvla-oft, 1e-6 in openpi and its kin. Which of the two a checkpoint was trained
with no weight tells, and the other one costs all success: so a policy file holds one or the other, by the names of its numbers.
Source: openvla-oft `prismatic/vla/datasets/rlds/utils/data_utils.py`, `experiments/robot/openvla_utils.py`; openpi `transforms.py`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dtr.errors import BadConfig

FloatArray = NDArray[np.float64]


class Statistics(ABC):
    """Two numbers (D,) of every dimension, named by `numbers`, and the `mask` (D,) of the dimensions that are normalised."""

    kind: ClassVar[str]
    numbers: ClassVar[tuple[str, str]]
    mask: tuple[bool, ...]

    @abstractmethod
    def __init__(self, first: tuple[float, ...], second: tuple[float, ...], mask: tuple[bool, ...]) -> None:
        """The numbers in their order."""

    def __post_init__(self) -> None:
        names = (*self.numbers, "mask")
        for name, kind in zip(names, (float, float, bool), strict=True):
            object.__setattr__(self, name, tuple(kind(v) for v in getattr(self, name)))
        lengths = [len(getattr(self, name)) for name in names]
        if len(set(lengths)) > 1:
            raise BadConfig(f"{names[0]}, {names[1]} and mask must have one length, got {', '.join(map(str, lengths))}.")

    @abstractmethod
    def normalise(self, x: ArrayLike, clip: bool = True, epsilon: float = 1e-8) -> FloatArray:
        """(..., D) -> (..., D) float64."""

    @abstractmethod
    def restore(self, n: ArrayLike, epsilon: float = 1e-8) -> FloatArray:
        """(..., D) -> (..., D) float64, the inverse of `normalise` without its clipping."""

    @property
    def finite(self) -> bool:
        """Whether every number is one."""
        return bool(np.isfinite([getattr(self, name) for name in self.numbers]).all())

    def first(self, dimensions: int) -> Self:
        """Of the first dimensions alone."""
        return type(self)(*(getattr(self, name)[:dimensions] for name in (*self.numbers, "mask")))

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        return {name: list(getattr(self, name)) for name in (*self.numbers, "mask")}


@dataclass(frozen=True)
class Bounds(Statistics):
    """Quantiles `q01`, `q99` (D,)."""

    kind = "q99"
    numbers = ("q01", "q99")
    q01: tuple[float, ...]
    q99: tuple[float, ...]
    mask: tuple[bool, ...]

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


@dataclass(frozen=True)
class Moments(Statistics):
    """`mean` and standard deviation `std` (D,)."""

    kind = "meanstd"
    numbers = ("mean", "std")
    mean: tuple[float, ...]
    std: tuple[float, ...]
    mask: tuple[bool, ...]

    def normalise(self, x: ArrayLike, clip: bool = True, epsilon: float = 1e-8) -> FloatArray:
        """(..., D) -> (..., D) float64; there is no bound to `clip` to."""
        x = np.asarray(x, dtype=np.float64)
        return np.where(self.mask, (x - np.array(self.mean)) / (np.array(self.std) + epsilon), x)

    def restore(self, n: ArrayLike, epsilon: float = 1e-8) -> FloatArray:
        """(..., D) -> (..., D) float64, the inverse."""
        n = np.asarray(n, dtype=np.float64)
        return np.where(self.mask, n * (np.array(self.std) + epsilon) + np.array(self.mean), n)


KINDS: Mapping[str, type[Statistics]] = {kind.kind: kind for kind in (Bounds, Moments)}


def read_statistics(values: Mapping[str, Any]) -> Statistics:
    """What `to_dict` described; KeyError when it describes none."""
    kind = next((kind for kind in KINDS.values() if set(kind.numbers) <= values.keys()), Bounds)
    return kind(*(tuple(values[name]) for name in (*kind.numbers, "mask")))
