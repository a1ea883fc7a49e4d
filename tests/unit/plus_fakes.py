"""LIBERO-Plus in a process of its own: `python plus_fakes.py ADDRESS SUITE PERTURBATION TASKS`. Plain module: imported by tests too.

The goal of task k holds after three moves whose first number lies above k / TASKS: which tasks succeed is a matter of the policy.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from fake_process import fake, say

from dtr.foreign.libero_plus import Entry, Plus
from dtr.wire.address import parse_address
from dtr.wire.robot import offer


class Env:
    """What LIBERO-Plus's OffScreenRenderEnv is to the adapter."""

    def __init__(self, size: int, threshold: float = -2.0) -> None:
        self.size, self.threshold, self.log, self.moves = size, threshold, list[tuple[Any, ...]](), 0

    def seen(self) -> dict[str, Any]:
        picture = (np.arange(self.size * self.size * 3) % 256).astype(np.uint8).reshape(self.size, self.size, 3)
        arm = {
            "robot0_eef_pos": np.array([1.0, 2, 3]),
            "robot0_eef_quat": np.array([0.0, 0, 1, 0]),
            "robot0_gripper_qpos": np.array([0.1, -0.1]),
        }
        return {"agentview_image": picture, "robot0_eye_in_hand_image": 255 - picture} | arm

    def seed(self, seed: int) -> None:
        self.log.append(("seed", seed))

    def reset(self) -> None:
        self.log.append(("reset",))
        self.moves = 0

    def set_init_state(self, state: Any) -> dict[str, Any]:
        self.log.append(("state", float(state[0])))
        return self.seen()

    def step(self, action: Any) -> tuple[dict[str, Any], float, bool, dict[str, Any]]:
        self.moves += any(action[:6]) and action[0] > self.threshold
        return self.seen(), 0.0, self.moves >= 3, {}

    def close(self) -> None:
        self.log.append(("closed",))


def plus(suite: str, perturbation: str, tasks: int, scenes: str = "listing 1") -> Plus:
    """So many tasks, each with its threshold."""
    entries = [Entry(k, f"t{k}", f"do {k}") for k in range(tasks)]
    return Plus(suite, perturbation, entries, scenes, lambda entry, size: Env(size, entry.index / tasks), lambda entry: np.zeros((1, 9)))


@contextmanager
def offered(address: Path, suite: str, perturbation: str, tasks: int, scenes: str = "listing 1") -> Iterator[str]:
    """It, in a process of its own: its address."""
    with fake(__file__, str(address), suite, perturbation, str(tasks), scenes) as (found, _):
        yield found


if __name__ == "__main__":
    where, suite, perturbation, tasks, scenes = sys.argv[1:]
    offer(plus(suite, perturbation, int(tasks), scenes), parse_address(where), say)
