"""Robot initial state: the arm starts elsewhere, q = q_0 + 0.1 L u (rad) with a random unit vector u of seven joints, as in LIBERO-Plus."""

from __future__ import annotations

from typing import Any

import mujoco
import numpy as np

from dtr.sim.perturbations.variant import Perturbation

RADIANS = (0.1, 0.2, 0.3, 0.4, 0.5)
JOINT_MARGIN_RAD = 0.05
CLEARANCE_M = 0.06
"""Lowest grip site above the tops of the objects' bodies' centres: the hand hangs over the scene, not in it."""
DRAWS = 200
ARM = slice(0, 7)


def move_arm(model: Any, data: Any, grip: int, perturbation: Perturbation, rng: np.random.Generator) -> None:
    """Draw arm positions until one is within its joints' ranges, touches nothing and hangs above the scene; leaves it in `data`.

    `grip`: id of the grip site. Raises RuntimeError when none is found.
    """
    nominal = np.array(data.qpos[ARM])
    low, high = model.jnt_range[ARM, 0] + JOINT_MARGIN_RAD, model.jnt_range[ARM, 1] - JOINT_MARGIN_RAD
    touching = touches(model, data)
    for _ in range(DRAWS):
        direction = rng.standard_normal(7)
        data.qpos[ARM] = nominal + perturbation.of_level(RADIANS) * direction / np.linalg.norm(direction)
        mujoco.mj_forward(model, data)
        inside = bool(np.all((low < data.qpos[ARM]) & (data.qpos[ARM] < high)))
        if inside and touches(model, data) <= touching and data.site_xpos[grip, 2] > ceiling(model, data) + CLEARANCE_M:
            return
    raise RuntimeError(f"no arm position {perturbation} away is free in {DRAWS} draws")


def touches(model: Any, data: Any) -> set[tuple[int, int]]:
    """Pairs of bodies in contact of which one is the robot's."""
    pairs = {(int(a), int(b)) for a, b in model.geom_bodyid[data.contact.geom]} if data.ncon else set()
    return {pair for pair in pairs if any(model.body(body).name.startswith(("robot", "gripper")) for body in pair)}


def ceiling(model: Any, data: Any) -> float:
    """Height of the highest free body's centre, in metres; minus infinity where nothing is free."""
    free = model.jnt_bodyid[model.jnt_type == mujoco.mjtJoint.mjJNT_FREE]
    return float(data.xpos[free, 2].max(initial=-np.inf))
