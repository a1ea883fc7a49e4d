"""Parallel closed-loop evaluation: one process owns the policy, every worker process owns one simulator.

    worker 1   step step step . look | wait |  step step step ...
    worker 2   . look |  wait  | step step step step . look ...
    owner                 [infer rows 1, 2]            [infer ...

Requests are answered in padded batches of one fixed shape, and each episode owns one row of it (`Protocol.row`). A row's rounding
depends on the batch's shape and on the row's place, not on its neighbours (tests/unit/test_rollout_inference.py), so the records are
the same, bit for bit, for any number of workers and any order of arrival.

A worker that crashes or hangs is replaced and its episode played once more; the second time the episode ends as `error`.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import TYPE_CHECKING

from dtr.errors import DtrError
from dtr.rollout.protocol import Protocol
from dtr.rollout.schedule import Schedule
from dtr.rollout.worker import Array, Crash, Factory, Finished, Order, build_simulator, serve

if TYPE_CHECKING:
    from dtr.sim.simulator import Frame

Infer = Callable[[Mapping[int, tuple["Frame", str]]], Mapping[int, Array]]
"""Row -> (frame, instruction) to row -> environment actions (chunk, A), A of the robot that is played."""

ATTEMPTS = 2
PATIENCE_S = 0.1


@dataclass(frozen=True)
class Result:
    """How an order ended: `finished`, or else what went wrong on the last attempt."""

    order: Order
    finished: Finished | None
    error: str | None


class Hand:
    """The owner's side of one worker process: what it plays, and since when it owes an answer."""

    def __init__(self, factory: Factory) -> None:
        self.factory = factory
        self.order: Order | None = None
        self.frame: Frame | None = None
        self.attempts = 0
        self.start()

    def start(self) -> None:
        """A fresh process. Spawned, not forked: a simulator's GL context and torch's threads do not survive a fork."""
        context = multiprocessing.get_context("spawn")
        self.connection: Connection
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=serve, args=(theirs, self.factory), daemon=True)
        self.process.start()
        theirs.close()

    @property
    def working(self) -> bool:
        """Whether it owes an answer: it builds, resets or steps."""
        return self.order is not None and self.frame is None

    def give(self, message: Order | Array) -> None:
        """Send an order or actions; a process that is already dead is noticed when its answer is read."""
        self.frame, self.since = None, time.monotonic()
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self.connection.send(message)

    def play(self, order: Order) -> None:
        """Start on a new order."""
        self.order, self.attempts = order, 1
        self.give(order)

    def retry(self) -> None:
        """Start the same order again, in a new process."""
        assert self.order is not None
        self.attempts += 1
        self.give(self.order)

    def answer(self) -> Frame | Finished | Crash | DtrError:
        """The next message; a Crash when the process died instead."""
        try:
            message: Frame | Finished | Crash | DtrError = self.connection.recv()
        except (EOFError, OSError):  # OSError: it died in the middle of a message
            self.process.join(5)
            return Crash(f"the worker process ended with exit code {self.process.exitcode}")
        return message

    def replace(self) -> None:
        """A new process in place of this one."""
        self.dismiss(0)
        self.start()

    def dismiss(self, grace_s: float) -> None:
        """End the process: closing the pipe asks it to go, after `grace_s` it is killed."""
        self.connection.close()
        self.process.join(grace_s)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()
        self.process.close()


class Engine:
    """Plays orders with `workers` simulators and one policy.

    More workers than cores is sensible: while some wait for an inference, the others keep the cores busy. An inference starts when
    every row is asked for, when nobody is left who could ask, or when a request has waited PATIENCE_S.
    A worker that gives no sign (a frame comes every chunk) for `hang_s` seconds counts as hung; building a simulator is in that time.
    """

    def __init__(
        self,
        infer: Infer,
        protocol: Protocol,
        workers: int,
        factory: Factory = build_simulator,
        hang_s: float = 300.0,
    ) -> None:
        self.infer, self.protocol, self.workers, self.factory = infer, protocol, workers, factory
        self.hang_s = hang_s

    def run(self, orders: Sequence[Order]) -> Generator[Result, None, None]:
        """Play every order; yields results as they come. Raises the DtrError of a worker (no GL library, ...) at once."""
        schedule = Schedule(orders)
        crew = [Hand(self.factory) for _ in range(min(self.workers, len(orders)))]
        grace_s = 0.0
        try:
            for hand in crew:
                self.engage(hand, schedule)
            while any(hand.order for hand in crew):
                for hand in self.heard(crew):
                    result = self.hear(hand)
                    if result is not None:
                        self.engage(hand, schedule)
                        yield result
                self.serve(crew)
            grace_s = 5.0
        finally:
            for hand in crew:
                hand.dismiss(grace_s)

    def engage(self, hand: Hand, schedule: Schedule) -> None:
        """Give a free worker its next order, if there is one."""
        order = schedule.next(hand.order.task.scene if hand.order else None)
        if order is None:
            hand.order = hand.frame = None
        else:
            hand.play(order)

    def heard(self, crew: Sequence[Hand]) -> list[Hand]:
        """The workers that have said something or have been silent for too long; waits a moment for the first."""
        working = {hand.connection: hand for hand in crew if hand.working}
        pending = any(hand.frame is not None for hand in crew)
        spoken = {working[c] for c in wait(list(working), PATIENCE_S if pending else 1.0) if isinstance(c, Connection)}
        now = time.monotonic()
        return [hand for hand in working.values() if hand in spoken or now - hand.since > self.hang_s]

    def hear(self, hand: Hand) -> Result | None:
        """Take in one message, or notice the lack of one. Returns how the order ended, if it did."""
        assert hand.order is not None
        spoken = hand.connection.poll()
        message = hand.answer() if spoken else Crash(f"no sign of progress for {self.hang_s:.0f} s")
        if isinstance(message, DtrError):
            raise message
        if isinstance(message, Finished):
            return Result(hand.order, message, None)
        if not isinstance(message, Crash):
            hand.frame, hand.since = message, time.monotonic()
            return None
        hand.replace()
        if hand.attempts < ATTEMPTS:
            hand.retry()
            return None
        return Result(hand.order, None, message.message)

    def serve(self, crew: Sequence[Hand]) -> None:
        """Infer for the workers that wait, if it is time to. Two that own the same row wait for different batches."""
        rows: dict[int, Hand] = {}
        for hand in sorted((hand for hand in crew if hand.frame is not None), key=lambda hand: hand.since):
            assert hand.order is not None
            rows.setdefault(self.protocol.row(hand.order.key.task_index, hand.order.key.init_state), hand)
        if not rows:
            return
        full, alone = len(rows) == self.protocol.batch, not any(hand.working for hand in crew)
        oldest_s = time.monotonic() - min(hand.since for hand in rows.values())
        if not (full or alone or oldest_s >= PATIENCE_S):
            return
        requests = {row: (hand.frame, hand.order.instruction) for row, hand in rows.items() if hand.frame and hand.order}
        chunks = self.infer(requests)
        for row, hand in rows.items():
            hand.give(chunks[row][: self.protocol.chunk])
