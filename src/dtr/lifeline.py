"""Helper processes that end with the process that started them, however it ends: a killed stage leaves nobody at work."""

from __future__ import annotations

import contextlib
import gc
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import wait
from multiprocessing.context import ForkProcess
from typing import Any

from dtr.errors import DtrError


@contextlib.contextmanager
def helpers(count: int) -> Iterator[ProcessPoolExecutor]:
    """A pool of `count` processes, spawned, a fresh one for every task. An error or Ctrl-C in the block ends them at once.

    Left alone, an executor plays everything that was submitted before it lets an exception through, and a `multiprocessing.Pool` waits
    for ever for a process that was killed. Raises DtrError when one was.
    """
    pool = ProcessPoolExecutor(count, multiprocessing.get_context("spawn"), end_with_parent, max_tasks_per_child=1)
    try:
        yield pool
    except BaseException as error:
        _end(pool)
        if isinstance(error, BrokenProcessPool):
            raise DtrError("a helper process was killed (for lack of memory?): run the same command with fewer --processes.") from error
        raise
    finally:
        pool.shutdown()


def _end(pool: ProcessPoolExecutor) -> None:
    """Kill a pool's processes until it is at its end: a finished one may be replaced while the others are being killed.

    (`shutdown(wait=False)` would be shorter, but the executor's own thread then trips over what it has set to None: CPython 3.11.)
    """
    end = threading.Thread(target=pool.shutdown, kwargs={"wait": True, "cancel_futures": True})
    end.start()
    while end.is_alive():
        for child in multiprocessing.active_children():
            child.kill()
        end.join(0.02)


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
    """Call first in a helper (a pool's `initializer`): Ctrl-C is the parent's business, and the parent's end is ours."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_follow, args=(parent.sentinel,), daemon=True).start()


def _follow(sentinel: int) -> None:
    wait([sentinel])
    os._exit(1)
