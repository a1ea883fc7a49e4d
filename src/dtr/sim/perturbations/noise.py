"""Sensor noise: one of LIBERO-Plus's five corruptions of the agent camera, of a kind drawn for each episode. The wrist camera stays clean,
as there. Lengths are in pixels of a 256 px picture and scale with the picture's side.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from dtr.sim.perturbations.background import clouds
from dtr.sim.perturbations.variant import Perturbation

KINDS = ("motion", "gaussian", "zoom", "fog", "glass")
MOTION = (8, 12, 18, 25, 35)
"""Length of the blur. LIBERO-Plus has ten severities of each kind; these are every second one."""
GAUSSIAN = (2, 4, 6, 8, 10)
"""Standard deviation."""
ZOOM = (1.15, 1.25, 1.35, 1.45, 1.55)
"""Largest magnification averaged over."""
FOG = ((0.4, 2.4), (0.8, 2.2), (1.2, 2.0), (1.8, 1.9), (2.5, 1.8))
"""Amount, half of the original's, whose strongest hides everything; how fast its amplitude falls with frequency."""
GLASS = ((1.5, 3), (2.0, 4), (2.5, 6), (3.0, 8), (4.0, 10))
"""Standard deviation; furthest that a pixel goes astray: twice the original's, to be seen in small pictures too."""


def corrupt(image: np.ndarray, perturbation: Perturbation, episode: np.random.Generator, frame: np.random.Generator) -> np.ndarray:
    """(S, S, 3) uint8 -> the same, seen badly: kind and constants from `episode`, what changes from frame to frame from `frame`."""
    kind = str(episode.choice(KINDS))
    x, scale = image.astype(np.float64) / 255, len(image) / 256
    if kind == "motion":
        x = motion_blur(x, scale * perturbation.of_level(MOTION), np.deg2rad(frame.uniform(-45, 45)))
    elif kind == "gaussian":
        x = blurred(x, scale * perturbation.of_level(GAUSSIAN))
    elif kind == "zoom":
        x = zoom_blur(x, perturbation.of_level(ZOOM))
    elif kind == "fog":
        amount, slope = perturbation.of_level(FOG)
        x = (x + amount * clouds(x.shape[0], x.shape[1], episode, slope)[..., None]) * x.max() / (x.max() + amount)
    else:
        sigma, astray = perturbation.of_level(GLASS)
        x = blurred(scattered(blurred(x, scale * sigma), scale * astray, frame), scale * sigma)
    return np.rint(255 * np.clip(x, 0, 1)).astype(np.uint8)


def blurred(x: np.ndarray, sigma: float) -> np.ndarray:
    """Gaussian blur of both sides, not of colours."""
    out: np.ndarray = ndimage.gaussian_filter(x, (sigma, sigma, 0), mode="nearest")
    return out


def motion_blur(x: np.ndarray, length: float, angle: float) -> np.ndarray:
    """The mean over a segment of `length` pixels at `angle`."""
    steps = np.linspace(-length / 2, length / 2, max(2, int(np.ceil(length)) + 1))
    shifts = [(s * np.sin(angle), s * np.cos(angle), 0) for s in steps]
    out: np.ndarray = np.mean([ndimage.shift(x, shift, order=1, mode="nearest") for shift in shifts], axis=0)
    return out


def zoom_blur(x: np.ndarray, most: float) -> np.ndarray:
    """The mean of the picture and of its magnifications 1, ..., `most` about the centre."""
    centre = (np.array(x.shape[:2]) - 1) / 2
    layers = [x]
    for factor in np.linspace(1, most, 9):
        matrix = np.array([1 / factor, 1 / factor, 1])
        layers.append(ndimage.affine_transform(x, matrix, offset=(*(centre * (1 - 1 / factor)), 0), order=1, mode="nearest"))
    out: np.ndarray = np.mean(layers, axis=0)
    return out


def scattered(x: np.ndarray, astray: float, rng: np.random.Generator) -> np.ndarray:
    """Every pixel shows another one, at most `astray` pixels away along each side."""
    height, width = x.shape[:2]
    y, z = np.mgrid[0:height, 0:width]
    dy, dz = np.rint(rng.uniform(-astray, astray, (2, height, width))).astype(int)
    out: np.ndarray = x[np.clip(y + dy, 0, height - 1), np.clip(z + dz, 0, width - 1)]
    return out
