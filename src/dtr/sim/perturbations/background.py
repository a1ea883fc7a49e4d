"""Background textures: floor, walls and tables wear another pattern, more of it with every level; nothing else does."""

from __future__ import annotations

from typing import Any

import numpy as np

from dtr.sim.perturbations.variant import Perturbation

SHARES = (0.2, 0.4, 0.6, 0.8, 1.0)
"""Of the new pattern in the blend, by level."""
PATTERNS = ("plain", "checks", "stripes", "clouds")
NOT_BACKGROUND = ("robot", "gripper", "mount")
RGB_ROLE = 1
"""Of a material's textures, MuJoCo's index of the colours."""


def background_geoms(env: Any) -> list[int]:
    """Visible geoms of static bodies that are neither robot nor fixture: what the arena is made of."""
    model = env.sim.model._model
    furniture = tuple(name for name in env.fixtures_dict if name != env.workspace_name)
    geoms = []
    for geom in range(model.ngeom):
        body = int(model.geom_bodyid[geom])
        name = model.body(body).name
        static = model.body_weldid[body] == 0 and not name.startswith(NOT_BACKGROUND + furniture)
        if static and model.geom_rgba[geom, 3] > 0:
            geoms.append(geom)
    return geoms


def repaint(env: Any, perturbation: Perturbation, rng: np.random.Generator) -> list[int]:
    """Blend patterns into the arena's textures, and colours where there are none; the ids of the textures that have to be uploaded."""
    model, share = env.sim.model._model, perturbation.of_level(SHARES)
    geoms = background_geoms(env)
    materials = sorted({int(model.geom_matid[geom]) for geom in geoms} - {-1})
    textures = sorted({int(model.mat_texid[material, RGB_ROLE]) for material in materials} - {-1})
    colours = {texture: rng.uniform(0.1, 0.95, (2, 3)) for texture in textures}
    for texture in textures:
        blend(model, texture, pattern(texture_shape(model, texture), colours[texture], rng), share)
    for material in materials:  # a textured material is tinted: the tint goes to white as the pattern comes
        texture = int(model.mat_texid[material, RGB_ROLE])
        new = np.ones(3) if texture >= 0 else rng.uniform(0.1, 0.95, 3)
        model.mat_rgba[material, :3] = (1 - share) * model.mat_rgba[material, :3] + share * new
    for geom in geoms:
        if model.geom_matid[geom] < 0:
            model.geom_rgba[geom, :3] = (1 - share) * model.geom_rgba[geom, :3] + share * rng.uniform(0.1, 0.95, 3)
    return textures


def texture_shape(model: Any, texture: int) -> tuple[int, int, int]:
    """Height, width, channels."""
    return int(model.tex_height[texture]), int(model.tex_width[texture]), int(model.tex_nchannel[texture])


def texels(model: Any, texture: int) -> np.ndarray:
    """(H, W, channels) uint8: the model's own bytes."""
    shape, start = texture_shape(model, texture), int(model.tex_adr[texture])
    view: np.ndarray = model.tex_data[start : start + int(np.prod(shape))].reshape(shape)
    return view


def blend(model: Any, texture: int, new: np.ndarray, share: float) -> None:
    """texture <- (1 - share) texture + share new, in place; a fourth channel (opacity) stays."""
    old = texels(model, texture)
    old[..., :3] = np.rint((1 - share) * old[..., :3] + share * 255 * new)


def pattern(shape: tuple[int, int, int], colours: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(H, W, 3) in [0, 1]: a mix of two `colours` (2, 3) by a weight field of a random kind."""
    height, width, _ = shape
    y, x = np.mgrid[0:height, 0:width] / np.array([height, width]).reshape(2, 1, 1)
    kind, times = str(rng.choice(PATTERNS)), int(rng.integers(2, 7))
    if kind == "plain":
        weight = np.zeros((height, width))
    elif kind == "checks":
        weight = (np.floor(x * times) + np.floor(y * times)) % 2
    elif kind == "stripes":
        weight = np.floor(2 * times * (x if rng.random() < 0.5 else y)) % 2
    else:
        weight = clouds(height, width, rng)
    mixed: np.ndarray = (1 - weight[..., None]) * colours[0] + weight[..., None] * colours[1]
    return mixed


def clouds(height: int, width: int, rng: np.random.Generator, slope: float = 1.5) -> np.ndarray:
    """(H, W) in [0, 1]: noise whose amplitude falls with frequency as f^-slope."""
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None])
    frequency[0, 0] = np.inf
    spectrum = (rng.standard_normal(frequency.shape) + 1j * rng.standard_normal(frequency.shape)) / frequency**slope
    field = np.fft.irfft2(spectrum, s=(height, width))
    span: np.ndarray = (field - field.min()) / max(float(np.ptp(field)), 1e-12)
    return span
