"""What a thing covers of the floor or table, as a rectangle along the axes, from the corners of its collision geoms."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

CORNERS = np.array(list(itertools.product((-1.0, 1.0), repeat=3)))


@dataclass(frozen=True)
class Footprint:
    """`low`, `high` (2,) corners in the plane, `bottom` the lowest point; metres."""

    low: np.ndarray
    high: np.ndarray
    bottom: float

    @property
    def middle(self) -> np.ndarray:
        """(2,)."""
        middle: np.ndarray = (self.low + self.high) / 2
        return middle


def footprints(env: Any, units: Iterable[Sequence[str]]) -> list[Footprint]:
    """One for each unit of movable things; the data's poses must be up to date."""
    found = []
    for unit in units:
        points = np.concatenate([corners(env, name) for name in unit])
        found.append(Footprint(points[:, :2].min(0), points[:, :2].max(0), float(points[:, 2].min())))
    return found


def corners(env: Any, name: str) -> np.ndarray:
    """(n, 3) corners of the boxes around the collision geoms of a movable thing, in the world."""
    model, data = env.sim.model._model, env.sim.data._data
    found = []
    for geom in [model.geom(geom).id for geom in env.objects_dict[name].contact_geoms]:
        centre, half = model.geom_aabb[geom, :3], model.geom_aabb[geom, 3:]
        found.append(data.geom_xpos[geom] + (centre + CORNERS * half) @ data.geom_xmat[geom].reshape(3, 3).T)
    return np.concatenate(found)


def lowest(env: Any, name: str) -> float:
    """Height of the lowest corner."""
    return float(corners(env, name)[:, 2].min())


def gap(a: Footprint, b: Footprint) -> float:
    """Metres between two rectangles along the axis on which they are further apart; negative where they overlap."""
    return float(np.maximum(a.low - b.high, b.low - a.high).max())
