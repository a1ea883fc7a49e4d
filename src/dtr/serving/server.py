"""A policy that answers over a socket. One thread a client reads, checks and prepares; the policy itself runs in one thread, in batches."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict

import numpy as np
import torch

from dtr.errors import BadMessage, DtrError
from dtr.policies.base import Batch, Observation
from dtr.policies.file import LoadedPolicy
from dtr.policies.processor import EXACT
from dtr.robots import robot
from dtr.serving.desk import Desk, Request, row_of
from dtr.wire.message import Array, Channel, Message
from dtr.wire.policy import OFFERS, VERSION, PolicyHello

LONGEST = 10_000
"""Characters of the longest instruction."""
EXPECTS = {
    "images": "uint8 (cameras, image_size, image_size, 3), of any size where image_path is not exact: agent view, wrist view, upright",
    "state": "float32 (state_dim): {state}",
    "instruction": "text",
    "episode": "text; it chooses the row of the padded batch",
}
ANSWERS = {
    "actions": "float64 (chunk, action_dim) {limit}: {actions}",
    "latency_ms": "from the request's arrival to the answer's departure",
}
"""Both are told with the words of the policy's robot (`dtr.robots`) filled in."""


class PolicyServer:
    """Serves one policy; `sha256` of its file. `run` in one thread, `stop` from any other."""

    def __init__(self, loaded: LoadedPolicy, sha256: str, rows: int = 1, patience_s: float = 0.005) -> None:
        self.policy, self.processor = loaded.policy.eval(), loaded.processor
        p = self.processor
        cameras, state_dim = p.pictures(self.policy.config.images), len(p.proprio_bounds.mask)
        self.hello = PolicyHello(
            self.policy.name, sha256, cameras, p.image_size, state_dim, p.chunk, p.action_dim, rows, p.image_path, p.robot
        )
        self.desk = Desk(rows, patience_s)
        self.served = 0
        self.lock = threading.Lock()
        self.channels: dict[Channel, threading.Thread] = {}

    def run(self, listener: socket.socket) -> None:
        """Answer until `stop` is called or an exception comes (KeyboardInterrupt): then every connection and thread is ended."""
        doorman = threading.Thread(target=self.welcome, args=(listener,), name="doorman")
        doorman.start()
        try:
            while group := self.desk.take():
                for request, actions in zip(group, self.infer(group), strict=True):
                    self.desk.answer(request, actions)
                self.served += len(group)
        finally:
            self.desk.close()
            listener.shutdown(socket.SHUT_RDWR)  # wakes the doorman
            doorman.join()
            with self.lock:
                left = dict(self.channels)
            for channel in left:
                channel.end()
            for thread in left.values():
                thread.join()

    def stop(self) -> None:
        """Let `run` return."""
        self.desk.close()

    def infer(self, group: Sequence[Request]) -> list[Array]:
        """Requests of equal shapes to actions (chunk, A) each. Rows that nobody asked for hold a copy of one that somebody did."""
        owners = {request.row: request for request in group}
        samples = [owners.get(row, group[0]).batch for row in range(self.hello.rows)]
        batch: Batch = {name: torch.cat([sample[name] for sample in samples]).to(self.policy.device) for name in samples[0]}
        actions = self.processor.actions(self.policy.act(batch))
        return [actions[request.row] for request in group]

    def welcome(self, listener: socket.socket) -> None:
        """The doorman's thread: one thread for every client that comes."""
        while True:
            try:
                peer, _ = listener.accept()
            except OSError:
                return  # the server has closed
            channel = Channel(peer)
            thread = threading.Thread(target=self.converse, args=(channel,), name="client")
            with self.lock:
                self.channels[channel] = thread
            thread.start()

    def converse(self, channel: Channel) -> None:
        """A client's thread: its requests one after the other, until it goes or the server closes."""
        self.desk.join(+1)
        try:
            expects, answers = told(EXPECTS, self.hello.robot), told(ANSWERS, self.hello.robot)
            channel.send("hello", offers=OFFERS, version=VERSION, **asdict(self.hello), expects=expects, answers=answers)
            while not self.desk.closed:
                try:
                    self.reply(channel)
                except DtrError as error:
                    channel.send("error", message=str(error))
        except (EOFError, OSError):
            pass  # the client has gone
        finally:
            self.desk.join(-1)
            channel.close()
            with self.lock:
                del self.channels[channel]

    def reply(self, channel: Channel) -> None:
        """Read one request and answer it. Raises BadMessage, or what else the user can mend, when it is none; EOFError at the end."""
        message = channel.receive()
        arrived = time.perf_counter()
        request = self.prepare(message)
        actions = self.desk.ask(request)
        if actions is None:
            raise EOFError("the server closes")
        if not np.isfinite(actions).all():
            raise BadMessage("the policy has answered with a number that is not finite: do not move, and check its file.")
        channel.send("actions", {"actions": actions}, latency_ms=1000 * (time.perf_counter() - arrived))

    def prepare(self, message: Message) -> Request:
        """A request as the policy's inputs, alone: what is wrong with it is found before it meets others. Raises BadMessage, BadConfig."""
        h, arrays = self.hello, message.arrays
        if message.kind != "act":
            raise BadMessage(f"expected a message of kind 'act', got {message.kind!r}: see docs/serving.md.")
        instruction, episode = message.words.get("instruction"), message.words.get("episode", "")
        if not isinstance(instruction, str) or not isinstance(episode, str) or not 0 < len(instruction) <= LONGEST:
            raise BadMessage(f"expected an instruction of 1 to {LONGEST} characters and an episode's name, both text: correct the request.")
        images, state = arrays.get("images", np.empty(0)), arrays.get("state", np.empty(0))
        shape = (h.cameras, h.image_size, h.image_size, 3)
        as_drawn = h.image_path != EXACT and images.ndim == 4 and images.shape[::3] == shape[::3] and 0 < images.shape[1] == images.shape[2]
        if images.dtype != np.uint8 or not (images.shape == shape or as_drawn):
            raise BadMessage(f"expected images uint8 {shape}, got {images.dtype} {images.shape}: render them so.")
        if state.shape != (h.state_dim,) or state.dtype.kind not in "fiu" or not np.isfinite(state).all():
            raise BadMessage(f"expected a state of {h.state_dim} finite numbers, got {state.dtype} {state.shape}: correct the request.")
        observation = Observation(images, state.astype(np.float32), instruction)
        return Request(self.processor.fixed([instruction]).inputs([observation]), row_of(episode, h.rows))


def told(words: Mapping[str, str], name: str) -> dict[str, str]:
    """`words` with what the numbers of the robot `name` mean."""
    meant = robot(name)
    limit = "that are finite" if meant.limit is None else f"in [-{meant.limit:g}, {meant.limit:g}]"
    return {key: text.format(state=", ".join(meant.state), actions=", ".join(meant.actions), limit=limit) for key, text in words.items()}
