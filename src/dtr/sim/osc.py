"""The compiled part of the arm's controller, around robosuite's own compiled functions. Import it after `dtr.sim.setup.bootstrap()`.

Operational-space control (Khatib 1987; robosuite/controllers/osc.py) with x the pose of the hand, q the joints:

    force  = kp (x_goal - x) - kd dx/dt                       (3,) N; the moment likewise
    Lambda = (J M^-1 J^T)^-1                                  (3, 3) for position and for orientation
    torque = J^T [Lambda_p force; Lambda_r moment] + bias + N^T M (10 (q_rest - q) - 2 sqrt(10) dq/dt)

The products with J^T and Lambda are missing here: robosuite leaves them to numpy, and numba's BLAS is scipy's, which need not round alike.
Without fast-math the rest rounds as numpy does.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from robosuite.utils.control_utils import nullspace_torques, opspace_matrices, orientation_error

Array = np.ndarray[Any, np.dtype[Any]]


@numba.njit(cache=True)  # type: ignore[untyped-decorator]
def task_space(
    goal: Array,
    position: Array,
    velocity: Array,
    goal_rotation: Array,
    rotation: Array,
    spin: Array,
    kp: Array,
    kd: Array,
    mass: Array,
    jacobian: Array,
    jacobian_position: Array,
    jacobian_rotation: Array,
    rest: Array,
    joints: Array,
    speeds: Array,
) -> tuple[Array, Array, Array, Array, Array]:
    """Force (3,), moment (3,), Lambda of position and of orientation (3, 3), posture torques (7,).

    Vectors are (3,), rotations (3, 3), gains kp and kd (6,), mass (7, 7), jacobian (6, 7), rest, joints and speeds (7,).
    """
    force = (goal - position) * kp[0:3] + -velocity * kd[0:3]
    moment = orientation_error(goal_rotation, rotation) * kp[3:6] + -spin * kd[3:6]
    _, lambda_position, lambda_rotation, nullspace = opspace_matrices(mass, jacobian, jacobian_position, jacobian_rotation)
    posture = nullspace_torques(mass, nullspace, rest, joints, speeds)
    return force, moment, lambda_position, lambda_rotation, posture
