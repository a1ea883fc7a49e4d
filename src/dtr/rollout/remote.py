"""A robot or a foreign simulator behind a socket (`dtr.wire.robot`), in the place of our simulator.

An initial state is a number here: only the robot knows what it means. A worker process holds one connection while it plays.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from dtr.errors import BadConfig, BadMessage, Unreachable
from dtr.robots import DEFAULT
from dtr.rollout.arena import Arena
from dtr.rollout.hello import read_hello, scenes_of
from dtr.rollout.worker import Array, SimulatorLike
from dtr.sim.simulator import Frame
from dtr.sim.suites import MAX_STEPS, Suite, Task
from dtr.wire.address import connect, parse_address
from dtr.wire.message import Channel, Message, check_hello
from dtr.wire.robot import OFFERS, VERSION, RobotHello

HELLO_S = 60.0


class RobotLost(RuntimeError):
    """The robot could not run this episode, or is not there any more: the episode is played once more, then it is an error."""


def greet(address: str) -> tuple[Channel, RobotHello]:
    """A connection to a robot, and what it says of itself. Raises Unreachable, BadMessage."""
    place = parse_address(address)
    channel = Channel(connect(place))
    try:
        channel.peer.settimeout(HELLO_S)
        hello = read_hello(check_hello(channel.receive(), OFFERS, VERSION, address), address)
        channel.peer.settimeout(None)  # how long a reset may take, only the robot knows; the engine's --hang-s guards it
        return channel, hello
    except (EOFError, OSError) as error:
        channel.close()
        raise Unreachable(f"a robot at {address} says no hello ({error}): see what its server says; somebody else may drive it.") from error
    except BaseException:
        channel.close()
        raise


def remote(address: str) -> tuple[Arena, RobotHello]:
    """The robot at `address` as a place to play in. Raises Unreachable, BadMessage; BadConfig when it is named like a suite of ours."""
    channel, hello = greet(address)
    channel.close()
    if hello.name in MAX_STEPS:
        raise BadConfig(f"the robot at {address} calls its tasks {hello.name!r}, which is a suite of this package: rename them.")
    tasks = tuple(Task(hello.name, i, task.name, task.language, Path()) for i, task in enumerate(hello.tasks))
    states = np.arange(hello.states, dtype=np.float64)[:, None]
    played = Suite(hello.name, tasks, hello.max_steps)
    told = {(task.name, state): text for task in hello.tasks for state, text in enumerate(task.languages)}
    return Arena(played, lambda task: states, partial(build_remote, address), scenes_of(hello), hello.connections, told), hello


def build_remote(address: str, task: Task, image_size: int) -> SimulatorLike:
    """The robot at `address`, about to play `task`."""
    return RemoteSimulator(address, task, image_size)


def check_shapes(hello: RobotHello, cameras: int, state_dim: int, action_dim: int, speaks: str = DEFAULT) -> None:
    """BadConfig when a policy of these shapes, that speaks of the robot `speaks`, cannot drive this one."""
    if speaks != hello.robot:
        raise BadConfig(f"this policy speaks of the robot {speaks}, but {hello.name} is {hello.robot}: use a policy made for it.")
    for what, expected, got in (
        ("cameras", cameras, hello.cameras),
        ("numbers of state", state_dim, hello.state_dim),
        ("numbers an action", action_dim, hello.action_dim),
    ):
        if expected != got:
            raise BadConfig(f"this policy expects {expected} {what}, but the robot {hello.name} has {got}: use a policy made for it.")


@dataclass
class RemoteSimulator:
    """What `dtr.sim.simulator.Simulator` is to a worker, at the other end of a connection."""

    address: str
    task: Task
    image_size: int

    def __post_init__(self) -> None:
        self.channel, self.hello = greet(self.address)

    def reset(self, state: Array, seed: int, settle_steps: int) -> None:
        """Start an episode from the initial state number state[0]."""
        numbers: dict[str, Any] = {"state": int(state[0]), "seed": seed, "settle_steps": settle_steps, "image_size": self.image_size}
        self.ask("reset", "ready", task=self.task.name, **numbers)

    def step(self, action: Array) -> bool:
        """One control step; True when the goal holds."""
        return self.execute(action[None])[1]

    def execute(self, actions: Array) -> tuple[int, bool]:
        """Step through actions (k, A) until the goal holds: how many were executed, and whether it does. One message, whatever k."""
        if not np.isfinite(actions).all():
            raise ValueError(f"actions are finite numbers, not {actions!r}")
        answer = self.ask("step", "stepped", {"actions": actions})
        steps, success = answer.words.get("steps"), answer.words.get("success")
        if not isinstance(steps, int) or not isinstance(success, bool) or not 0 < steps <= len(actions) or (steps < len(actions)) > success:
            raise BadMessage(
                f"the robot at {self.address} was given {len(actions)} steps and must say how many it made, and stop only at success, "
                f"got {dict(answer.words)}: mend its server."
            )
        return steps, success

    def observe(self) -> Frame:
        """What the robot sees now. BadMessage when it is of other shapes than were agreed on."""
        arrays, h, S = self.ask("look", "frame").arrays, self.hello, self.image_size
        images, state = arrays.get("images", np.empty(0)), arrays.get("state", np.empty(0))
        if images.shape != (h.cameras, S, S, 3) or images.dtype != np.uint8 or state.shape != (h.state_dim,):
            raise BadMessage(
                f"expected images uint8 {(h.cameras, S, S, 3)} and a state {(h.state_dim,)} of the robot at {self.address}, got "
                f"{images.dtype} {images.shape} and {state.shape}: mend its server, or the protocol's image_size."
            )
        if not np.isfinite(state).all():
            raise RobotLost(f"the robot at {self.address} has a state that is not finite: {state}")
        return Frame(images, state.astype(np.float32))

    def ask(self, kind: str, expected: str, arrays: Mapping[str, Array] | None = None, **words: Any) -> Message:
        """A request and its answer. RobotLost when the episode cannot go on, BadMessage when the user has to mend something."""
        try:
            self.channel.send(kind, arrays, **words)
            answer = self.channel.receive()
        except (EOFError, OSError) as error:  # not as they are: a worker takes them for its owner's end
            raise RobotLost(f"the robot at {self.address} has gone: {error}") from error
        if answer.kind == "error":
            raise RobotLost(f"the robot at {self.address} says: {answer.words.get('message')}")
        if answer.kind != expected:
            said = answer.words.get("message", f"{answer.kind!r} where {expected!r} was due")
            raise BadMessage(f"the robot at {self.address} refuses {kind!r}: {said}")
        return answer

    def close(self) -> None:
        """End the connection; the robot halts."""
        self.channel.close()
