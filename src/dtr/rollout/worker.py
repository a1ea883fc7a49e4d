"""A worker process: one simulator, one episode at a time, no policy and no torch.

The conversation over one pipe, worker's words indented:

    Order                        play this episode
        Frame                    what the policy may see now
    actions (chunk, A)           these, in this order; stepped unseen
        Frame ...
        Finished                 the goal holds, or the step limit is reached
    Order ... (or the pipe closes: go home)

A DtrError is sent as it is (the user can mend it, the run ends). Any other exception is sent as Crash and ends the process.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np

from dtr.errors import DtrError
from dtr.lifeline import end_with_parent
from dtr.rollout.episode import Key

if TYPE_CHECKING:
    from dtr.sim.scenes import Goal
    from dtr.sim.simulator import Frame
    from dtr.sim.suites import Task

Array = np.ndarray[Any, np.dtype[Any]]


class SimulatorLike(Protocol):
    """What the rollout needs of `dtr.sim.simulator.Simulator`."""

    def reset(self, state: Array, seed: int, settle_steps: int) -> None:
        """Start an episode."""

    def step(self, action: Array) -> bool:
        """One control step; True when the goal holds."""

    def observe(self) -> Frame:
        """Render now."""

    def close(self) -> None:
        """Free the scene."""


@runtime_checkable
class ChunkwiseLike(Protocol):
    """A simulator that would rather be given a chunk at a time: each message to it takes time (`dtr.rollout.remote`)."""

    def execute(self, actions: Array) -> tuple[int, bool]:
        """Step through actions (k, A) until the goal holds: how many were executed, and whether it does."""


@runtime_checkable
class JudgingLike(Protocol):
    """A simulator that can say whether the goal of another task holds."""

    def holds(self, goal: Goal) -> bool:
        """Whether all predicates of `goal` hold now."""


@runtime_checkable
class DisturbedLike(Protocol):
    """A simulator that can play its scene under several perturbations, one episode after the other."""

    def disturb(self, perturbation: str) -> None:
        """The perturbation from the next reset on."""


Factory = Callable[["Task", int], SimulatorLike]
"""(task, image size in pixels) -> a simulator of it. Must be picklable: a function of a module."""


def build_simulator(task: Task, image_size: int) -> SimulatorLike:
    """The real one (2 to 3 s), under the task's perturbation if it has one."""
    from dtr.sim.simulator import Simulator

    if task.perturbation is not None:
        from dtr.sim.perturbations.disturbed import Disturbed

        return Disturbed(task, image_size=image_size)
    return Simulator(task, image_size=image_size)


@dataclass(frozen=True)
class Order:
    """An episode to play: where it starts and when it has failed. `film`: also render every step of it.

    `told`: what the policy is told; None: the task's own instruction. `meant`: the other task whose instruction that is and its goal, which
    is then watched in every step; the episode runs on, and ends as it would.
    """

    key: Key
    task: Task
    state: Array = field(repr=False)
    max_steps: int
    settle_steps: int
    image_size: int
    film: bool = False
    told: str | None = None
    meant: tuple[str, Goal] | None = None

    @property
    def instruction(self) -> str:
        """What the policy is told."""
        return self.task.language if self.told is None else self.told


@dataclass(frozen=True)
class Finished:
    """The end of an episode.

    `trace` is a digest of every frame that the policy saw and every action that it gave: equal traces are equal episodes, bit for bit.
    `film` (steps + 1, H, W, 3) uint8 is the agent view of every step, if the order asked for it.
    """

    success: bool
    steps: int
    inferences: int
    trace: str
    film: Array | None = field(default=None, repr=False)
    followed: bool | None = None
    """Whether the goal of `Order.meant` held in any step; None where there is none."""


@dataclass(frozen=True)
class Crash:
    """An exception that is no DtrError, as text."""

    message: str


def serve(connection: Connection, factory: Factory) -> None:
    """A worker's life: play orders until the pipe closes. It keeps its simulator while the scene stays the same."""
    end_with_parent()
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)  # nothing may ever ask a question here
    simulator: SimulatorLike | None = None
    scene: tuple[tuple[str, str, str], int] | None = None
    try:
        while True:
            order: Order = connection.recv()
            if scene != (order.task.scene, order.image_size):
                if simulator is not None:
                    simulator.close()
                simulator, scene = factory(order.task, order.image_size), (order.task.scene, order.image_size)
            assert simulator is not None
            if order.task.perturbation is not None and isinstance(simulator, DisturbedLike):
                simulator.disturb(order.task.perturbation)
            connection.send(play(simulator, order, connection))
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return  # the owner is done, or gone
    except DtrError as error:
        connection.send(error)
    except Exception as error:
        connection.send(Crash(f"{type(error).__name__}: {error}"))
        raise
    finally:
        if simulator is not None:
            simulator.close()


def play(simulator: SimulatorLike, order: Order, policy: Connection) -> Finished:
    """One episode: look, ask for a chunk of actions, execute it unseen, until the goal holds or the steps are used up."""
    simulator.reset(order.state, order.key.seed, order.settle_steps)
    frame = simulator.observe()
    film, trace = [frame.images[0]], hashlib.sha256()
    steps = inferences = 0
    success = False
    watch = None if order.meant is None else Watch(simulator, order.meant[1])
    while True:
        policy.send(frame)
        actions: Array = policy.recv()
        inferences += 1
        for part in (frame.images, frame.state, actions):
            trace.update(np.ascontiguousarray(part).tobytes())
        due = actions[: order.max_steps - steps]
        for part in np.split(due, len(due)) if order.film else (due,):
            done, success = execute(simulator, part, watch)
            steps += done
            if order.film:
                frame = simulator.observe()
                film.append(frame.images[0])
            if success:
                break
        if success or steps >= order.max_steps:
            followed = None if watch is None else watch.held
            return Finished(success, steps, inferences, trace.hexdigest()[:16], np.stack(film) if order.film else None, followed)
        if not order.film:
            frame = simulator.observe()


def execute(simulator: SimulatorLike, actions: Array, watch: Watch | None = None) -> tuple[int, bool]:
    """Step through actions (k, A) until the goal holds: how many were executed, and whether it does."""
    if isinstance(simulator, ChunkwiseLike):
        return simulator.execute(actions)
    for done, action in enumerate(actions, 1):
        success = simulator.step(action)
        if watch is not None:
            watch.look()
        if success:
            return done, True
    return len(actions), False


class Watch:
    """`held`: whether the goal of another task has held in any step that was looked at."""

    def __init__(self, simulator: SimulatorLike, goal: Goal) -> None:
        """TypeError for a simulator that cannot judge: orders for it name no other goal."""
        if not isinstance(simulator, JudgingLike):
            raise TypeError(f"{type(simulator).__name__} cannot say whether another task's goal holds")
        self.simulator, self.goal, self.held = simulator, goal, False

    def look(self) -> None:
        """Now."""
        self.held = self.held or self.simulator.holds(self.goal)
