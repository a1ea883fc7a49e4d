"""Stepping a robosuite environment without the work whose results nobody reads; the states are those of robosuite, bit for bit.

One control step of 50 ms is 25 substeps of 2 ms. In each, robosuite 1.4.0 runs MuJoCo's full forward pass three times (in `env.step`, in
`Controller.update`, in `mj_step`), looks every id up by name, computes six Jacobians where two are needed, reads all observables, and
builds the action limits anew. What the controller needs is positions, velocities and the mass matrix before its torque is set, and the rest
of the same pass after it. MuJoCo offers exactly this split: mj_step = mj_step1 (position, velocity) + mj_step2 (actuation, acceleration,
integration). So a substep here is

    mj_step1;  torque = OSC(pose, velocity, J, M);  ctrl = (torque, gripper);  mj_step2.

The arithmetic of the controller (Khatib 1987, section 4; robosuite/controllers/osc.py) is done by the same numpy and numba functions on
operands of the same memory layout (a BLAS result may depend on it), in the same order. What must stay: MuJoCo's constraint solver starts
from its last solution, so robosuite's extra forward passes move the last bits of every state; their solves are kept (`warm_start`).
"""

from __future__ import annotations

from typing import Any

import mujoco
import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]

JOINTS = slice(0, 7)
"""The arm's joints come first in qpos, qvel and ctrl of every LIBERO scene; checked when the fast path is built."""


class FastStepping:
    """The fast path of one environment: Panda, OSC_POSE, soft resets, no observables. It holds no state between control steps."""

    def __init__(self, env: Any) -> None:
        """Look everything up once. Raises ValueError for an environment that this path does not reproduce."""
        from dtr.sim.osc import task_space  # needs robosuite, hence bootstrap()

        check_supported(env)
        self.env, self.robot = env, env.robots[0]
        self.model, self.data = env.sim.model._model, env.sim.data._data
        self.site = self.model.site(self.robot.controller.eef_name).id
        self.substeps = int(env.control_timestep / env.model_timestep)
        self.low, self.high = (np.array(limit) for limit in self.robot.torque_limits)
        self.gripper_ctrl = gripper_actuation(self.model, self.robot)
        self.jacobian_position = np.zeros((3, self.model.nv))
        self.jacobian_rotation = np.zeros((3, self.model.nv))
        self.mass = np.zeros((self.model.nv, self.model.nv))
        self.inertia, self.bias, self.qpos, self.qvel = self.data.qM, self.data.qfrc_bias, self.data.qpos, self.data.qvel
        self.site_position, self.site_rotation = self.data.site_xpos[self.site], self.data.site_xmat[self.site].reshape(3, 3)
        self.arm, self.wrench = Arm(), np.zeros(6)
        self.task_space = task_space
        env.check_contact = ContactTest(env)
        # Sensors (force and torque at the wrist) feed no dynamics and no LIBERO observation.
        self.model.opt.disableflags |= mujoco.mjtDisableBit.mjDSBL_SENSOR

    def step(self, action: Array) -> bool:
        """One control step with a finite `action` (7,); True when the goal predicate holds, as `env.step` reports it."""
        env, model, data, controller = self.env, self.model, self.data, self.robot.controller
        gripper = self.gripper_path(float(action[6]))
        ctrl, step1, step2 = data.ctrl, mujoco.mj_step1, mujoco.mj_step2
        for substep in range(self.substeps):
            step1(model, data)
            warm_start(model, data)
            if controller.new_update:  # False in the first substep after a reset: robosuite then works on the pose of the reset
                mujoco.mj_fwdConstraint(model, data)
                self.read_arm(controller)
            if substep == 0:
                controller.set_goal(action[:6])
            np.minimum(np.maximum(self.torques(controller), self.low), self.high, out=ctrl[JOINTS])
            ctrl[7], ctrl[8] = gripper[substep]
            step2(model, data)
        env.timestep += 1
        env.cur_time += env.control_timestep
        env._check_success()  # robosuite's reward; predicates such as TurnOn set what _post_process shows
        env._post_process()
        return bool(env._check_success())

    def read_arm(self, controller: Any) -> None:
        """`Controller.update` of robosuite without its forward pass: pose, velocity, Jacobians and mass matrix of the arm."""
        arm, model, data = self.arm, self.model, self.data
        if controller.ee_pos is not arm.position:  # the controller is new since the last reset
            arm.bind(controller)
        mujoco.mj_jacSite(model, data, self.jacobian_position, self.jacobian_rotation, self.site)
        mujoco.mj_fullM(model, self.mass, self.inertia)
        arm.position[:] = self.site_position
        arm.rotation[:] = self.site_rotation
        np.dot(self.jacobian_position, self.qvel, out=arm.velocity)
        np.dot(self.jacobian_rotation, self.qvel, out=arm.spin)
        arm.joints[:] = self.qpos[JOINTS]
        arm.joint_speeds[:] = self.qvel[JOINTS]
        arm.jacobian_position[:] = arm.jacobian[:3] = self.jacobian_position[:, JOINTS]
        arm.jacobian_rotation[:] = arm.jacobian[3:] = self.jacobian_rotation[:, JOINTS]
        arm.mass[:] = self.mass[JOINTS, JOINTS]
        controller.new_update = False

    def torques(self, c: Any) -> Array:
        """`OperationalSpaceController.run_controller` for OSC_POSE with fixed gains: joint torques (7,) in Nm, not yet clipped.

        torque = J^T [Lambda_pos force; Lambda_ori moment] + bias + N^T posture
        """
        force, moment, lambda_pos, lambda_ori, posture = self.task_space(
            c.goal_pos, c.ee_pos, c.ee_pos_vel, c.goal_ori, c.ee_ori_mat, c.ee_ori_vel, c.kp, c.kd,
            c.mass_matrix, c.J_full, c.J_pos, c.J_ori, c.initial_joint, c.joint_pos, c.joint_vel,
        )  # fmt: skip
        np.dot(lambda_pos, force, out=self.wrench[:3])
        np.dot(lambda_ori, moment, out=self.wrench[3:])
        torques: Array = np.dot(c.J_full.T, self.wrench)
        torques += self.bias[JOINTS]
        torques += posture
        c.new_update = True
        return torques

    def gripper_path(self, command: float) -> list[tuple[float, float]]:
        """The ctrl values of both fingers in each substep: the gripper integrates the sign of its command (PandaGripper.format_action)."""
        gripper = self.robot.gripper
        (bias_1, weight_1), (bias_2, weight_2) = self.gripper_ctrl
        sign = float(np.sign(command))
        move_1, move_2 = -1.0 * gripper.speed * sign, 1.0 * gripper.speed * sign
        finger_1, finger_2 = (float(position) for position in np.broadcast_to(gripper.current_action, 2))
        path = []
        for _ in range(self.substeps):
            finger_1 = min(max(finger_1 + move_1, -1.0), 1.0)
            finger_2 = min(max(finger_2 + move_2, -1.0), 1.0)
            path.append((bias_1 + weight_1 * finger_1, bias_2 + weight_2 * finger_2))
        gripper.current_action = np.array([finger_1, finger_2])
        return path


def warm_start(model: Any, data: Any) -> None:
    """Solve the constraints under the last ctrl, as robosuite's first extra forward pass does.

    The solver starts from its last solution (qacc_warmstart) and stops at a tolerance, so extra solves move the last bits of a state.
    """
    mujoco.mj_fwdActuation(model, data)
    mujoco.mj_fwdAcceleration(model, data)
    mujoco.mj_fwdConstraint(model, data)


class Arm:
    """What the controller reads in a substep, in the memory layout of robosuite's own arrays (matrices column by column)."""

    def __init__(self) -> None:
        self.position, self.rotation = np.zeros(3), np.zeros((3, 3))
        self.velocity, self.spin = np.zeros(3), np.zeros(3)
        self.joints, self.joint_speeds = np.zeros(7), np.zeros(7)
        self.jacobian = np.zeros((6, 7), order="F")
        self.jacobian_position, self.jacobian_rotation = np.zeros((3, 7), order="F"), np.zeros((3, 7), order="F")
        self.mass = np.zeros((7, 7), order="F")

    def bind(self, controller: Any) -> None:
        """Let robosuite's controller read these arrays under its own names."""
        controller.ee_pos, controller.ee_ori_mat = self.position, self.rotation
        controller.ee_pos_vel, controller.ee_ori_vel = self.velocity, self.spin
        controller.joint_pos, controller.joint_vel = self.joints, self.joint_speeds
        controller.J_full, controller.J_pos, controller.J_ori = self.jacobian, self.jacobian_position, self.jacobian_rotation
        controller.mass_matrix = self.mass


class ContactTest:
    """`env.check_contact` on arrays of geom ids; robosuite compares names, contact by contact."""

    def __init__(self, env: Any) -> None:
        self.env = env
        self.ids: dict[Any, Array] = {}

    def __call__(self, geoms_1: Any, geoms_2: Any = None) -> bool:
        """Whether any geom of the first group touches any of the second (of the whole scene when that is None)."""
        pairs = self.env.sim.data._data.contact.geom
        first = np.isin(pairs, self.geom_ids(geoms_1))
        if geoms_2 is None:
            return bool(first.any())
        second = np.isin(pairs, self.geom_ids(geoms_2))
        return bool(((first[:, 0] & second[:, 1]) | (second[:, 0] & first[:, 1])).any())

    def geom_ids(self, geoms: Any) -> Array:
        """The ids of a model's contact geoms, or of geoms given by name."""
        key = geoms if isinstance(geoms, str) else tuple(geoms) if isinstance(geoms, list | tuple) else id(geoms)
        if key not in self.ids:
            names = [geoms] if isinstance(geoms, str) else getattr(geoms, "contact_geoms", geoms)
            model = self.env.sim.model
            self.ids[key] = np.array([model.geom_name2id(name) for name in names if name in model._geom_name2id], dtype=np.int32)
        return self.ids[key]


def gripper_actuation(model: Any, robot: Any) -> tuple[tuple[float, float], tuple[float, float]]:
    """(bias, weight) of each finger: ctrl = bias + weight * command, from the actuator's range (Manipulator.grip_action)."""
    low, high = model.actuator_ctrlrange[robot._ref_joint_gripper_actuator_indexes].T
    bias, weight = 0.5 * (high + low), 0.5 * (high - low)
    return (float(bias[0]), float(weight[0])), (float(bias[1]), float(weight[1]))


def check_supported(env: Any) -> None:
    """Raise ValueError unless `env` is what the fast path reproduces."""
    robot, controller = env.robots[0], env.robots[0].controller
    expected = {
        "one robot": len(env.robots) == 1,
        "OSC_POSE with fixed gains and no interpolation": (
            controller.name == "OSC_POSE"
            and controller.impedance_mode == "fixed"
            and controller.uncoupling
            and controller.use_delta
            and controller.interpolator_pos is None
            and controller.interpolator_ori is None
        ),
        "the arm's joints first": list(controller.qpos_index) == list(controller.qvel_index) == list(range(7)),
        "the arm's actuators first, then the fingers'": (
            robot._ref_joint_actuator_indexes == list(range(7)) and robot._ref_joint_gripper_actuator_indexes == [7, 8]
        ),
        "the PandaGripper": type(robot.gripper).__name__ == "PandaGripper",
        "soft resets": not env.hard_reset,
        "the Euler integrator": env.sim.model._model.opt.integrator == mujoco.mjtIntegrator.mjINT_EULER,
    }
    for what, holds in expected.items():
        if not holds:
            raise ValueError(f"fast stepping reproduces robosuite only for {what}: use Simulator(..., fast=False)")
