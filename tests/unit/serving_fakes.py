"""A robot of one number, in a process of its own: `python serving_fakes.py ADDRESS FOLDER`. Plain module: imported by tests too."""

from __future__ import annotations

import os
import sys
from contextlib import AbstractContextManager
from pathlib import Path
from subprocess import Popen

import numpy as np
from fake_process import fake, say

from dtr.errors import MissingLibrary
from dtr.wire.address import parse_address
from dtr.wire.message import Array
from dtr.wire.robot import EpisodeFailed, RobotHello, RobotTask, offer

STARTS = (0.5, 0.75, -0.5)


class Slider:
    """x starts at STARTS[state]; an action adds a[0]; the goal is x >= 1. What its tasks do wrong is their name."""

    hello = RobotHello(
        "sliders", (RobotTask("plain", "push it"), RobotTask("fails_once", "pull it")), len(STARTS), 20, "fake 1", state_dim=8
    )

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def reset(self, task: str, state: int, seed: int, settle_steps: int, image_size: int) -> None:
        self.note(f"reset {task} {state} {seed} {settle_steps}")
        self.x, self.size = STARTS[state], image_size
        if image_size > 64:
            raise MissingLibrary("this camera has 64 pixels: set the protocol's image_size.")
        mark = self.folder / f"failed-{state}"
        if task == "fails_once" and not mark.exists():
            mark.touch()
            raise EpisodeFailed("the slider stuck")

    def observe(self) -> tuple[Array, Array]:
        return np.full((2, self.size, self.size, 3), int(abs(self.x) * 100) % 256, np.uint8), np.full(8, self.x, np.float32)

    def step(self, action: Array) -> bool:
        self.x += float(action[0])
        if action[0] == 0.987:
            os._exit(9)
        return self.x >= 1

    def halt(self) -> None:
        self.note("halt")

    def note(self, what: str) -> None:
        with open(self.folder / "notes.txt", "a") as file:
            file.write(f"{what}\n")


def slider(folder: Path, address: str = "127.0.0.1:0") -> AbstractContextManager[tuple[str, Popen[str]]]:
    """The robot in a process of its own: its address, and the process."""
    return fake(__file__, address, str(folder))


if __name__ == "__main__":
    offer(Slider(Path(sys.argv[2])), parse_address(sys.argv[1]), say)
