"""A simulator of one number, with tasks that misbehave. A plain module, so that spawned workers can import it."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from dtr.errors import MissingLibrary
from dtr.rollout.episode import Key
from dtr.rollout.worker import Array, Order, SimulatorLike
from dtr.sim.simulator import Frame
from dtr.sim.suites import Task


class Line:
    """The state x starts at state[0]; an action adds a[0] * scale; the goal is x >= 1. Steps with x < 0 never succeed.

    A task whose name starts with `crash`, `exit`, `hang` or `refuse` misbehaves from initial state 0.5 on, `once` only the first time
    (it leaves a mark in the folder `task.bddl`).
    """

    def __init__(self, task: Task, image_size: int) -> None:
        self.task, self.image_size = task, image_size
        (task.bddl / f"built-{task.name}-{os.getpid()}-{time.monotonic_ns()}").touch()

    def reset(self, state: Array, seed: int, settle_steps: int) -> None:
        self.x = float(state[0])
        if self.x == 0.5:
            self.misbehave(*self.task.name.split("-"))

    def misbehave(self, kind: str, when: str = "always", *rest: str) -> None:
        mark = self.task.bddl / "misbehaved"
        if when == "once" and mark.exists():
            return
        mark.touch()
        if kind == "crash":
            raise ZeroDivisionError("the scene fell apart")
        if kind == "exit":
            os._exit(3)
        if kind == "hang":
            time.sleep(3600)
        if kind == "refuse":
            raise MissingLibrary("no GL here: install one.")

    def step(self, action: Array) -> bool:
        self.x += float(action[0])
        return self.x >= 1

    def observe(self) -> Frame:
        image = np.full((2, self.image_size, self.image_size, 3), int(abs(self.x) * 100) % 256, np.uint8)
        return Frame(image, np.full(8, self.x, np.float32))

    def close(self) -> None:
        pass


class Judged(Line):
    """Says of a goal (("beyond", "0.5"),) whether x is."""

    def holds(self, goal: tuple[tuple[str, ...], ...]) -> bool:
        return all(self.x > float(limit) for _, limit in goal)


def build_judged(task: Task, image_size: int) -> SimulatorLike:
    return Judged(task, image_size)


def build_line(task: Task, image_size: int) -> SimulatorLike:
    return Line(task, image_size)


def walk(requests: Mapping[int, tuple[Frame, str]]) -> dict[int, Array]:
    """A policy that moves by 1/16 a step, away from 0, 8 actions a chunk."""
    return {row: np.full((8, 7), 0.0625 if frame.state[0] >= 0 else -0.0625) for row, (frame, _) in requests.items()}


def orders(folder: Path, tasks: tuple[str, ...], starts: tuple[float, ...], film: bool = False, max_steps: int = 20) -> list[Order]:
    """One order a task and start value."""
    made = [Task("fake", i, name, f"do {name}", folder) for i, name in enumerate(tasks)]
    return [Order(Key("fake", t.index, i, 0), t, np.array([x]), max_steps, 0, 4, film) for t in made for i, x in enumerate(starts)]
