"""What is measured of every column of actions and state; what is made of it: `dtr.policies.bounds`.

    q01, q99     1 % and 99 % quantiles over all frames: a rare outlier does not squeeze everything else together
    moving       q99 - q01 > STILL

Source: openvla-oft `prismatic/vla/datasets/rlds/utils/data_utils.py`, NormalizationType.BOUNDS_Q99; the names are LeRobot's.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

STILL = 1e-4
"""A dimension whose q99 - q01 is below this does not move: dividing by it would blow noise up to the size of a motion."""


def summary(values: NDArray[Any]) -> dict[str, Any]:
    """min, max, mean, std, q01, q99 of every column of `values` (N, D), and the count: LeRobot's stats.json."""
    x = np.asarray(values, np.float64)
    q01, q99 = np.quantile(x, [0.01, 0.99], axis=0)
    numbers = {"min": x.min(0), "max": x.max(0), "mean": x.mean(0), "std": x.std(0), "q01": q01, "q99": q99}
    return {name: value.tolist() for name, value in numbers.items()} | {"count": [len(x)]}


def moving(q01: NDArray[np.float64], q99: NDArray[np.float64]) -> NDArray[np.bool_]:
    """(D,) which dimensions move at all, and so can be normalised; the others pass as they are (`mask` False)."""
    return (q99 - q01) > STILL
