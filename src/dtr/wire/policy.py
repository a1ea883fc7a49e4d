"""A client of a policy server (`dtr serve`). The conversation, the server's words indented:

    hello     what is offered and what is expected
act           images, state; instruction, episode
    actions   actions; latency_ms           or: error   message
act ...       (or close: good-bye)
"""

from __future__ import annotations

from dataclasses import MISSING, dataclass, fields
from types import TracebackType

import numpy as np

from dtr.errors import BadMessage, Unreachable
from dtr.robots import DEFAULT
from dtr.wire.address import connect, parse_address
from dtr.wire.message import Array, Channel, Message, check_hello

OFFERS, VERSION = "policy", 1


@dataclass(frozen=True)
class PolicyHello:
    """What a policy server says of itself: `policy` its class, `sha256` of its file.

    It expects `cameras` square images of `image_size` pixels and `state_dim` numbers, and answers with `chunk` actions of `action_dim`
    numbers. `rows` of every padded batch. Where `image_path` is not "exact" the policy makes its pictures of `image_size` itself, and
    expects them as they are drawn, of any size: 256 pixels in the official evaluations of LIBERO. `robot`: what the numbers of state and
    actions mean (`dtr.robots`). A server that names neither path nor robot is of a time when there was one of each.
    """

    policy: str
    sha256: str
    cameras: int
    image_size: int
    state_dim: int
    chunk: int
    action_dim: int
    rows: int
    image_path: str = "exact"
    robot: str = DEFAULT


@dataclass(frozen=True)
class Answer:
    """`actions` (chunk, action_dim) float64, as the hello's `robot` takes them; `latency_ms` from the request's arrival to the answer's
    departure."""

    actions: Array
    latency_ms: float


class PolicyClient:
    """One connection to a policy server at `HOST:PORT` or at the path of a Unix socket. Not for several threads at once."""

    def __init__(self, address: str, timeout_s: float | None = 60.0) -> None:
        """Connect. Raises Unreachable, or BadMessage when something else answers there."""
        self.address = parse_address(address)
        self.channel = Channel(connect(self.address))
        try:
            self.channel.peer.settimeout(timeout_s)
            words = check_hello(self.receive(), OFFERS, VERSION, self.address)
            if missing := [f.name for f in fields(PolicyHello) if f.default is MISSING and f.name not in words]:
                raise BadMessage(f"the policy server at {self.address} lacks {', '.join(missing)} in its hello: see docs/serving.md.")
            self.hello = PolicyHello(**{f.name: words[f.name] for f in fields(PolicyHello) if f.name in words})
        except BaseException:
            self.close()
            raise

    def act(self, images: Array, state: Array, instruction: str, episode: str = "") -> Answer:
        """Ask for the next chunk. images (cameras, S, S, 3) uint8, S as `PolicyHello` says; state (state_dim,).

        `episode` is any text; it chooses the request's row of the padded batch, so equal requests of one episode have equal answers.
        Raises BadMessage with the server's sentence when it refuses (ask again), Unreachable when it has gone.
        """
        arrays = {"images": np.asarray(images), "state": np.asarray(state)}
        try:
            self.channel.send("act", arrays, instruction=instruction, episode=episode)
        except OSError as error:
            raise self.lost(error) from error
        answer = self.receive()
        if answer.kind != "actions":
            raise BadMessage(str(answer.words.get("message", f"expected actions from {self.address}, got {answer.kind}.")))
        return Answer(answer.arrays["actions"], float(answer.words["latency_ms"]))

    def receive(self) -> Message:
        """The server's next message. Raises Unreachable when it has gone or says nothing in time."""
        try:
            return self.channel.receive()
        except (EOFError, OSError) as error:
            raise self.lost(error) from error

    def lost(self, error: Exception) -> Unreachable:
        """What a connection that ended is called."""
        return Unreachable(f"the policy server at {self.address} has gone ({error}): start it again and connect anew.")

    def close(self) -> None:
        """Say good-bye."""
        self.channel.close()

    def __enter__(self) -> PolicyClient:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()
