"""Helper processes that end with the process that started them, however it ends: a killed stage leaves nobody at work."""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkProcess, SpawnProcess
from multiprocessing.resource_tracker import ensure_running
from typing import Any, TypeVar, cast

from dtr.errors import DtrError

R = TypeVar("R")


def spread(body: Callable[..., R], jobs: Sequence[tuple[Any, ...]], processes: int, ended: Callable[[int], None]) -> list[R]:
    """`body(*job)` of every job, in their order; at most `processes` at a time, each in a spawned process of its own. `ended(k)` is called
    when job k is done. An error, Ctrl-C or a signal here ends them at once.

    They answer through pipes. An executor's queues hold named semaphores, and when this process is killed nobody takes them away but
    multiprocessing's tracker, which says on stderr that they leaked.
    """
    results, waiting, busy = dict[int, R](), list(enumerate(jobs))[::-1], dict[Connection, tuple[int, SpawnProcess]]()
    try:
        while waiting or busy:
            while waiting and len(busy) < max(1, processes):
                k, job = waiting.pop()
                _start(k, body, job, busy)
            for pipe in cast("list[Connection]", wait(list(busy))):
                k, process = busy[pipe]
                results[k] = _answer(pipe, process)
                process.join()
                del busy[pipe]
                ended(k)
    finally:
        for pipe, (_, process) in busy.items():
            process.kill()
            process.join()
            pipe.close()
    return [results[k] for k in range(len(jobs))]


def _start(k: int, body: Callable[..., Any], job: tuple[Any, ...], busy: dict[Connection, tuple[int, SpawnProcess]]) -> None:
    """Start job k; it is in `busy` afterwards, whatever signal comes in between, and was born deaf to Ctrl-C."""
    context = multiprocessing.get_context("spawn")
    pipe, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_play, args=(theirs, body, job), daemon=True)
    ensure_running()  # the tracker of `spawn`, which takes the mask away when it starts
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        process.start()
        busy[pipe] = k, process
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    theirs.close()


def _play(pipe: Connection, body: Callable[..., Any], job: tuple[Any, ...]) -> None:
    end_with_parent()
    try:
        pipe.send((None, body(*job)))
    except (DtrError, OSError) as error:  # anything else is a crash: it is printed here, and the other end hears nothing
        pipe.send((error, None))


def _answer(pipe: Connection, process: SpawnProcess) -> Any:
    """What a helper sent, or its error. Raises DtrError when it was killed."""
    try:
        error, result = pipe.recv()
    except EOFError:
        process.join()
        if (process.exitcode or 0) < 0:
            raise DtrError("a helper process was killed (for lack of memory?): run the same command with fewer --processes.") from None
        raise RuntimeError(f"a helper process crashed (exit code {process.exitcode}): its traceback stands above.") from None
    if error is not None:
        raise error
    return result


def fork(body: Callable[..., None], *args: Any, daemon: bool = False) -> ForkProcess:
    """Start a copy of this process that calls `body(*args)`; it has all that is in memory, and no other thread.

    What lies here for the garbage collector is never collected there: the end of a process group of torch.distributed, say, waits for
    threads that a fork does not copy, for ever.
    """
    process = multiprocessing.get_context("fork").Process(target=_begin, args=(body, *args), daemon=daemon)
    collects = gc.isenabled()
    gc.disable()  # nor between the fork and the first line of `_begin`
    try:
        process.start()
    finally:
        if collects:
            gc.enable()
    return process


def _begin(body: Callable[..., None], *args: Any) -> None:
    gc.freeze()
    gc.enable()
    body(*args)


def end_with_parent() -> None:
    """Call first in a helper: Ctrl-C is the parent's business, and the parent's end is ours."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_follow, args=(parent.sentinel,), daemon=True).start()


def _follow(sentinel: int) -> None:
    wait([sentinel])
    os._exit(1)
