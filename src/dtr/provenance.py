"""Where a file came from, and that it is whole: hashes, atomic writes, run records.

A file under its final name is complete: it is written beside itself under a temporary name, flushed to the disk and renamed.
What must be equal between equal runs is in the file; what differs (host, time, versions) is in `<file>.run.json` beside it.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import platform
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from dtr.errors import DiskFull


def sha256_bytes(data: bytes) -> str:
    """Hexadecimal SHA-256 of `data`."""
    return hashlib.sha256(data).hexdigest()


def sha256_file(path: str | Path) -> str:
    """Hexadecimal SHA-256 of a file, read in pieces."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def canonical_json(value: Any) -> str:
    """The one text of a JSON value: sorted keys, no NaN, a newline at the end. Equal values give equal bytes."""
    return json.dumps(value, sort_keys=True, indent=1, allow_nan=False, ensure_ascii=False) + "\n"


def digest(value: Any) -> str:
    """The first 16 hexadecimal digits of the hash of a JSON value: the name of a plan or of a configuration."""
    return sha256_bytes(canonical_json(value).encode())[:16]


@contextlib.contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """A temporary path to write to; on success it becomes `path` in one step, on any failure it vanishes.

    Raises DiskFull when the disk (or the user's quota) has no room; `path` is then as it was before.
    """
    final = Path(path)
    temporary = final.with_name(f".{final.name}.{os.getpid()}.tmp")
    try:
        final.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        os.chmod(temporary, 0o666 & ~_umask())  # safetensors writes 0600: a colleague could not read the policy
        os.replace(temporary, final)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DiskFull(f"no room on the disk for {final}: free some space there and run the same command again.") from error
        raise
    finally:
        temporary.unlink(missing_ok=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def write_text(path: str | Path, text: str) -> None:
    """Write `text` to `path` atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: str | Path, value: Any) -> None:
    """Write a JSON value to `path` atomically, in its canonical text."""
    write_text(path, canonical_json(value))


def write_run_record(path: str | Path, started: float, **facts: Any) -> None:
    """Write `<path>.run.json`: host, versions, wall seconds since `started` (time.time()) and any further `facts`."""
    record: dict[str, Any] = machine() | {"wall_s": round(time.time() - started, 3), "argv": sys.argv[1:]} | facts
    write_json(f"{path}.run.json", record)


def read_run_record(path: str | Path) -> Mapping[str, Any]:
    """The run record beside a file; empty when it is gone."""
    record = Path(f"{path}.run.json")
    return read_json(record) if record.is_file() else {}


def machine() -> dict[str, Any]:
    """What this machine is, as far as a result can depend on it."""
    from importlib.metadata import PackageNotFoundError, version

    versions: dict[str, str] = {}
    for name in ("torch", "numpy", "mujoco", "robosuite", "hf-libero"):
        with contextlib.suppress(PackageNotFoundError):
            versions[name] = version(name)
    return {
        "host": platform.node(),
        "cpu": cpu_model(),
        "cores": os.cpu_count() or 1,
        "python": platform.python_version(),
        "versions": versions,
        "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def cpu_model() -> str:
    """The processor's name as the kernel gives it, or the architecture."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.machine()


def read_json(path: str | Path) -> Mapping[str, Any]:
    """Read a JSON object."""
    with open(path, encoding="utf-8") as file:
        value: Mapping[str, Any] = json.load(file)
    return value
