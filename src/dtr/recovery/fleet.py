"""Several processes with a device each, that train one policy together: how they are started, meet, agree and end.

`dtr recover --gpus N` starts N copies of itself on this machine and waits for them; a copy that dies, or the end of the command itself,
ends them all, so nobody waits for ever. Started by torchrun (or anything that sets RANK, WORLD_SIZE, MASTER_ADDR, MASTER_PORT), over
several machines say, each process is one of the fleet already, and whoever started them watches over them.

What the processes say to each other goes over gloo, gradients and weights over nccl on GPUs (over gloo on CPUs, where this is tested).
"""

from __future__ import annotations

import argparse
import contextlib
import multiprocessing
import os
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkProcess
from multiprocessing.synchronize import Event
from typing import Any

import torch
import torch.distributed as dist
from torch._C._distributed_c10d import HashStore
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh

from dtr.errors import BadConfig, DtrError, Interrupted
from dtr.lifeline import end_with_parent, fork
from dtr.policies.device import broken, probe
from dtr.recovery.interruption import Interruption

PATIENCE = timedelta(hours=2)
"""How long a process waits for another: while one reads and prepares the data, all the others do."""


@dataclass(frozen=True)
class Fleet:
    """This process's place among `size` of them; `rank` 0 leads. `wish`: set when whoever started them was asked to stop."""

    rank: int
    size: int
    mesh: DeviceMesh
    wish: Event | None = None

    @property
    def leads(self) -> bool:
        """Whether this process reports and writes."""
        return self.rank == 0

    @property
    def asked(self) -> bool:
        """Whether the starter wants all to stop."""
        return self.wish is not None and self.wish.is_set()

    def mine(self, shards: int) -> range:
        """The shards of this process."""
        return range(self.rank, shards, self.size)

    def sum(self, *numbers: float) -> list[float]:
        """The sums over all processes, which wait for each other here."""
        table = torch.tensor(numbers, dtype=torch.float64, device="cpu")
        dist.all_reduce(table)
        sums: list[float] = table.tolist()
        return sums

    def meet(self) -> None:
        """Wait until all processes are here."""
        self.sum(0.0)

    def leaders(self, text: str) -> str:
        """What the leader gives; the others' is not looked at."""
        said = [text]
        dist.broadcast_object_list(said, src=0, device=torch.device("cpu"))
        return said[0]


def check_fleet(args: argparse.Namespace, shards: int) -> None:
    """Raise BadConfig when so many devices cannot share a batch of so many shards; MissingLibrary when there are no such devices."""
    asked = 1 if args.gpus is None else args.gpus
    size = int(os.environ.get("WORLD_SIZE", str(asked)))
    if args.gpus is not None and size != asked:
        raise BadConfig(f"--gpus {args.gpus} contradicts the {size} processes that torchrun started: leave --gpus out.")
    if args.processes != 1:
        raise BadConfig(f"training on {args.device} takes one process a device, got --processes {args.processes}: say --gpus instead.")
    if size < 1 or shards % size:
        raise BadConfig(
            f"each of {size} devices must get the same number of the recipe's {shards} shards: set the recipe's shards to a multiple of "
            f"{size} that divides its batch, or choose another --gpus."
        )


@contextlib.contextmanager
def working(args: argparse.Namespace, shards: int) -> Iterator[bool]:
    """Give `args` its `fleet`, None where the CPU's own processes train. False when copies were started, and have done all the work."""
    outside, own = "WORLD_SIZE" in os.environ, args.device == "cpu" and args.gpus is None
    if "fleet" in args or (own and not outside):  # this is a copy, or needs none
        args.fleet = getattr(args, "fleet", None)
        yield True
        return
    check_fleet(args, shards)
    if not outside and (args.gpus or 1) > 1:
        watch(args, args.gpus)
        yield False
        return
    args.fleet = join(args.device, int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1")), "env://" if outside else None)
    try:
        yield True
    finally:
        dist.destroy_process_group()


def join(device: str, rank: int, size: int, meeting: str | None, wish: Event | None = None) -> Fleet:
    """Become process `rank` of `size`. `meeting`: the address of torch.distributed where they find each other, None for one alone."""
    kind, _, number = device.partition(":")
    if kind == "cuda":
        local = int(number or 0) + int(os.environ.get("LOCAL_RANK", str(rank)))  # cuda:2 with two processes: GPUs 2 and 3
        if local >= torch.cuda.device_count():
            raise broken(device, f"process {rank} of {size} needs GPU {local}, torch sees {torch.cuda.device_count()}")
        torch.cuda.set_device(local)
    probe(f"cuda:{local}" if kind == "cuda" else device)
    found: dict[str, Any] = {"store": HashStore()} if meeting is None else {"init_method": meeting}
    backend = "cpu:gloo,cuda:nccl" if kind == "cuda" else "gloo"
    dist.init_process_group(backend, timeout=PATIENCE, world_size=size, rank=rank, **found)
    return Fleet(rank, size, init_device_mesh(kind, (size,)), wish)


def watch(args: argparse.Namespace, size: int) -> None:
    """Run the verb in `size` copies of this process. Raises what the first of them raised, or DtrError when one died."""
    context = multiprocessing.get_context("fork")
    wish, copies, pipes = context.Event(), list[ForkProcess](), list[Connection]()
    with tempfile.TemporaryDirectory() as folder, Interruption() as interruption:
        try:
            for rank in range(size):
                ours, theirs = context.Pipe(duplex=False)
                copies.append(fork(copy, args, rank, size, f"file://{folder}/meeting", wish, theirs))
                theirs.close()
                pipes.append(ours)
            while any(copy.is_alive() for copy in copies) and not any(copy.exitcode for copy in copies):
                wait([copy.sentinel for copy in copies if copy.is_alive()], timeout=0.2)
                if interruption.asked:
                    wish.set()
            if failed := [copy for copy in copies if copy.exitcode]:
                failed[0].join()
                raise reason(copies, pipes, interruption.asked)
        finally:
            for each in copies:
                each.kill()
                each.join()


def reason(copies: Sequence[ForkProcess], pipes: Sequence[Connection], asked: bool) -> DtrError:
    """Why a copy ended: what one of them said, or its exit code."""
    wait(pipes, timeout=2)  # all of them say the same when the recipe is at fault
    for pipe in pipes:
        try:
            said: DtrError | None = pipe.recv() if pipe.poll() else None
        except EOFError:
            continue
        if said is not None:
            return said
    if asked:
        return Interrupted("training was stopped: the same command goes on from the last saved state.")
    return DtrError(
        f"a training process died (exit codes {[copy.exitcode for copy in copies]}; -9 is often a lack of memory): run the same command "
        "again, it goes on from the last saved state."
    )


def copy(args: argparse.Namespace, rank: int, size: int, meeting: str, wish: Any, told: Connection) -> None:
    """The life of a copy: the terminal's signals go to the starter alone."""
    os.setpgid(0, 0)
    end_with_parent()
    try:
        args.fleet = join(args.device, rank, size, meeting, wish)
        args.run(args)
    except DtrError as error:
        told.send(error)
        raise SystemExit(2) from error
