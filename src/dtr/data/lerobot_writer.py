"""Writes rendered demonstrations in LeRobot's v3 layout (`dtr.data.lerobot_layout`), one data file a task; `dtr.data.lerobot` reads it."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from PIL import Image

from dtr.data.lerobot import CAMERAS, VERSION
from dtr.data.normalisation import summary
from dtr.provenance import atomic_path, write_json

DATA = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
TASK_INDEX = {  # LeRobot reads tasks.parquet with pandas and looks sentences up in its index
    "index_columns": ["task"],
    "column_indexes": [],
    "columns": [
        {"name": "task_index", "field_name": "task_index", "pandas_type": "int64", "numpy_type": "int64", "metadata": None},
        {"name": "task", "field_name": "task", "pandas_type": "unicode", "numpy_type": "object", "metadata": None},
    ],
}


@dataclass(frozen=True)
class Frames:
    """The frames of one data file, all of one `task`: `images` (N, C, H, W, 3) uint8, `state` (N, S), `actions` (N, A) float32,
    `lengths` (E,) steps of each episode."""

    images: NDArray[np.uint8]
    state: NDArray[np.float32]
    actions: NDArray[np.float32]
    lengths: Sequence[int]
    task: int


@dataclass(frozen=True)
class FileRecord:
    """What the meta files need to know of a written data file."""

    task: int
    lengths: tuple[int, ...]
    picture_shape: tuple[int, int, int]
    summaries: Mapping[str, Mapping[str, Any]]


def write_frames(folder: Path, file: int, frames: Frames, first_episode: int, first_frame: int, fps: int) -> FileRecord:
    """Write data file number `file`, whose episodes and frames are numbered from `first_episode` and `first_frame` on."""
    n = len(frames.state)
    step = np.concatenate([np.arange(length) for length in frames.lengths])
    columns: dict[str, Any] = {camera: pictures(frames.images[:, c]) for c, camera in enumerate(CAMERAS[: frames.images.shape[1]])}
    columns |= {
        "observation.state": vectors(frames.state),
        "action": vectors(frames.actions),
        "timestamp": pa.array((step / fps).astype(np.float32)),
        "frame_index": pa.array(step),
        "episode_index": pa.array(np.repeat(first_episode + np.arange(len(frames.lengths)), frames.lengths)),
        "index": pa.array(first_frame + np.arange(n)),
        "task_index": pa.array(np.full(n, frames.task)),
    }
    with atomic_path(folder / DATA.format(chunk_index=0, file_index=file)) as temporary:
        pq.write_table(pa.table(columns), temporary, row_group_size=1024)
    summaries = {"observation.state": summary(frames.state), "action": summary(frames.actions)}
    for c, camera in enumerate(CAMERAS[: frames.images.shape[1]]):
        summaries[camera] = summary(frames.images[:: max(1, n // 100), c].reshape(-1, 3) / 255.0)
    height, width, channels = frames.images.shape[2:]
    return FileRecord(frames.task, tuple(int(x) for x in frames.lengths), (height, width, channels), summaries)


def write_meta(folder: Path, files: Sequence[FileRecord], instructions: Sequence[str], fps: int, origin: Mapping[str, Any]) -> None:
    """Write meta/ for data files 0..len(files)-1; info.json last: without it the data set is unfinished. `origin` goes under "dtr"."""
    lengths = [length for f in files for length in f.lengths]
    edges = np.concatenate([[0], np.cumsum(lengths)])
    episodes = {
        "episode_index": np.arange(len(lengths)),
        "tasks": [[instructions[f.task]] for f in files for _ in f.lengths],
        "length": lengths,
        "data/chunk_index": np.zeros(len(lengths), np.int64),
        "data/file_index": [k for k, f in enumerate(files) for _ in f.lengths],
        "dataset_from_index": edges[:-1],
        "dataset_to_index": edges[1:],
        "meta/episodes/chunk_index": np.zeros(len(lengths), np.int64),
        "meta/episodes/file_index": np.zeros(len(lengths), np.int64),
    }
    with atomic_path(folder / "meta/episodes/chunk-000/file-000.parquet") as temporary:
        pq.write_table(pa.table(episodes), temporary)
    tasks = pa.table({"task_index": np.arange(len(instructions)), "task": list(instructions)})
    with atomic_path(folder / "meta/tasks.parquet") as temporary:
        pq.write_table(tasks.replace_schema_metadata({"pandas": json.dumps(TASK_INDEX)}), temporary)
    write_json(folder / "meta/stats.json", {name: merged([f.summaries[name] for f in files]) for name in files[0].summaries})
    info = {
        "codebase_version": VERSION,
        "robot_type": "panda",
        "total_episodes": len(lengths),
        "total_frames": int(edges[-1]),
        "total_tasks": len(instructions),
        "chunks_size": 1000,
        "data_files_size_in_mb": 100,
        "video_files_size_in_mb": 200,
        "fps": fps,
        "splits": {"train": f"0:{len(lengths)}"},
        "data_path": DATA,
        "video_path": None,
        "features": features(files[0]),
        "dtr": dict(origin),
    }
    write_json(folder / "meta/info.json", info)


def features(file: FileRecord) -> dict[str, Any]:
    """LeRobot's description of every column."""
    result: dict[str, Any] = {}
    for name, numbers in file.summaries.items():
        if name in CAMERAS:
            result[name] = {"dtype": "image", "shape": list(file.picture_shape), "names": ["height", "width", "channels"]}
        else:
            result[name] = {"dtype": "float32", "shape": [len(numbers["mean"])], "names": None}
    scalars = {"timestamp": "float32"} | dict.fromkeys(("frame_index", "episode_index", "index", "task_index"), "int64")
    return result | {name: {"dtype": dtype, "shape": [1], "names": None} for name, dtype in scalars.items()}


def merged(parts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Summaries of several files as one; exact but for q01 and q99, which are averaged by count."""
    count = np.array([p["count"][0] for p in parts], np.float64)
    at = {key: np.array([p[key] for p in parts]) for key in ("min", "max", "mean", "std", "q01", "q99")}
    weight = (count / count.sum())[:, None]
    mean = (weight * at["mean"]).sum(0)
    variance = (weight * (at["std"] ** 2 + (at["mean"] - mean) ** 2)).sum(0)
    result = {"min": at["min"].min(0), "max": at["max"].max(0), "mean": mean, "std": np.sqrt(variance)}
    result |= {key: (weight * at[key]).sum(0) for key in ("q01", "q99")}
    return {key: value.tolist() for key, value in result.items()} | {"count": [int(count.sum())]}


def pictures(images: NDArray[np.uint8]) -> pa.StructArray:
    """(N, H, W, 3) as a column of {bytes: PNG, path: null}, the way `datasets` stores its Image feature."""
    encoded = pa.array([png(picture) for picture in images], pa.binary())
    return pa.StructArray.from_arrays([encoded, pa.nulls(len(images), pa.string())], ["bytes", "path"])


def png(picture: NDArray[np.uint8]) -> bytes:
    """PNG of a picture (H, W, 3): lossless."""
    out = io.BytesIO()
    Image.fromarray(picture).save(out, "PNG", compress_level=3)
    return out.getvalue()


def vectors(rows: NDArray[Any]) -> pa.FixedSizeListArray:
    """(N, D) as an Arrow column of fixed-size lists."""
    return pa.FixedSizeListArray.from_arrays(pa.array(np.ascontiguousarray(rows, np.float32).ravel()), rows.shape[1])
