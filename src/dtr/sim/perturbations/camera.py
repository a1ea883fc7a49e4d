"""Camera view: the agent camera moves on a sphere around the objects and away from or towards them, and looks a little past them.

LIBERO-Plus turns by up to 45 degrees, lifts by up to 15, scales the distance by up to 2 and turns the camera in place by up to 6. The wrist
camera is the robot's and stays.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import mujoco
import numpy as np

from dtr.sim.perturbations.variant import Perturbation, signed

CAMERA = "agentview"


@dataclass(frozen=True)
class Strength:
    """Degrees around the objects, degrees up or down, factor of the distance, degrees in place."""

    turn: float
    lift: float
    scale: float
    pan: float


STRENGTHS = (
    Strength(5, 2, 1.03, 0.5),
    Strength(10, 4, 1.08, 1.0),
    Strength(18, 7, 1.16, 2.0),
    Strength(28, 10, 1.28, 3.0),
    Strength(40, 14, 1.45, 4.5),
)


def move_camera(model: Any, target: np.ndarray, perturbation: Perturbation, rng: np.random.Generator) -> None:
    """Move the camera of `model` around `target` (3,), the middle of the objects in metres. The model is at its nominal camera."""
    strength: Strength = perturbation.of_level(STRENGTHS)
    camera = model.camera(CAMERA).id
    turn, lift, pan = (np.deg2rad(signed(rng, most)) for most in (strength.turn, strength.lift, strength.pan))
    scale = strength.scale ** np.sign(signed(rng, 1.0))
    arm = model.cam_pos[camera] - target
    orientation = np.zeros(9)
    mujoco.mju_quat2Mat(orientation, model.cam_quat[camera])
    sideways = orientation.reshape(3, 3)[:, 0].copy()
    around = rotation((0.0, 0.0, 1.0), turn) @ rotation(sideways, lift)
    model.cam_pos[camera] = target + scale * (around @ arm)
    turned = rotation((0.0, 0.0, 1.0), pan) @ around @ orientation.reshape(3, 3)
    mujoco.mju_mat2Quat(model.cam_quat[camera], turned.ravel())


def rotation(axis: Any, angle: float) -> np.ndarray:
    """(3, 3) rotation by `angle` radians about a unit axis."""
    quaternion, matrix = np.zeros(4), np.zeros(9)
    mujoco.mju_axisAngle2Quat(quaternion, np.asarray(axis, dtype=np.float64), angle)
    mujoco.mju_quat2Mat(matrix, quaternion)
    return matrix.reshape(3, 3)
