"""A fake robot or simulator in a process of its own, which says its address on the first line. Plain module."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from subprocess import PIPE, Popen

from dtr.wire.address import Address


@contextmanager
def fake(script: str, *words: str) -> Iterator[tuple[str, Popen[str]]]:
    """`python script words`: the address that it says, and the process, which ends with the block."""
    process = Popen([sys.executable, script, *words], stdout=PIPE, text=True)
    try:
        assert process.stdout is not None
        yield process.stdout.readline().strip(), process
    finally:
        process.kill()
        process.communicate()


def say(found: Address) -> None:
    """In that process: where it is."""
    print(found, flush=True)
