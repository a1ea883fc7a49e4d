"""What a data set's numbers must be, so that a policy trained on them speaks to LIBERO's arm: each of these costs all success in silence.

rows          every episode has as many frames as the data set says
statistics    the means that it states are those of its frames
state         eight numbers end in an axis-angle and two fingers, not in a quaternion and one
gripper       -1 opens and +1 closes, not 0 closes and 1 opens
orientation   pictures stand as the simulator's, turned by 180 degrees as the official evaluations turn them (`dtr check-data`)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dtr.data.dataset import Dataset
from dtr.errors import BadDemonstrations
from dtr.robots import ROBOTS

AGREES = 0.05
"""Of a standard deviation: how far a stated mean may lie from that of the frames. Other frames, or another convention, lie further."""
UNIT = 1e-3
"""How far a quaternion's length may be from 1."""
TURNS = {"as it is": (1, 1), "turned by 180 degrees": (-1, -1), "upside down": (-1, 1), "mirrored": (1, -1)}


def check(data: Dataset, name: str, episodes: Sequence[Mapping[str, Any]], means: Mapping[str, np.ndarray]) -> None:
    """All but the orientation. `means`: of `state` and `actions`, where they are stated. Raises BadDemonstrations."""
    numbers, counts = np.unique(data.episode, return_counts=True)
    found = dict(zip(numbers.tolist(), counts.tolist(), strict=True))
    for row in episodes:
        if found.get(int(row["episode_index"]), 0) != int(row["length"]):
            raise BadDemonstrations(
                f"{name} says that episode {row['episode_index']} has {row['length']} frames, got "
                f"{found.get(int(row['episode_index']), 0)}: fetch or render it again."
            )
    for what, mean in means.items():
        values = getattr(data, what).astype(np.float64)
        if mean.shape != values.shape[1:] or (np.abs(values.mean(0) - mean) > AGREES * values.std(0) + 1e-4).any():
            raise BadDemonstrations(
                f"{name} states a mean of {what} that its frames do not have (expected {np.round(mean, 3).tolist()}, got "
                f"{np.round(values.mean(0), 3).tolist()}): its meta files belong to other frames; fetch it again."
            )
    conventions(data.state, data.actions, name)


def conventions(state: np.ndarray, actions: np.ndarray, name: str) -> None:
    """State (N, S) and actions (N, A) of LIBERO's arm, where they have its numbers. Raises BadDemonstrations."""
    arm = ROBOTS["libero"]
    if state.shape[1] == len(arm.state) and (np.abs(np.linalg.norm(state[:, 3:7], axis=1) - 1) < UNIT).all():
        raise BadDemonstrations(
            f"the state of {name} holds a quaternion and one finger, expected {', '.join(arm.state[3:])}: "
            "convert it (robosuite's quat2axisangle)."
        )
    hand = actions[:, -1]
    if actions.shape[1] == len(arm.actions) and hand.min() >= 0 and hand.max() <= 1 and (hand < 0.5).any():
        raise BadDemonstrations(
            f"the gripper of {name} lies in [0, 1], expected {arm.actions[-1]}: convert it (1 - 2 a where 1 opens, 2 a - 1 where 1 closes)."
        )


def orientation(pictures: np.ndarray, reference: np.ndarray) -> str:
    """How `pictures` (N, H, W, 3) stand against `reference` (H', W', 3), one of TURNS: where their mean correlates best with it."""
    from PIL import Image

    mean = np.asarray(pictures, np.float64).mean(0)
    height, width = mean.shape[:2]
    known = np.asarray(Image.fromarray(reference).resize((width, height), Image.Resampling.BOX), np.float64)
    turned = {name: known[::rows, ::columns] for name, (rows, columns) in TURNS.items()}
    return max(turned, key=lambda name: float(np.corrcoef(mean.ravel(), turned[name].ravel())[0, 1]))
