"""The embedded suites' own objects as MuJoCo boxes and cylinders: blocks, a crate, a plate. `dtr suites` writes them to embedded/assets."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

BLOCKS = {
    "green_block": (0.1, 0.6, 0.15),
    "red_block": (0.85, 0.08, 0.08),
    "purple_block": (0.55, 0.1, 0.7),
    "yellow_block": (0.9, 0.8, 0.1),
}
"""Upright blocks of 4 x 4 x 8 cm: category -> RGB."""

# LIBERO's floor problem samples heights relative to a floor 3.5 cm below ours; an object's bottom site makes up for it.
FLOOR_SINK_M = 0.026
SURFACE = 'solimp="0.998 0.998 0.001" solref="0.001 1" friction="0.95 0.3 0.1"'


@dataclass(frozen=True)
class Piece:
    """One box or cylinder of a primitive object: half sizes and centre in metres, density in kg/m^3."""

    kind: str
    size: tuple[float, ...]
    centre: tuple[float, float, float]


def _numbers(values: Iterable[float]) -> str:
    return " ".join(f"{v:g}" for v in values)


def _object_xml(
    pieces: Iterable[Piece], rgb: tuple[float, float, float], density: float, height: tuple[float, float], radius: float, site: str = ""
) -> str:
    """MJCF of a free object: every piece once to collide (group 0) and once to be seen (group 1)."""
    rgba, geoms = _numbers((*rgb, 1.0)), []
    for p in pieces:
        shape = f'type="{p.kind}" pos="{_numbers(p.centre)}" size="{_numbers(p.size)}" rgba="{rgba}"'
        geoms.append(f'<geom {shape} {SURFACE} density="{density:g}" group="0"/>')
        geoms.append(f'<geom {shape} mass="0" contype="0" conaffinity="0" group="1"/>')
    low, high = height
    marks = {"bottom_site": (0, 0, low - FLOOR_SINK_M), "top_site": (0, 0, high), "horizontal_radius_site": (radius, radius, 0)}
    sites = "".join(f'<site name="{n}" pos="{_numbers(p)}" size="0.005" quat="1 0 0 0" rgba="0 0 0 0"/>' for n, p in marks.items())
    return f'<mujoco model="object"><worldbody><body><body name="object">{site}{"".join(geoms)}</body>{sites}</body></worldbody></mujoco>'


def _region(name: str, centre: tuple[float, float, float], size: tuple[float, float, float]) -> str:
    return f'<site name="{name}" type="box" quat="1 0 0 0" pos="{_numbers(centre)}" size="{_numbers(size)}" rgba="0 0 0 0" group="0"/>'


def primitive_xml(category: str) -> str:
    """The MJCF text of a block, the crate or the plate."""
    if category in BLOCKS:
        return _object_xml([Piece("box", (0.02, 0.02, 0.04), (0, 0, 0))], BLOCKS[category], 250, (-0.04, 0.04), 0.02)
    if category == "wood_crate":
        half, wall, high = 0.085, 0.005, 0.05
        walls = [Piece("box", (wall, half + wall, high / 2), (s * half, 0, high / 2)) for s in (-1, 1)]
        walls += [Piece("box", (half - wall, wall, high / 2), (0, s * half, high / 2)) for s in (-1, 1)]
        bottom = Piece("box", (half, half, wall), (0, 0, wall))
        site = _region("contain_region", (0, 0, 0.055), (0.078, 0.078, 0.05))
        return _object_xml([bottom, *walls], (0.55, 0.35, 0.17), 900, (0, high), half, site)
    if category == "blue_plate":
        site = _region("plate_region", (0, 0, 0.005), (0.07, 0.07, 0.006))
        return _object_xml([Piece("cylinder", (0.08, 0.005), (0, 0, 0.005))], (0.25, 0.45, 0.9), 2500, (0, 0.01), 0.055, site)
    raise KeyError(category)
