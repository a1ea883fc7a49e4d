"""One task of one suite, stepped at 20 Hz, drawn only when asked.

An episode starts from a stored MuJoCo state: seed, reset, set the state, then ten no-op steps while objects settle (the protocol of all
official LIBERO evaluations). The seed matters beside the state, because the poses of fixtures are sampled at reset and are not in it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import mujoco
import numpy as np

from dtr.sim.objects import register
from dtr.sim.rendering import Cameras
from dtr.sim.setup import bootstrap, require_libero_assets
from dtr.sim.stepping import FastStepping

if TYPE_CHECKING:
    from dtr.sim.scenes import Goal
    from dtr.sim.suites import Task

CAMERAS = ("agentview", "robot0_eye_in_hand")
NO_OP = np.array([0.0, 0.0, 0.0, 0.0, 0.0, 0.0, -1.0])
"""Stand still with an open gripper."""

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class Frame:
    """What a policy may see at one moment.

    images: (2, H, W, 3) uint8, agent view then wrist view, upright. state: (8,) float32: position of the grip site (m), orientation of the
    hand as axis-angle (rad), position of both fingers (m).
    """

    images: Array
    state: Array


class Simulator:
    """A LIBERO-format task: `reset`, then `step` until it returns True; `observe` where a policy needs to look.

    Only one simulator with `render=True` may live in a process (robosuite draws into whichever GL context was current last).
    `fast=False` steps through robosuite's own code: slower, the same states bit for bit (tests/sim/test_stepping.py).
    """

    def __init__(self, task: Task, image_size: int = 64, render: bool = True, fast: bool = True) -> None:
        """Build the scene (about 2 s). Raises MissingLibrary, MissingAssets; RuntimeError for a second rendering simulator."""
        embedded = task.embedded
        if not embedded:
            require_libero_assets(task.suite)
        bootstrap()
        if embedded:
            register()
        self.task, self.image_size, self.fast = task, image_size, fast
        self.cameras = Cameras.reserve() if render else None
        try:
            self.env: Any = build_environment(task, render)
        except BaseException:
            self.release_cameras()
            raise
        self.model, self.data = self.env.sim.model._model, self.env.sim.data._data
        if self.cameras is not None:
            self.cameras.attach(self.env, CAMERAS, image_size, cheap=embedded)
        self.stepping = FastStepping(self.env) if fast else None

    def reset(self, state: Array, seed: int, settle_steps: int = 10) -> None:
        """Start an episode from `state` (1 + nq + nv: time, qpos, qvel) with the random choices of `seed`, then let objects settle."""
        expected = 1 + self.model.nq + self.model.nv
        if state.shape != (expected,):
            raise ValueError(f"{self.task.name}: the state should have shape ({expected},), not {state.shape}")
        sample_scene(self.env, seed)
        self.env.sim.set_state_from_flattened(np.asarray(state, dtype=np.float64))
        self.env.sim.forward()
        self.env._post_process()
        for _ in range(settle_steps):
            self.step(NO_OP)

    def step(self, action: Array) -> bool:
        """One control step (50 ms) with `action` (7,): OSC_POSE deltas in [-1, 1], gripper -1 open, +1 close. True when the goal holds."""
        if np.shape(action) != (7,) or not np.all(np.isfinite(action)):
            raise ValueError(f"an action is 7 finite numbers, not {action!r}")
        if self.stepping is not None:
            return self.stepping.step(np.asarray(action, dtype=np.float64))
        return bool(self.env.step(np.asarray(action, dtype=np.float64))[2])

    def holds(self, goal: Goal) -> bool:
        """Whether all predicates of a goal, of this task or another, hold now; what they name must be in the scene."""
        return all(bool(self.env._eval_predicate(list(predicate))) for predicate in goal)

    def observe(self) -> Frame:
        """Draw both cameras and read the arm, now."""
        if self.cameras is None:
            raise RuntimeError("this simulator was built with render=False")
        state = self.proprioception()
        return Frame(self.cameras.draw(), state)

    def proprioception(self) -> Array:
        """The state part (8,) of a frame, as the official evaluations compute it (theirs is 2 to 4 ms older: robosuite's sampling)."""
        self.settle_kinematics()
        robot = self.env.robots[0]
        position = self.data.site_xpos[robot.eef_site_id]
        w, *xyz = self.data.xquat[self.model.body(robot.robot_model.eef_name).id]
        fingers = self.data.qpos[robot._ref_gripper_joint_pos_indexes]
        return np.concatenate([position, axis_angle(np.array(xyz), float(w)), fingers]).astype(np.float32)

    def settle_kinematics(self) -> None:
        """Bring poses, cameras and lights up to date with qpos; MuJoCo leaves them one 2 ms substep behind after a step."""
        mujoco.mj_kinematics(self.model, self.data)
        mujoco.mj_comPos(self.model, self.data)
        mujoco.mj_camlight(self.model, self.data)

    def state(self) -> Array:
        """The flat MuJoCo state (1 + nq + nv,) float64: time, qpos, qvel."""
        return np.concatenate([[self.data.time], self.data.qpos, self.data.qvel])

    def qpos(self) -> Array:
        """A copy of the generalised positions (nq,) float64."""
        return np.array(self.data.qpos)

    def set_qpos(self, qpos: Array) -> None:
        """Put everything at `qpos` (nq,) for drawing; velocities are not touched, do not step on from here."""
        self.data.qpos[:] = qpos

    def close(self) -> None:
        """Free the scene and its GL context, so that this process may build the next one."""
        self.release_cameras()
        self.env.close()

    def release_cameras(self) -> None:
        """Let another simulator of this process draw."""
        if self.cameras is not None:
            self.cameras.release()
            self.cameras = None


def build_environment(task: Task, render: bool) -> Any:
    """The robosuite environment of a task, without observations: LIBERO's problem class, Panda, OSC_POSE at 20 Hz."""
    from libero.libero.envs.bddl_base_domain import TASK_MAPPING
    from libero.libero.envs.bddl_utils import get_problem_info
    from robosuite.controllers import load_controller_config

    problem = TASK_MAPPING[get_problem_info(str(task.bddl))["problem_name"]]
    return problem(
        str(task.bddl),
        robots=["Panda"],
        controller_configs=load_controller_config(default_controller="OSC_POSE"),
        initialization_noise=None,
        use_camera_obs=False,
        has_renderer=False,
        has_offscreen_renderer=render,
        control_freq=20,
        ignore_done=True,
        hard_reset=False,
        camera_names=list(CAMERAS),
    )


def sample_scene(env: Any, seed: int) -> None:
    """Seed and reset. A soft reset, made equal to a hard one: it would keep the gripper's integrated command of the last episode."""
    from robosuite.utils.errors import RandomizationError

    np.random.seed(seed)  # noqa: NPY002 - LIBERO's samplers draw from it
    for _ in range(1000):  # a placement that collides raises, and the next draw may fit; LIBERO's own wrapper hides every error here
        env.robots[0].gripper.current_action = np.zeros(env.robots[0].gripper.dof)
        try:
            env.reset()
            return
        except RandomizationError:
            continue
    raise RuntimeError("no collision-free placement in 1000 draws")


def axis_angle(xyz: Array, w: float) -> Array:
    """Axis times angle (3,) of a quaternion, angle in [0, 2 pi], as in the official LIBERO evaluations."""
    w = min(max(w, -1.0), 1.0)
    sine = math.sqrt(1.0 - w * w)
    return np.zeros(3) if math.isclose(sine, 0.0) else xyz * (2.0 * math.acos(w)) / sine
