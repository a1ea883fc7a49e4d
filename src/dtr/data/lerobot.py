"""Reads data sets in LeRobot's v3 layout: our rendered demonstrations, and public LIBERO data sets with pictures in Parquet.

    meta/info.json                               version, features, frame rate, path templates (ours also: hash of the demonstrations)
    meta/tasks.parquet                           sentence -> task_index
    meta/stats.json                              min, max, mean, std, count, q01, q99 of every feature
    meta/episodes/chunk-000/file-000.parquet     one row an episode: sentence, length, where its frames lie
    data/chunk-000/file-<k>.parquet              one row a frame; pictures as PNG bytes in a struct {bytes, path}

Public example: HuggingFaceVLA/libero (files of many episodes, episodes of many tasks mixed). Pictures kept as MP4 are refused.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from PIL import Image

from dtr.data.dataset import Dataset
from dtr.errors import BadDemonstrations
from dtr.provenance import read_json

VERSION = "v3.0"
CAMERAS = ("observation.images.image", "observation.images.image2")  # agent view, wrist: LeRobot's names for LIBERO
NAMES = {"state": ("observation.state", "state"), "actions": ("action", "actions")}  # LeRobot's first, then openpi's


def read_lerobot(folder: str | Path) -> Dataset:
    """A LeRobot v3 data set in memory. Raises BadDemonstrations with what is missing, cut off or of another layout."""
    folder = Path(folder)
    info = read_info(folder)
    features = info["features"]
    video = [name for name, feature in features.items() if feature["dtype"] == "video"]
    if video:
        raise BadDemonstrations(
            f"{folder} keeps {', '.join(video)} as MP4, which is not read yet, expected PNG in Parquet: "
            "use a data set of pictures (for LIBERO: HuggingFaceVLA/libero)."
        )
    pictures = (name for name, feature in features.items() if feature["dtype"] == "image")
    cameras = sorted(pictures, key=lambda name: ("wrist" in name or name.endswith("2"), name))  # agent view first
    columns = {role: next((name for name in names if name in features), None) for role, names in NAMES.items()}
    if not cameras or None in columns.values():
        raise BadDemonstrations(
            f"{folder} must have pictures, observation.state and action, got columns {sorted(features)}: choose a data set for policies."
        )
    paths = sorted(folder.glob("data/chunk-*/file-*.parquet"))
    total, shape = info["total_frames"], tuple(features[cameras[0]]["shape"])
    images = np.empty((total, len(cameras), *shape), np.uint8)
    numbers: dict[str, list[NDArray[Any]]] = {name: [] for name in ("state", "actions", "episode_index", "task_index", "index")}
    row = 0
    for path in paths:
        try:
            table = pq.read_table(path)
            for role, values in numbers.items():
                column = table[columns.get(role, role)].combine_chunks()
                values.append(np.asarray(column.flatten()).reshape(len(column), -1) if role in columns else np.asarray(column))
            if row + len(table) > total:
                raise ValueError(f"more than the {total} frames of info.json")
            decode(table, cameras, images[row : row + len(table)])
        except (OSError, ValueError, KeyError, TypeError, SyntaxError, pa.ArrowException) as error:  # SyntaxError: Pillow's, of a PNG
            raise BadDemonstrations(f"{path} must be a whole data file of {folder.name}, got {error}: fetch or render it again.") from error
        row += len(table)
    if row != total:
        raise BadDemonstrations(f"{folder} must hold {total} frames as its info.json says, got {row}: fetch or render it again.")
    joined = {role: np.concatenate(values) for role, values in numbers.items()}
    order = np.argsort(joined["index"], kind="stable")
    if not np.array_equal(order, np.arange(total)):
        images, joined = images[order], {role: values[order] for role, values in joined.items()}
    state, actions = (joined[role].astype(np.float32) for role in ("state", "actions"))
    episode, task = (joined[role].astype(np.int64) for role in ("episode_index", "task_index"))
    return Dataset(images, state, actions, episode, task, read_tasks(folder))


def read_info(folder: str | Path) -> Mapping[str, Any]:
    """The info.json of a LeRobot v3 data set."""
    path = Path(folder) / "meta/info.json"
    try:
        info = read_json(path)
        version = str(info["codebase_version"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BadDemonstrations(
            f"expected raw demonstrations (meta.json) or a LeRobot v3 data set (meta/info.json) in {folder}, got neither: "
            "name another folder, fetch it again, or record demonstrations with `dtr demonstrate`."
        ) from error
    if not version.startswith("v3"):
        raise BadDemonstrations(f"expected LeRobot layout v3 in {folder}, got {version}: convert it with LeRobot's own converter.")
    features, total = info.get("features"), info.get("total_frames")
    if not isinstance(features, Mapping) or not all(described(f) for f in features.values()) or not isinstance(total, int) or total < 1:
        raise BadDemonstrations(
            f"{path} must say total_frames (1 or more) and features with dtype and shape, it does not: fetch or render the data again."
        )
    return info


def described(feature: Any) -> bool:
    """Whether info.json says of a column what kind it is and, of a picture, how large."""
    if not isinstance(feature, Mapping) or "dtype" not in feature:
        return False
    shape = feature.get("shape")
    return feature["dtype"] != "image" or (isinstance(shape, list) and all(isinstance(side, int) and side > 0 for side in shape))


def read_tasks(folder: Path) -> tuple[str, ...]:
    """The sentences in the order of task_index."""
    path = folder / "meta/tasks.parquet"
    try:
        table = pq.read_table(path)
        sentences = next(name for name in table.column_names if name != "task_index")  # "task", or pandas' unnamed index
        pairs = sorted(zip(table["task_index"].to_pylist(), table[sentences].to_pylist(), strict=True))
    except (OSError, KeyError, ValueError, TypeError, StopIteration, pa.ArrowException) as error:
        raise BadDemonstrations(f"{path} must map sentences to task_index, got: {error}: fetch or render it again.") from error
    if [number for number, _ in pairs] != list(range(len(pairs))):
        numbers = [n for n, _ in pairs][:8]
        raise BadDemonstrations(f"{path} must number its tasks 0..{len(pairs) - 1}, got {numbers}: fetch or render it again.")
    return tuple(sentence for _, sentence in pairs)


def decode(table: pa.Table, cameras: Sequence[str], out: NDArray[np.uint8]) -> None:
    """Decode the pictures of `table` into `out` (N, C, H, W, 3)."""
    for c, camera in enumerate(cameras):
        encoded = table[camera].combine_chunks().field("bytes").to_pylist()

        def put(item: tuple[int, bytes], c: int = c) -> None:
            picture = np.asarray(Image.open(io.BytesIO(item[1])).convert("RGB"))
            if picture.shape != out.shape[2:]:
                raise ValueError(f"a picture of {picture.shape} where info.json says {out.shape[2:]}")
            out[item[0], c] = picture

        with ThreadPoolExecutor(2) as pool:  # Pillow decodes outside the interpreter lock
            list(pool.map(put, enumerate(encoded), chunksize=256))
