"""Light conditions: brighter or darker, of another colour, from another side."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from dtr.sim.perturbations.camera import rotation
from dtr.sim.perturbations.variant import Perturbation, signed


@dataclass(frozen=True)
class Strength:
    """Factor of the brightness, how far one colour falls behind (0 to 1), degrees that the lamps are carried around the scene."""

    factor: float
    cast: float
    degrees: float


STRENGTHS = (Strength(1.1, 0.05, 8), Strength(1.25, 0.1, 16), Strength(1.4, 0.18, 26), Strength(1.6, 0.28, 38), Strength(1.85, 0.4, 50))
"""Brightness is divided by the factor as often as it is multiplied."""


def relight(model: Any, perturbation: Perturbation, rng: np.random.Generator) -> None:
    """Change all lamps and the headlight of `model`, which has its nominal ones."""
    strength: Strength = perturbation.of_level(STRENGTHS)
    factor = strength.factor ** np.sign(signed(rng, 1.0))
    colour = np.ones(3)
    colour[rng.integers(3)] -= strength.cast  # one channel falls behind: yellow, magenta or cyan light
    colour *= factor
    for part in (model.light_diffuse, model.light_ambient, model.light_specular):
        part[:] = np.clip(part * colour, 0, 1)
    headlight = model.vis.headlight
    for name in ("diffuse", "ambient", "specular"):
        setattr(headlight, name, np.clip(np.asarray(getattr(headlight, name)) * colour, 0, 1))
    angle = np.deg2rad(signed(rng, strength.degrees))
    tilt = rotation((np.cos(heading := rng.uniform(0, 2 * np.pi)), np.sin(heading), 0.0), angle)
    for light in range(model.nlight):
        model.light_pos[light] = tilt @ model.light_pos[light]
        model.light_dir[light] = tilt @ model.light_dir[light]
