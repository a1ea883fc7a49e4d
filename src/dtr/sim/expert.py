"""A scripted expert that sees the simulator's state: a feedback law, not a plan; its labels are right wherever noise has pushed the arm.

With p the grip point, g the point to grasp the object at, r the point to let go over the receptacle (all in metres), every control
step is decided from the present state alone:

    holding                 the fingers have closed to the object's width, and it is between them
    not holding, far from g move to g through a funnel: height above g grows with the horizontal distance
    not holding, at g       close
    holding, not over r     carry: the same funnel around r
    holding, at r           open

so a policy that sees the same state can know the action: no hidden phase, no timer. Horizontal motion waits while the
arm is below its funnel; that keeps the hand from sweeping objects away.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import mujoco
import numpy as np

GRIP_SITE = "gripper0_grip_site"
STEP_M = 0.05
"""Metres that a translation action of 1 asks for (OSC_POSE of LIBERO)."""

REACH_M = 0.012
"""How near the grip point must be, horizontally, to close on an object: a third of the slack of the open hand."""

HOVER_M = 0.07
"""Clearance of the fingers over an object when they are not yet above it."""

CARRY_M = 0.07
"""Clearance of a held object over the receptacle's rim."""

LET_GO_M = 0.012
"""How far above the release point the fingers begin to open, if nothing else is asked for."""


@dataclass
class Body:
    """A thing in the scene: its bounding box at rest, relative to its body origin, in metres."""

    id: int
    low: np.ndarray
    high: np.ndarray

    @property
    def width(self) -> float:
        """Extent along y, the direction in which the fingers close."""
        return float(self.high[1] - self.low[1])


class Expert:
    """Acts for one task of an embedded suite. `goals` are (object, receptacle) instance names in the order they are to be reached.

    `model` and `data` are MuJoCo's own; `reset()` must be called when the scene has settled, `act()` before each step.
    """

    def __init__(
        self, model: Any, data: Any, goals: tuple[tuple[str, str], ...], done: Callable[[int], bool], let_go_m: float = LET_GO_M
    ) -> None:
        self.model, self.data, self.goals, self.done, self.let_go_m = model, data, goals, done, let_go_m
        self.site = mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_SITE, GRIP_SITE)
        fingers = ("gripper0_finger_joint1", "gripper0_finger_joint2")
        self.fingers = [int(model.jnt_qposadr[mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_JOINT, name)]) for name in fingers]

    @classmethod
    def of(cls, simulator: Any, let_go_m: float = LET_GO_M) -> Expert:
        """The expert for a simulator that has just been reset; goals and their order are those of the task's BDDL file."""
        env = simulator.env
        states = env.parsed_problem["goal_state"]
        goals = tuple((thing, env.object_states_dict[site].parent_name) for _, thing, site in states)
        expert = cls(simulator.model, simulator.data, goals, lambda i: env._eval_predicate(states[i]), let_go_m)
        expert.reset()
        return expert

    def reset(self) -> None:
        """Measure the things of the goals, at rest."""
        self.bodies = {name: self._measure(name) for goal in self.goals for name in goal}

    def act(self) -> np.ndarray:
        """The action (7,) in [-1, 1] for the present state: translation, rotation, gripper (-1 open, +1 close).

        Rotation is always zero: the controller holds the hand upright by itself (it leaned 2.5 degrees at most, under noise).
        """
        hand: np.ndarray = self.data.site_xpos[self.site]
        index = next((i for i in range(len(self.goals)) if not self._left(i, hand)), len(self.goals) - 1)
        thing, place = (self.bodies[name] for name in self.goals[index])
        grasp, release = self._grasp_point(thing), self._release_point(thing, place)
        if self._holding(thing, hand, grasp):
            away = float(np.linalg.norm((release - hand)[:2]))
            target, grip = self._funnel(release, away, self._rim(thing, place)), 1.0
            if away < 2 * REACH_M and hand[2] < release[2] + self.let_go_m:
                target, grip = release, -1.0
        else:
            away = float(np.linalg.norm((grasp - hand)[:2]))
            target, grip = self._funnel(grasp, away, self._top(thing) + HOVER_M), -1.0
            if away < REACH_M and hand[2] < grasp[2] + 0.010:
                target, grip = grasp, 1.0
        return self._towards(target, hand, grip)

    def _funnel(self, point: np.ndarray, away: float, clear: float) -> np.ndarray:
        """`point` raised towards height `clear` the further the hand is `away` from it horizontally; reached 8 mm low, so with speed."""
        rise = float(np.clip((away - REACH_M) / 0.03, 0.0, 1.0))
        return np.array([point[0], point[1], (1 - rise) * (point[2] - 0.008) + rise * clear])

    def _towards(self, target: np.ndarray, hand: np.ndarray, grip: float) -> np.ndarray:
        error = target - hand
        wait = float(np.clip(1.0 - (error[2] - 0.03) / 0.04, 0.0, 1.0))  # horizontal motion waits for height
        action = np.concatenate([error * (wait, wait, 1.0) / STEP_M, np.zeros(3), [grip]])
        return np.clip(action, -1.0, 1.0)

    def _left(self, index: int, hand: np.ndarray) -> bool:
        """Whether goal `index` holds and its object has been let go: LIBERO's `In` is already true of a held object."""
        thing = self.bodies[self.goals[index][0]]
        return bool(self.done(index)) and not self._holding(thing, hand, self._grasp_point(thing))

    def _holding(self, thing: Body, hand: np.ndarray, grasp: np.ndarray) -> bool:
        opening = float(self.data.qpos[self.fingers[0]] - self.data.qpos[self.fingers[1]])
        return opening < thing.width + 0.004 and bool(np.all(np.abs(grasp - hand) < (0.025, 0.02, 0.03)))

    def _grasp_point(self, thing: Body) -> np.ndarray:
        """The middle of the object, 3 cm below its top (or 1.8 cm above its bottom if it is low)."""
        origin = self.data.xpos[thing.id]
        middle = 0.5 * (thing.low + thing.high)
        height = max(thing.high[2] - 0.03, thing.low[2] + 0.018)
        point: np.ndarray = origin + np.array([middle[0], middle[1], height])
        return point

    def _release_point(self, thing: Body, place: Body) -> np.ndarray:
        """Where the hand is when the object stands 1 cm above the receptacle's bottom, in its middle."""
        above_bottom = self._grasp_point(thing)[2] - (self.data.xpos[thing.id][2] + thing.low[2])
        floor = self.data.xpos[place.id][2] + place.low[2] + 0.02
        return np.array([*self.data.xpos[place.id][:2], floor + above_bottom])

    def _rim(self, thing: Body, place: Body) -> float:
        above_bottom = self._grasp_point(thing)[2] - (self.data.xpos[thing.id][2] + thing.low[2])
        return float(self.data.xpos[place.id][2] + place.high[2] + above_bottom + CARRY_M)

    def _top(self, thing: Body) -> float:
        return float(self.data.xpos[thing.id][2] + thing.high[2])

    def _measure(self, name: str) -> Body:
        root = mujoco.mj_name2id(self.model, mujoco.mjtObj.mjOBJ_BODY, f"{name}_main")
        corners = [self._corners(geom) for geom in range(self.model.ngeom) if self.model.body_rootid[self.model.geom_bodyid[geom]] == root]
        points = np.concatenate([c for c in corners if len(c)]) - self.data.xpos[root]
        return Body(root, points.min(axis=0), points.max(axis=0))

    def _corners(self, geom: int) -> np.ndarray:
        """World positions of the corners of a colliding geom's bounding box (of its vertices, if it is a mesh), (N, 3)."""
        m, rotation = self.model, self.data.geom_xmat[geom].reshape(3, 3)
        if not (m.geom_contype[geom] or m.geom_conaffinity[geom]):
            return np.zeros((0, 3))
        if m.geom_type[geom] == mujoco.mjtGeom.mjGEOM_MESH:
            mesh = m.geom_dataid[geom]
            local = m.mesh_vert[m.mesh_vertadr[mesh] : m.mesh_vertadr[mesh] + m.mesh_vertnum[mesh]]
        else:
            signs = np.stack(np.meshgrid(*[(-1.0, 1.0)] * 3), axis=-1).reshape(-1, 3)
            local = m.geom_aabb[geom, :3] + signs * m.geom_aabb[geom, 3:]
        corners: np.ndarray = local @ rotation.T + self.data.geom_xpos[geom]
        return corners
