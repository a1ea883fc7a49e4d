"""Pictures that stay on the disk until a batch draws them: for data sets that no memory holds (LIBERO's four suites: 107 GB decoded).

They stand where an array (N, C, H, W, 3) of bytes stands in a `Dataset`, and are indexed by rows. PNG bytes are copied once out of their
Parquet files, which can only be read a column at a time, into one flat file beside their offsets; films are read where they lie.
"""

from __future__ import annotations

import fcntl
import hashlib
import io
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dtr.errors import BadDemonstrations
from dtr.provenance import atomic_path

ASIDE = Path("work/pictures")
KEPT_BYTES = 4 * 2**30
"""Decoded pictures of a data set up to this size are held in memory, as all were once; of a larger one none is."""
Rows = NDArray[np.int64]
Bytes = NDArray[np.uint8]


class Stored(ABC):
    """Pictures (N, C, H, W, 3) uint8 on the disk. `digest`: a hash of all their encoded content."""

    dtype, ndim = np.dtype(np.uint8), 5

    def __init__(self, shape: tuple[int, ...], digest: str) -> None:
        self.shape, self.digest = shape, digest

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: Any) -> Bytes:
        """Decode the pictures of `rows`, integers of any shape or a slice: (*rows.shape, C, H, W, 3)."""
        chosen: Rows = np.arange(len(self))[rows]
        flat = self.read(chosen.reshape(-1))
        return flat.reshape(*chosen.shape, *self.shape[1:])

    @abstractmethod
    def read(self, rows: Rows) -> Bytes:
        """(B,) -> (B, C, H, W, 3). BadDemonstrations for a picture that does not read."""


class Joined(Stored):
    """Several, arrays or stored, one behind the other. `digest`: of theirs, which for an array is of all its bytes."""

    def __init__(self, parts: Sequence[Stored | Bytes]) -> None:
        self.parts = parts
        self.starts = np.cumsum([0, *(len(part) for part in parts)])
        hashes = "".join(p.digest if isinstance(p, Stored) else hashlib.sha256(np.ascontiguousarray(p).data).hexdigest() for p in parts)
        super().__init__((int(self.starts[-1]), *parts[0].shape[1:]), hashlib.sha256(hashes.encode()).hexdigest())

    def read(self, rows: Rows) -> Bytes:
        """Each part its own rows."""
        out = np.empty((len(rows), *self.shape[1:]), np.uint8)
        owner = np.searchsorted(self.starts, rows, side="right") - 1
        for k in np.unique(owner):
            out[owner == k] = self.parts[k][rows[owner == k] - self.starts[k]]
        return out


class Encoded(Stored):
    """PNG bytes in one flat file: picture (row, camera) lies at `offsets[row, camera]`, and is `lengths[row, camera]` long."""

    def __init__(self, folder: Path, shape: tuple[int, ...]) -> None:
        with np.load(folder / "index.npz") as index:
            self.offsets, self.lengths, digest = index["offsets"], index["lengths"], str(index["digest"])
        self.path, self.flat = folder, np.memmap(folder / "pictures.bin", np.uint8, "r")
        super().__init__((len(self.offsets), *shape), digest)

    def read(self, rows: Rows) -> Bytes:
        """Decode; the page cache of the machine is the only memory that is used."""
        out = np.empty((len(rows), *self.shape[1:]), np.uint8)

        def put(item: tuple[int, int]) -> None:
            i, c = item
            at, length = self.offsets[rows[i], c], self.lengths[rows[i], c]
            try:
                out[i, c] = picture(self.flat[at : at + length].tobytes(), self.shape[2:])
            except (OSError, ValueError, SyntaxError) as error:
                raise BadDemonstrations(f"picture {c} of frame {rows[i]} in {self.path} does not read ({error}): delete it.") from error

        with ThreadPoolExecutor(2) as pool:  # Pillow decodes outside the interpreter lock
            list(pool.map(put, np.ndindex(*out.shape[:2])))
        return out


def picture(encoded: bytes, shape: tuple[int, ...]) -> Bytes:
    """(H, W, 3). ValueError for another size; OSError, ValueError or SyntaxError, which are Pillow's, for what is no picture."""
    decoded = np.asarray(Image.open(io.BytesIO(encoded)).convert("RGB"))
    if decoded.shape != tuple(shape):
        raise ValueError(f"a picture of {decoded.shape} where info.json says {tuple(shape)}")
    return decoded


def copied(folder: Path, tables: Iterable[tuple[NDArray[np.int64], Sequence[Sequence[bytes]]]], total: int) -> None:
    """Copy encoded pictures once into `folder`: `tables` yields the rows of some frames and, camera by camera, their bytes.

    One process copies, others wait; `index.npz` is written last, so what a killed one left is written anew.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if (folder / "index.npz").exists():
            return
        offsets = lengths = np.zeros((0, 0), np.int64)
        sha, at = hashlib.sha256(), 0
        with atomic_path(folder / "pictures.bin") as temporary, open(temporary, "wb") as file:
            for rows, cameras in tables:
                if not offsets.size:
                    offsets, lengths = (np.full((total, len(cameras)), -1, np.int64) for _ in range(2))
                for row, encoded in zip(rows, zip(*cameras, strict=True), strict=True):
                    for c, data in enumerate(encoded):
                        sha.update(data)
                        offsets[row, c], lengths[row, c] = at, len(data)
                        at += file.write(data)
        with atomic_path(folder / "index.npz") as temporary, open(temporary, "wb") as file:
            np.savez(file, offsets=offsets, lengths=lengths, digest=np.array(sha.hexdigest()))
