"""The robot's end: `offer` lets `dtr rollout --robot` drive a robot or a foreign simulator. The conversation, the robot's words indented:

        hello     name, tasks, initial states, step limit, shapes
    reset         task, state, seed, settle_steps, image_size
        ready
    look
        frame     images, state
    step          actions (k, A)
        stepped   steps, success: it stops when the goal holds
    look ...      (or close: the episode was stopped)

Instead of an answer: `error` (this episode could not be run; it is played once more) or `refused` (the user has to mend something; the
run ends), each with a `message`.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from dtr.errors import BadMessage, DtrError
from dtr.robots import DEFAULT
from dtr.robots import robot as robot_of
from dtr.wire.address import Address, listening
from dtr.wire.message import Array, Channel, Message

OFFERS, VERSION = "robot", 1


@dataclass(frozen=True)
class RobotTask:
    """A task: `name` without blanks, `language` what the policy reads; `languages`, one an initial state, where they differ."""

    name: str
    language: str
    languages: tuple[str, ...] = ()


@dataclass(frozen=True)
class RobotHello:
    """What a robot says of itself.

    name: of its tasks together, as a suite is named. states: initial states of every task, numbered from 0. max_steps: control steps after
    which an episode has failed. scenes: any text that changes when results are not comparable any more (versions, assets, set-up).
    connections: how many episodes it can run at a time, each over a connection of its own. robot: what its numbers mean (`dtr.robots`).
    """

    name: str
    tasks: tuple[RobotTask, ...]
    states: int
    max_steps: int
    scenes: str
    cameras: int = 2
    state_dim: int = 8
    action_dim: int = 7
    connections: int = 1
    robot: str = DEFAULT


class EpisodeFailed(RuntimeError):
    """Raise it in a robot's method when this episode cannot be run: it is played once more, then it is an error, which is no failure."""


class Robot(Protocol):
    """What somebody brings who wants a robot to be driven. A DtrError that a method raises ends the run with its sentence."""

    hello: RobotHello

    def reset(self, task: str, state: int, seed: int, settle_steps: int, image_size: int) -> None:
        """Start an episode of `task` from its initial state `state`, and stand still for `settle_steps`."""

    def observe(self) -> tuple[Array, Array]:
        """Images (cameras, S, S, 3) uint8, agent view first, upright, S = image_size of the reset; state (state_dim,) float32."""

    def step(self, action: Array) -> bool:
        """One control step with `action` (action_dim,), within the robot's limit; whether the goal holds now."""

    def halt(self) -> None:
        """Nobody drives any more: the episode is over, or the connection was lost. Stop moving."""


def offer(robot: Robot, address: Address, announce: Callable[[Address], None] = lambda address: None) -> None:
    """Serve `robot` to one connection at a time until KeyboardInterrupt; `announce` is told the address when it can be reached.

    Raises Unreachable when the address is taken. An exception that is no DtrError and no EpisodeFailed is told to the other end and raised.
    """
    with listening(address) as (listener, found):
        announce(found)
        while True:
            peer, _ = listener.accept()
            with Channel(peer) as channel, contextlib.suppress(EOFError, OSError):
                converse(robot, channel)


def converse(robot: Robot, channel: Channel) -> None:
    """One connection, to its end. EOFError or OSError when the other end has gone."""
    try:
        channel.send("hello", offers=OFFERS, version=VERSION, **dataclasses.asdict(robot.hello))
        while True:
            try:
                request = channel.receive()
                reply(robot, request, channel)
            except EpisodeFailed as error:
                channel.send("error", message=str(error))
            except DtrError as error:
                channel.send("refused", message=str(error))
    finally:
        robot.halt()


def reply(robot: Robot, request: Message, channel: Channel) -> None:
    """Do what a request says and answer it."""
    try:
        kind, arrays, words = answer(robot, request)
    except (EpisodeFailed, DtrError):
        raise
    except Exception as error:
        channel.send("error", message=f"{type(error).__name__}: {error}")
        raise RuntimeError("the robot's own code failed; start its server again when that is mended") from error
    channel.send(kind, arrays, **words)


def answer(robot: Robot, request: Message) -> tuple[str, dict[str, Array], dict[str, Any]]:
    """Kind, arrays and words of the answer. Raises BadMessage when the request is none."""
    if request.kind == "reset":
        task, state, *others = (request.words.get(name) for name in ("task", "state", "seed", "settle_steps", "image_size"))
        numbers = [n for n in (state, *others) if isinstance(n, int)]
        if task not in [known.name for known in robot.hello.tasks] or len(numbers) < 4 or not 0 <= numbers[0] < robot.hello.states:
            raise BadMessage(
                f"reset expects a task of {robot.hello.name}, a state below {robot.hello.states}, a seed, settle_steps and image_size, "
                f"got {dict(request.words)}: correct the request."
            )
        robot.reset(str(task), numbers[0], numbers[1], numbers[2], numbers[3])
        return "ready", {}, {}
    if request.kind == "look":
        images, state = robot.observe()
        return "frame", {"images": np.asarray(images), "state": np.asarray(state)}, {}
    if request.kind == "step":
        actions = request.arrays.get("actions", np.empty(0))
        A, limit = robot.hello.action_dim, robot_of(robot.hello.robot).limit
        within = np.isfinite(actions) if limit is None else np.abs(actions) <= limit
        if actions.ndim != 2 or actions.shape[1] != A or len(actions) == 0 or not within.all():
            allowed = "that are finite" if limit is None else f"in [-{limit:g}, {limit:g}]"
            raise BadMessage(f"step expects actions (k, {A}) {allowed}, got {actions.shape}: nothing was moved.")
        for done, action in enumerate(actions, 1):
            if robot.step(action):
                return "stepped", {}, {"steps": done, "success": True}
        return "stepped", {}, {"steps": len(actions), "success": False}
    raise BadMessage(f"expected reset, look or step, got {request.kind!r}: see docs/serving.md.")
