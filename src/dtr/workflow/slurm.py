"""Jobs that a killed run left in Slurm's queue. They still write into this folder, so the next run ends them before it begins.

Nothing is lost but what a stage did since it last saved its state: that lies under work/, and the new job goes on from it.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from pathlib import Path

from dtr.errors import DtrError

PREFIX = "dtr_"
"""How our jobs' names begin (profiles/slurm: slurm-jobname-prefix)."""
LOGS = Path(".snakemake/slurm_logs")
"""Of the jobs that were submitted from a folder; Snakemake's plugin makes it before the first."""
GONE_S = 180.0
"""How long a cancelled job may take to end: Slurm's KillWait and a slow node."""


def end_orphans(folder: Path, gone_s: float = GONE_S) -> list[str]:
    """Cancel our jobs that work in `folder` and wait until they are gone; their numbers. Nothing where none was ever submitted.

    Call it while no other run works in the folder. Raises DtrError when the jobs do not end.
    """
    if not (folder / LOGS).exists() or shutil.which("squeue") is None:
        return []
    orphans = jobs_of(folder)
    if not orphans:
        return []
    print(f"ending {len(orphans)} Slurm jobs that a killed run left: {', '.join(orphans)}", file=sys.stderr)
    _slurm("scancel", *orphans)
    end = time.monotonic() + gone_s
    while jobs_of(folder):
        if time.monotonic() > end:
            raise DtrError(f"jobs {', '.join(orphans)} of a killed run do not end: see `squeue --me`, then run the same command again.")
        time.sleep(0.5)
    return orphans


def jobs_of(folder: Path) -> list[str]:
    """Our jobs that wait, run or are ending and whose working folder is `folder`."""
    lines = _slurm("squeue", "--me", "--noheader", "--format=%A|%j|%Z").splitlines()
    fields = [line.strip().split("|", 2) for line in lines]
    return sorted({job for job, name, where in fields if name.startswith(PREFIX) and Path(where).resolve() == folder.resolve()}, key=int)


def _slurm(*command: str) -> str:
    try:
        result = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True, timeout=120)
    except subprocess.CalledProcessError as error:
        raise DtrError(f"{command[0]} failed ({error.stderr.strip()}), so jobs of a killed run may still be at work: try again.") from error
    except subprocess.TimeoutExpired as error:
        raise DtrError(f"{command[0]} does not answer, so jobs of a killed run may still be at work: try again later.") from error
    return result.stdout
