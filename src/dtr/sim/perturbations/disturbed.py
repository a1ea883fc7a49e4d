"""A simulator under a perturbation. Physics, stepping and soft resets are those of `dtr.sim.simulator`; what differs is written into the
start (robot, layout), into what is drawn (camera, light, background) or into the picture (noise), and taken back before the next episode.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import mujoco
import numpy as np

from dtr.sim.perturbations.background import repaint
from dtr.sim.perturbations.camera import move_camera
from dtr.sim.perturbations.distractors import with_distractors
from dtr.sim.perturbations.layout import PREFIX, STRENGTHS, rearrange
from dtr.sim.perturbations.light import relight
from dtr.sim.perturbations.noise import corrupt
from dtr.sim.perturbations.robot import move_arm
from dtr.sim.perturbations.variant import Perturbation, generator
from dtr.sim.simulator import NO_OP, Array, Frame, Simulator, sample_scene
from dtr.sim.suites import Task

DRAWN = (
    "cam_pos",
    "cam_quat",
    "light_pos",
    "light_dir",
    "light_diffuse",
    "light_ambient",
    "light_specular",
    "mat_rgba",
    "geom_rgba",
    "tex_data",
)
"""Arrays of a model that perturbations of the picture write to; no dynamics read them."""
HEADLIGHT = ("ambient", "diffuse", "specular")


class Disturbed(Simulator):
    """`task.perturbation` over a task: the start and the pictures of an episode are a function of (category, level, seed, task, state)."""

    def __init__(self, task: Task, image_size: int = 64, render: bool = True, fast: bool = True) -> None:
        """Raises UnknownName for a perturbation that is none, and what `Simulator` raises."""
        self.disturb(task.perturbation or "")
        count = self.perturbation.of_level(STRENGTHS).distractors if self.perturbation.category == "layout" else 0
        super().__init__(with_distractors(task, count), image_size, render, fast)
        self.drawn = {name: np.array(getattr(self.model, name)) for name in DRAWN}
        self.headlight = {name: np.array(getattr(self.model.vis.headlight, name)) for name in HEADLIGHT}
        self.textures: list[int] = []
        self.episode: tuple[Any, ...] = ()

    def disturb(self, perturbation: str) -> None:
        """From the next reset on, play under another perturbation of the same scene (`Task.scene`). Raises UnknownName."""
        self.perturbation = Perturbation.parse(perturbation)

    def reset(self, state: Array, seed: int, settle_steps: int = 10) -> None:
        """As `Simulator.reset`, from the state that the perturbation makes of `state`. RuntimeError where it finds no free one."""
        kind = self.perturbation.category
        self.episode = (str(self.perturbation), seed, self.task.suite, self.task.name, np.asarray(state, dtype=np.float64))
        rng = generator(*self.episode)
        self.restore_pictures()
        start = self.extended(np.asarray(state, dtype=np.float64))
        sample_scene(self.env, seed)
        self.env.sim.set_state_from_flattened(start)
        self.env.sim.forward()
        if kind == "layout":
            rearrange(self.env, self.perturbation, rng)
        if kind == "robot":
            move_arm(self.model, self.data, self.env.robots[0].eef_site_id, self.perturbation, rng)
        self.env.sim.forward()
        if kind == "robot":  # else the first control step aims at the pose of the reset, and the elbow is drawn back to its usual posture
            controller = self.env.robots[0].controller
            controller.update_initial_joints(np.array(self.data.qpos[:7]))
            controller.reset_goal()
        self.disturb_pictures(rng)
        self.env._post_process()
        for _ in range(settle_steps):
            self.step(NO_OP)

    def extended(self, state: Array) -> Array:
        """A state of the undisturbed scene, (1 + nq + nv,), with places for the distractors."""
        model = self.model
        added = [joint for joint in range(model.njnt) if model.joint(joint).name.startswith(PREFIX)]
        extra_q, extra_v = 7 * len(added), 6 * len(added)
        expected = 1 + model.nq - extra_q + model.nv - extra_v
        if state.shape != (expected,):
            raise ValueError(f"{self.task.name}: the state should have shape ({expected},), not {state.shape}")
        ours = {int(model.jnt_qposadr[joint]) + k for joint in added for k in range(7)}
        speeds = {int(model.jnt_dofadr[joint]) + k for joint in added for k in range(6)}
        qpos, qvel = np.array(model.qpos0), np.zeros(model.nv)
        qpos[[k for k in range(model.nq) if k not in ours]] = state[1 : 1 + model.nq - extra_q]
        qvel[[k for k in range(model.nv) if k not in speeds]] = state[1 + model.nq - extra_q :]
        return np.concatenate([state[:1], qpos, qvel])

    def disturb_pictures(self, rng: np.random.Generator) -> None:
        """Camera, light or background of this episode."""
        if self.perturbation.category == "camera":
            free = self.model.jnt_bodyid[self.model.jnt_type == mujoco.mjtJoint.mjJNT_FREE]
            move_camera(self.model, self.data.xpos[free].mean(axis=0), self.perturbation, rng)
        if self.perturbation.category == "light":
            relight(self.model, self.perturbation, rng)
        if self.perturbation.category == "background":
            self.textures = repaint(self.env, self.perturbation, rng)
            self.upload()

    def restore_pictures(self) -> None:
        """Undo what the last episode's perturbation wrote into the model."""
        for name, values in self.drawn.items():
            getattr(self.model, name)[:] = values
        for name, values in self.headlight.items():
            setattr(self.model.vis.headlight, name, values)
        self.upload()
        self.textures = []

    def upload(self) -> None:
        """Bring the changed textures to the graphics card, or to what stands for it."""
        if self.cameras is not None and self.cameras.context is not None:
            self.cameras.context.gl_ctx.make_current()
            for texture in self.textures:
                mujoco.mjr_uploadTexture(self.model, self.cameras.context.con, texture)

    def observe(self) -> Frame:
        """As `Simulator.observe`; under noise, a function of the control step too, so that extra looks change nothing."""
        frame = super().observe()
        if self.perturbation.category != "noise":
            return frame
        streams = generator(*self.episode), generator(*self.episode, int(self.env.timestep))
        images = frame.images.copy()
        images[0] = corrupt(images[0], self.perturbation, *streams)
        return replace(frame, images=images)
