"""Object layout: everything that stands free is carried and turned together, then each thing a little by itself; from level 3 on, things
that no goal speaks of stand by.

Moved together, so that what the instruction says of places ("between", "on the left") stays true: p' = c + R(yaw) (p - c) + t + jitter,
with c the middle of the free-standing groups. A group is a thing on the floor or table with all that stands on or in it (read from the
BDDL's initial conditions); what stands on furniture stays. A draw counts when nothing touches, gaps stay wide enough for the fingers (or as
wide as they were) and everything is within the arm's reach; after every 50 draws that do not, the motion shrinks by a fifth.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import mujoco
import numpy as np

from dtr.sim.perturbations.footprints import Footprint, footprints, gap, lowest
from dtr.sim.perturbations.variant import Perturbation, signed


@dataclass(frozen=True)
class Strength:
    """Metres and degrees of the common motion, metres of each group's own, number of distractors."""

    carry_m: float
    turn_degrees: float
    jitter_m: float
    distractors: int


STRENGTHS = (
    Strength(0.015, 5, 0.005, 0),
    Strength(0.03, 10, 0.010, 0),
    Strength(0.045, 15, 0.015, 1),
    Strength(0.06, 20, 0.020, 2),
    Strength(0.075, 25, 0.025, 3),
)
GAP_M = 0.02
DISTRACTOR_GAP_M = 0.07
"""Half a hand: it reaches that far to the sides of what it grasps, and a carton is as high as the fingers are long."""
REACH_M = 0.78
"""Furthest from the arm's base, in the plane."""
BORDER_M = 0.10
"""How far beyond the nominal scene distractors may stand."""
DRAWS, SHRINK_AFTER = 500, 50
PREFIX = "distractor"


def groups(env: Any) -> list[tuple[str, ...]]:
    """Free-standing things, each with what stands on or in it: the units that move."""
    regions = {name: entry["target"] for name, entry in env.parsed_problem["regions"].items()}
    below = {thing: regions.get(where, where) for _, thing, where in (c for c in env.parsed_problem["initial_state"] if len(c) == 3)}
    movable = {name for name in env.objects_dict if not name.startswith(PREFIX)}

    def root(thing: str) -> str:
        return root(below[thing]) if below.get(thing) in movable else thing

    free = [thing for thing in sorted(movable) if below.get(thing) == env.workspace_name]
    return [tuple(sorted(other for other in movable if root(other) == thing)) for thing in free]


def rearrange(env: Any, perturbation: Perturbation, rng: np.random.Generator) -> None:
    """Draw layouts until one is allowed and leave it in the data. Raises RuntimeError when none is found."""
    model, data = env.sim.model._model, env.sim.data._data
    strength: Strength = perturbation.of_level(STRENGTHS)
    nominal, units = np.array(data.qpos), groups(env)
    mujoco.mj_forward(model, data)
    base = data.body("robot0_base").xpos[:2].copy()
    before = footprints(env, units)
    centre = np.mean([p.middle for p in before], axis=0)
    factor = 1.0
    for draw in range(1, DRAWS + 1):
        data.qpos[:] = nominal
        heading, yaw = rng.uniform(0, 2 * np.pi), np.deg2rad(factor * signed(rng, strength.turn_degrees))
        carry = factor * signed(rng, strength.carry_m) * np.array([np.cos(heading), np.sin(heading)])
        for unit in units:
            own = factor * strength.jitter_m * rng.uniform(-1, 1, 2)
            for thing in unit:
                move(data, joint(env, thing), centre, yaw, carry + own)
        mujoco.mj_forward(model, data)
        after = footprints(env, units)
        if allowed(before, after, base) and place_distractors(env, strength.distractors, after, base, factor, rng):
            return
        factor *= 0.8 if draw % SHRINK_AFTER == 0 else 1.0
    raise RuntimeError(f"no layout of {perturbation} without collision in {DRAWS} draws")


def move(data: Any, qpos: int, centre: np.ndarray, yaw: float, shift: np.ndarray) -> None:
    """Turn the free body whose joint starts at `qpos` about the vertical through `centre`, then shift it in the plane."""
    c, s = np.cos(yaw), np.sin(yaw)
    data.qpos[qpos : qpos + 2] = centre + np.array([[c, -s], [s, c]]) @ (data.qpos[qpos : qpos + 2] - centre) + shift
    turned = np.zeros(4)
    mujoco.mju_mulQuat(turned, np.array([np.cos(yaw / 2), 0.0, 0.0, np.sin(yaw / 2)]), data.qpos[qpos + 3 : qpos + 7])
    data.qpos[qpos + 3 : qpos + 7] = turned


def joint(env: Any, thing: str) -> int:
    """Where the free joint of a movable thing starts in qpos."""
    model = env.sim.model._model
    return int(model.jnt_qposadr[model.joint(env.objects_dict[thing].joints[0]).id])


def allowed(before: list[Footprint], after: list[Footprint], base: np.ndarray) -> bool:
    """Whether every group is within reach and every gap wide enough, or no worse than it was by more than a millimetre."""
    reached = all(
        np.linalg.norm(new.middle - base) <= max(REACH_M, float(np.linalg.norm(old.middle - base)))
        for old, new in zip(before, after, strict=True)
    )
    pairs = [(i, j) for i in range(len(after)) for j in range(i)]
    return reached and all(gap(after[i], after[j]) >= min(GAP_M, gap(before[i], before[j])) - 1e-3 for i, j in pairs)


def place_distractors(env: Any, count: int, taken: list[Footprint], base: np.ndarray, factor: float, rng: np.random.Generator) -> bool:
    """Stand the distractors of this scene upright around the groups, `factor` of the usual gap away; False when one finds no place."""
    model, data = env.sim.model._model, env.sim.data._data
    names = [name for name in env.objects_dict if name.startswith(PREFIX)]
    if len(names) != count:
        raise ValueError(f"expected {count} distractors in the scene, got {len(names)}: build it from `with_distractors`")
    low = np.min([p.low for p in taken], axis=0) - BORDER_M
    high = np.max([p.high for p in taken], axis=0) + BORDER_M
    ground, taken = min(p.bottom for p in taken), list(taken)
    for name in names:
        start = joint(env, name)
        data.qpos[start + 3 : start + 7] = (1.0, 0.0, 0.0, 0.0)
        for _ in range(60):
            data.qpos[start : start + 3] = (*rng.uniform(low, high), 0.0)
            mujoco.mj_kinematics(model, data)
            data.qpos[start + 2] = ground - lowest(env, name) + 1e-3
            mujoco.mj_kinematics(model, data)
            (own,) = footprints(env, [(name,)])
            if np.linalg.norm(own.middle - base) <= REACH_M and all(gap(own, other) >= factor * DISTRACTOR_GAP_M for other in taken):
                taken.append(own)
                break
        else:
            return False
    return True
