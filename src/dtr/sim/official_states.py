"""LIBERO's fixed initial states as plain arrays: converted once from the pickles that its package ships, and known by their hashes.

A pickle may run code when it is read, and reads otherwise under another NumPy or torch. So each file is read once, by a loader that knows
arrays and nothing else, compared with the hash in `libero_states.txt`, and kept beside its suite in one `.npz`. The manifest's first
column is git's id of the file in LIBERO's repository: hf-libero 0.1.4 ships all 40 unchanged.
"""

from __future__ import annotations

import hashlib
import pickle
import zipfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from dtr.errors import MissingAssets
from dtr.provenance import atomic_path
from dtr.sim.setup import cache_dir, libero_root

MANIFEST = Path(__file__).parent / "libero_states.txt"


@dataclass(frozen=True)
class Known:
    """What the manifest says of one task: git's id of the pickle, SHA-256 of the array in it."""

    blob: str
    sha256: str


@cache
def manifest() -> dict[str, Known]:
    """`<suite>/<task>` -> hashes."""
    lines = MANIFEST.read_text(encoding="utf-8").splitlines()[1:]
    return {name: Known(blob, digest) for blob, digest, name in (line.split(" ") for line in lines)}


def suites() -> list[str]:
    """The suites of the manifest."""
    return sorted({name.split("/")[0] for name in manifest()})


def array_sha256(states: np.ndarray) -> str:
    """Of type, shape and bytes."""
    return hashlib.sha256(f"{states.dtype.str} {states.shape}".encode() + np.ascontiguousarray(states).tobytes()).hexdigest()


def official_states(suite: str, task: str) -> np.ndarray:
    """(50, 1 + nq + nv) of a task, from the plain arrays; they are converted when they are not there yet. Raises MissingAssets."""
    path = cache_dir("libero_states") / f"{suite}.npz"
    if not path.is_file():
        convert(suite, path)
    try:
        with np.load(path) as arrays:
            states: np.ndarray = arrays[task]
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise MissingAssets(f"no initial states of {suite}/{task} in {path} ({error}): delete the file, it is made again.") from error
    return check(f"{suite}/{task}", states, path)


def convert(suite: str, out: Path, folder: Path | None = None) -> int:
    """Write `out` from the pickles in `folder` (default: the installed package's); how many tasks. Raises MissingAssets."""
    folder = folder or libero_root() / "init_files" / suite
    names = [name for name in manifest() if name.startswith(f"{suite}/")]
    arrays = {}
    for name in names:
        path = folder / f"{name.split('/')[1]}.pruned_init"
        arrays[name.split("/")[1]] = check(name, read_pickle(path), path)
    if not arrays:
        raise MissingAssets(f"no initial states of {suite} are known: choose one of {', '.join(suites())}.")
    with atomic_path(out) as temporary, open(temporary, "wb") as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]
    return len(arrays)


def read_pickle(path: Path) -> np.ndarray:
    """The array of one of LIBERO's files; nothing in it is executed. Raises MissingAssets."""
    import torch
    from numpy._core.multiarray import _reconstruct

    known: list[Any] = [(_reconstruct, "numpy.core.multiarray._reconstruct"), _reconstruct, np.ndarray, np.dtype, np.dtypes.Float64DType]
    try:
        with torch.serialization.safe_globals(known):
            return np.asarray(torch.load(path, weights_only=True))
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        said = str(error).splitlines()[0]
        raise MissingAssets(f"expected LIBERO's initial states at {path}, but it does not read ({said}): reinstall hf-libero.") from error


def check(name: str, states: np.ndarray, path: Path) -> np.ndarray:
    """`states` of `<suite>/<task>`. Raises MissingAssets for others than the official ones."""
    expected, found = manifest()[name].sha256, array_sha256(states)
    if found != expected:
        raise MissingAssets(f"the initial states of {name} in {path} are not LIBERO's: expected SHA-256 {expected}, got {found}.")
    return states
