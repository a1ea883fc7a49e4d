"""Where requests wait for the policy: one thread a client hands them in, one thread takes them out in batches.

    client 1   ask ....... wait | answer                 rows 0 and 2 of one padded batch
    client 2      ask ... wait | answer
    policy                [infer      ]

A request owns one row, a function of its episode's name, and a batch holds requests of equal shapes only. So the shape of the batch and
the place in it, on which an answer's bits depend (`dtr.rollout.inference`), follow from the request and from nobody else's.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from dtr.policies.base import Batch
from dtr.provenance import sha256_bytes
from dtr.wire.message import Array

GLANCE_S = 0.5
"""How long the policy's thread sleeps at most: a signal that comes just before it falls asleep does not wake it (Python's locks)."""


def row_of(episode: str, rows: int) -> int:
    """The row of the padded batch that an episode owns."""
    return int(sha256_bytes(episode.encode())[:8], 16) % rows


@dataclass(eq=False)
class Request:
    """One sample, `batch` (1, ...), to be answered in row `row`; then `actions` (chunk, A) are set, and `done`."""

    batch: Batch
    row: int
    since: float = field(default_factory=time.monotonic)
    done: threading.Event = field(default_factory=threading.Event)
    actions: Array | None = None

    @property
    def shapes(self) -> tuple[tuple[str, tuple[int, ...]], ...]:
        """What two requests of one batch have in common."""
        return tuple(sorted((name, tuple(tensor.shape)) for name, tensor in self.batch.items()))


class Desk:
    """`rows` of every batch. A request waits `patience_s` for others, if there are clients that might ask."""

    def __init__(self, rows: int, patience_s: float) -> None:
        self.rows, self.patience_s = rows, patience_s
        self.changed = threading.Condition()
        self.waiting: list[Request] = []
        self.clients, self.closed = 0, False

    def ask(self, request: Request) -> Array | None:
        """Actions (chunk, A) for a request; None when the desk has closed."""
        with self.changed:
            if self.closed:
                return None
            self.waiting.append(request)
            self.changed.notify_all()
        request.done.wait()
        return request.actions

    def answer(self, request: Request, actions: Array) -> None:
        """Let a request's client go on."""
        request.actions = actions
        request.done.set()

    def join(self, count: int) -> None:
        """So many clients have come (or, below 0, gone)."""
        with self.changed:
            self.clients += count
            self.changed.notify_all()

    def take(self) -> Sequence[Request]:
        """The next batch, when it is due; nothing when the desk has closed."""
        with self.changed:
            while not self.closed:
                group = self.group()
                wait_s = self.due_in(group) if group else None
                if wait_s is not None and wait_s <= 0:
                    self.waiting = [request for request in self.waiting if request not in group]
                    return group
                self.changed.wait(GLANCE_S if wait_s is None else wait_s)
        return ()

    def group(self) -> list[Request]:
        """The oldest request and those that fit beside it: of its shapes, one a row, oldest first."""
        rows: dict[int, Request] = {}
        for request in self.waiting:
            if request.shapes == self.waiting[0].shapes:
                rows.setdefault(request.row, request)
        return list(rows.values())

    def due_in(self, group: Sequence[Request]) -> float:
        """Seconds that this group may still wait for company: none when it is full or nobody is left who could ask."""
        if len(group) == self.rows or len(self.waiting) >= self.clients:
            return 0.0
        return group[0].since + self.patience_s - time.monotonic()

    def close(self) -> None:
        """Let everybody go home; requests that wait get no answer."""
        with self.changed:
            self.closed = True
            for request in self.waiting:
                request.done.set()
            self.waiting = []
            self.changed.notify_all()
