"""One run of the workflow at a time in a folder. Snakemake's own lock outlives a killed run; this one ends with the process."""

from __future__ import annotations

import fcntl
from pathlib import Path
from typing import IO

from dtr.errors import DtrError

LOCK = Path(".snakemake/running")
_held: list[IO[str]] = []


def alone() -> None:
    """Hold the lock as long as this process lives. Raises DtrError when another run has it."""
    LOCK.parent.mkdir(exist_ok=True)
    file = open(LOCK, "w")  # noqa: SIM115 (held until the process ends)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        file.close()
        raise DtrError("another run of this workflow is going on in this folder: wait for it, or stop it first.") from error
    _held.append(file)
