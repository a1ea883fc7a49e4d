"""Several processes that compute one gradient, bit for bit as one process would.

A batch is cut into S shards. Process r of n computes shards r, r+n, r+2n, ... into rows of a shared table (S, P+1), one row a
shard: its gradient and its loss. Once all rows are there, every process adds them up in the order 0, 1, ... S-1 and takes the
same step on its own copy of the weights. Addition of floats is not associative: it is the fixed order that makes the number of
processes invisible. (Measured on two cores: two processes of one thread are faster than one process of two threads.)

Processes are forked, so the data are shared without a copy. A pipe from each helper to the leader is the only signal: it says
"my rows are written", answers "all are: go on" or "stop", and breaks when either end dies, so nobody waits for ever.
"""

from __future__ import annotations

import contextlib
import mmap
import multiprocessing
import os
import signal
from collections.abc import Callable
from multiprocessing.connection import Connection
from types import TracebackType

import torch
from torch import Tensor

from dtr.errors import BadConfig, DtrError
from dtr.lifeline import fork


def check_size(size: int, shards: int) -> None:
    """Raises BadConfig unless each of `size` processes has the same number of `shards` to compute."""
    if size < 1 or shards % size:
        raise BadConfig(f"the number of processes must divide the recipe's {shards} shards, got {size}: choose another --processes.")


class Team:
    """`size` processes; `rank` 0 leads. `with Team(n, S, P, work) as team:` runs `work(team)` in the helpers."""

    def __init__(self, size: int, shards: int, width: int, work: Callable[[Team], None]) -> None:
        """`width` P, the length of a gradient."""
        check_size(size, shards)
        self.size, self.shards, self.rank, self.work = size, shards, 0, work
        # Two tables in turn: while a slow process still reads step k, a fast one may write step k+1, but no further.
        self.memory = mmap.mmap(-1, 2 * shards * (width + 1) * 4)
        self.tables = torch.frombuffer(self.memory, dtype=torch.float32).view(2, shards, width + 1)
        self.turn = 0
        self.helpers: list[multiprocessing.context.ForkProcess] = []
        self.pipes: list[Connection] = []

    @property
    def mine(self) -> range:
        """The shards of this process."""
        return range(self.rank, self.shards, self.size)

    def put(self, shard: int, gradient: Tensor, loss: float) -> None:
        """Write one shard's row."""
        row = self.tables[self.turn, shard]
        row[:-1].copy_(gradient)
        row[-1] = loss

    def total(self, stop: bool = False) -> tuple[Tensor, float, bool]:
        """Wait for all rows; their sum (P,), the summed loss, and whether to stop after this step (the leader's `stop`, for all)."""
        stop = self.meet(stop)
        rows = self.tables[self.turn]
        self.turn = 1 - self.turn
        result = rows[0].clone()
        for row in rows[1:]:
            result += row
        return result[:-1], float(result[-1]), stop

    def meet(self, stop: bool) -> bool:
        """Wait until all processes are here."""
        try:
            if self.rank:
                self.pipes[0].send_bytes(b"here")
                return self.pipes[0].recv_bytes() == b"stop"
            for pipe in self.pipes:
                pipe.recv_bytes()
            for pipe in self.pipes:
                pipe.send_bytes(b"stop" if stop else b"on")
        except (EOFError, OSError) as error:
            if self.rank:
                os._exit(1)  # the leader is gone, there is nobody to tell
            for helper in self.helpers:
                helper.join(1)  # a dead one is not yet known to be dead
            codes = [helper.exitcode for helper in self.helpers]
            raise DtrError(
                f"a training process died (exit codes {codes}; -9 is often a lack of memory): run the same command again, it goes on "
                "from the last saved state."
            ) from error
        return stop

    def __enter__(self) -> Team:
        pairs = [multiprocessing.get_context("fork").Pipe() for _ in range(1, self.size)]
        for rank in range(1, self.size):
            self.helpers.append(fork(self.help, rank, pairs, daemon=True))
        for ours, theirs in pairs:
            theirs.close()
            self.pipes.append(ours)
        return self

    def help(self, rank: int, pairs: list[tuple[Connection, Connection]]) -> None:
        """The life of a helper: the signals of the terminal are the leader's business."""
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        for k, (ours, theirs) in enumerate(pairs, start=1):
            ours.close()
            if k != rank:
                theirs.close()
        self.rank, self.pipes = rank, [pairs[rank - 1][1]]
        with contextlib.suppress(DtrError):  # the leader, who computes the same, tells the user
            self.work(self)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for pipe in self.pipes:
            pipe.close()
        for helper in self.helpers:
            helper.join(10)
            if helper.is_alive():
                helper.kill()
