"""Raw demonstrations: what the expert did, without the pictures. Small enough to cache; the pictures are re-rendered (`dtr render`).

    <suite>/meta.json             suite, tasks, number of episodes and steps, hashes of the contents, and the expert's own facts
    <suite>/<task name>.npz       the arrays of `TaskDemonstrations`, an ordinary compressed NumPy archive

N steps of E episodes of one task, Q generalised positions of the MuJoCo model. Positions, states and actions lie on a grid of
2^-16 (15 micrometres, 15 microradians): invisible in any picture, and the archive shrinks to a third (2-5 KB an episode).
"""

from __future__ import annotations

import hashlib
import itertools
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dtr.errors import BadDemonstrations
from dtr.provenance import atomic_path, canonical_json, read_json, sha256_bytes, write_json

FORMAT = 1
RESOLUTION = 2.0**-16
STATE_WIDTH = 8  # end effector xyz, axis-angle, two gripper positions
ACTION_WIDTH = 7  # OSC_POSE: xyz, axis-angle, gripper (-1 open, +1 closed), all in [-1, 1]
ARRAYS = {"qpos": np.float32, "state": np.float32, "actions": np.float32, "episode": np.int32, "seed": np.int64}
RECORD = {"name", "language", "index", "sha256"}
"""What meta.json must say of a task."""
BROKEN = (OSError, KeyError, ValueError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error)
"""What reading a damaged archive raises; RuntimeError where a flipped bit says "encrypted", or names a compression that does not exist."""


@dataclass(frozen=True)
class TaskDemonstrations:
    """All episodes of one task, concatenated along time.

    `qpos` (N, Q) float32 generalised positions when the action was chosen; `state` (N, 8) float32 the proprioception there;
    `actions` (N, 7) float32 the expert's clean label (not the noisy action that was executed); `episode` (N,) int32 = 0..E-1,
    ascending; `seed` (E,) int64 what the episode's start and noise were drawn from.
    """

    name: str
    language: str
    index: int
    qpos: NDArray[np.float32]
    state: NDArray[np.float32]
    actions: NDArray[np.float32]
    episode: NDArray[np.int32]
    seed: NDArray[np.int64]

    def __post_init__(self) -> None:
        for name, dtype in ARRAYS.items():
            object.__setattr__(self, name, np.ascontiguousarray(getattr(self, name), dtype=dtype))
        check(self)

    @property
    def episodes(self) -> int:
        """E, the number of episodes."""
        return len(self.seed)

    def on_grid(self) -> TaskDemonstrations:
        """The same demonstrations as the file holds them: rounded to RESOLUTION. Rounding twice changes nothing."""
        rounded = {k: np.rint(getattr(self, k).astype(np.float64) / RESOLUTION) * RESOLUTION for k in ("qpos", "state", "actions")}
        return TaskDemonstrations(self.name, self.language, self.index, **rounded, episode=self.episode, seed=self.seed)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The arrays by name, in the order of the file."""
        return {name: getattr(self, name) for name in ARRAYS}

    def sha256(self) -> str:
        """Hash of the contents: independent of the compressor's version."""
        total = hashlib.sha256()
        for name, array in self.arrays().items():
            total.update(f"{name} {array.dtype.str} {array.shape}".encode() + array.tobytes())
        return total.hexdigest()

    def split(self) -> Iterator[slice]:
        """The steps of each episode."""
        edges = np.searchsorted(self.episode, np.arange(self.episodes + 1))
        yield from (slice(int(a), int(b)) for a, b in itertools.pairwise(edges))


def check(task: TaskDemonstrations) -> None:
    """Raise BadDemonstrations with the first thing that is wrong with `task`."""
    steps = len(task.episode)
    expected = {"qpos": (steps, task.qpos.shape[-1]), "state": (steps, STATE_WIDTH), "actions": (steps, ACTION_WIDTH), "episode": (steps,)}
    for name, shape in expected.items():
        if getattr(task, name).shape != shape:
            raise BadDemonstrations(f"task {task.name!r}: {name} must be {shape}, got {getattr(task, name).shape}: record the task again.")
    for name in ("qpos", "state", "actions"):
        bad = ~np.isfinite(getattr(task, name)).all(axis=1)
        if bad.any():
            raise BadDemonstrations(
                f"task {task.name!r}: {name} must be finite, got NaN or infinity at step {int(bad.argmax())}: "
                "drop that episode or record the task again."
            )
    if np.abs(task.actions).max(initial=0) > 1 + RESOLUTION:
        raise BadDemonstrations(
            f"task {task.name!r}: actions must lie in [-1, 1], got {np.abs(task.actions).max():.3g}: clip them before recording."
        )
    if steps == 0 or not np.array_equal(np.unique(task.episode), np.arange(task.episodes)) or (np.diff(task.episode) < 0).any():
        raise BadDemonstrations(
            f"task {task.name!r}: episode numbers must be 0..{task.episodes - 1}, ascending and each with a step, "
            f"got {np.unique(task.episode).tolist()[:8]}: renumber the kept episodes."
        )


def write_demonstrations(folder: str | Path, suite: str, tasks: Sequence[TaskDemonstrations], facts: Mapping[str, Any]) -> None:
    """Write `tasks` of `suite` to `folder`; `facts` is what the expert wants to tell (noise, seeds, its success with and without noise).

    meta.json comes last: a folder without it is unfinished. Equal demonstrations give equal bytes.
    """
    folder = Path(folder)
    records = []
    for task in (task.on_grid() for task in tasks):
        with atomic_path(folder / f"{task.name}.npz") as temporary, open(temporary, "wb") as file:
            np.savez_compressed(file, **task.arrays())  # type: ignore[arg-type]
        records.append(
            {
                "name": task.name,
                "language": task.language,
                "index": task.index,
                "episodes": task.episodes,
                "steps": len(task.episode),
                "qpos_width": task.qpos.shape[1],
                "sha256": task.sha256(),
            }
        )
    write_json(folder / "meta.json", {"format": FORMAT, "suite": suite, "resolution": RESOLUTION, "tasks": records, "facts": dict(facts)})


def read_meta(folder: str | Path) -> Mapping[str, Any]:
    """The meta.json of a folder of raw demonstrations."""
    path = Path(folder) / "meta.json"
    try:
        meta = read_json(path)
        known = meta["format"] == FORMAT and isinstance(meta["suite"], str) and bool(meta["tasks"])
        known = known and all(isinstance(t, dict) and t.keys() >= RECORD for t in meta["tasks"])
    except (OSError, ValueError, KeyError, TypeError):
        known = False
    if not known:
        raise BadDemonstrations(f"expected raw demonstrations (meta.json, format {FORMAT}) in {folder}, got none: run `dtr demonstrate`.")
    return meta


def read_demonstrations(folder: str | Path) -> list[TaskDemonstrations]:
    """All tasks of a folder, in the order of meta.json. BadDemonstrations when anything is missing, cut off or changed."""
    return [read_task(Path(folder), record) for record in read_meta(folder)["tasks"]]


def read_task(folder: Path, record: Mapping[str, Any]) -> TaskDemonstrations:
    """One task as its `record` in meta.json describes it."""
    path = folder / f"{record['name']}.npz"
    try:
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in ARRAYS}
    except BROKEN as error:
        expected = ", ".join(ARRAYS)
        raise BadDemonstrations(f"{path} must be a whole archive of {expected}, got: {error}: fetch or record it again.") from error
    task = TaskDemonstrations(record["name"], record["language"], record["index"], **arrays)
    if task.sha256() != record["sha256"]:
        raise BadDemonstrations(f"{path} must hash to the value in meta.json, it does not: fetch or record it again.")
    return task


def demonstrations_sha256(folder: str | Path) -> str:
    """One hash for all demonstrations of a folder: what a rendered data set and a recovered policy say they come from."""
    meta = read_meta(folder)
    return sha256_bytes(canonical_json([meta["suite"], [(t["name"], t["language"], t["sha256"]) for t in meta["tasks"]]]).encode())
