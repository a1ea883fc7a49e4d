"""Reads data sets in LeRobot's layouts v3 and v2.1 (`dtr.data.lerobot_layout`): our rendered demonstrations, and public LIBERO data sets.

    meta/info.json       version, features, frame rate, path templates (ours also: hash of the demonstrations)
    data/.../*.parquet   one row a frame; pictures as PNG bytes in a struct {bytes, path}, or apart as MP4

Public example: HuggingFaceVLA/libero (v3, files of many episodes, episodes of many tasks mixed). Pictures that fit (`KEPT_BYTES`) are held
in memory; others stay on the disk (`dtr.data.stored`, `dtr.data.films`). What is wrong without a word is checked (`dtr.data.checks`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from dtr.data.checks import check
from dtr.data.dataset import Dataset
from dtr.data.films import Films
from dtr.data.lerobot_layout import Layout
from dtr.data.stored import ASIDE, KEPT_BYTES, Encoded, Stored, copied, picture
from dtr.errors import BadDemonstrations
from dtr.provenance import digest, read_json, sha256_file

VERSION = "v3.0"
OLD = "v2.1"
CAMERAS = ("observation.images.image", "observation.images.image2")  # agent view, wrist: LeRobot's names for LIBERO
NAMES = {"state": ("observation.state", "state"), "actions": ("action", "actions")}  # LeRobot's first, then openpi's
NUMBERS = ("state", "actions", "episode_index", "task_index", "index", "frame_index")


def read_lerobot(folder: str | Path, aside: Path = ASIDE, kept_bytes: int = KEPT_BYTES) -> Dataset:
    """A LeRobot data set. `aside`: where pictures that do not fit into `kept_bytes` are copied to.

    Raises BadDemonstrations with what is missing, cut off, of another layout or of another convention.
    """
    folder = Path(folder)
    layout = layout_of(folder)
    columns = columns_of(layout)
    total, shape = layout.info["total_frames"], (len(columns.cameras), *layout.info["features"][columns.cameras[0]]["shape"])
    fits = total * int(np.prod(shape)) <= kept_bytes
    images = np.empty((total, *shape), np.uint8) if fits and not columns.filmed else None
    numbers = read_files(layout, columns, images)
    order = np.argsort(numbers["index"], kind="stable")
    if not np.array_equal(order, np.arange(total)):
        images, numbers = images if images is None else images[order], {role: found[order] for role, found in numbers.items()}
    held: Stored | NDArray[np.uint8]
    if images is not None:
        held = images
    elif columns.filmed:
        films = layout.films(columns.cameras)
        held = Films(films, numbers["episode_index"], numbers["frame_index"], float(layout.info["fps"]), shape)
        held = held[:] if fits else held
    else:
        held = encoded(layout, columns.cameras, shape, aside, np.argsort(order))
    state, actions = (numbers[role].astype(np.float32) for role in NAMES)
    episode, task = (numbers[role].astype(np.int64) for role in ("episode_index", "task_index"))
    data = Dataset(held, state, actions, episode, task, layout.tasks())
    check(data, str(folder), layout.episodes(), stated_means(folder))
    return data


class Columns(NamedTuple):
    """What a data set calls its columns."""

    cameras: tuple[str, ...]
    """The agent's view first."""
    numbers: dict[str, str]
    """Role (`state`, `actions`) -> column."""
    filmed: bool
    """Whether the cameras are kept as MP4."""


def columns_of(layout: Layout) -> Columns:
    """The columns of cameras, state and actions. Raises BadDemonstrations when one is missing, or cameras are of two kinds."""
    features = layout.info["features"]
    pictures = [name for name, feature in features.items() if feature["dtype"] in ("image", "video")]
    cameras = sorted(pictures, key=lambda name: ("wrist" in name or name.endswith("2"), name))
    numbers = {role: name for role, names in NAMES.items() if (name := next((n for n in names if n in features), ""))}
    if not cameras or len(numbers) < len(NAMES):
        raise BadDemonstrations(
            f"{layout.folder} must have pictures, observation.state and action, got columns {sorted(features)}: "
            "choose a data set for policies."
        )
    filmed = [camera for camera in cameras if features[camera]["dtype"] == "video"]
    if filmed and filmed != cameras:
        raise BadDemonstrations(
            f"{layout.folder} keeps {', '.join(filmed)} as MP4 and other cameras as pictures: choose a data set of one kind."
        )
    return Columns(tuple(cameras), numbers, bool(filmed))


def read_files(layout: Layout, columns: Columns, images: NDArray[np.uint8] | None) -> dict[str, NDArray[Any]]:
    """Role -> numbers (N, ...) of all data files, in their order; pictures are decoded into `images` (N, C, H, W, 3), where it is given."""
    total, row = layout.info["total_frames"], 0
    parts: dict[str, list[NDArray[Any]]] = {role: [] for role in NUMBERS}
    names = {columns.numbers.get(role, role): role for role in NUMBERS}
    for path in layout.data_files():
        with reading(path, layout.folder):
            file = pq.ParquetFile(path)
            chosen = [name for name in file.schema_arrow.names if name in names]
            table = file.read([*chosen, *columns.cameras] if images is not None else chosen)
            for name, role in names.items():
                parts[role].append(values(table, name, role in columns.numbers))
            if row + len(table) > total:
                raise ValueError(f"more than the {total} frames of info.json")
            if images is not None:
                decode(table, columns.cameras, images[row : row + len(table)])
        row += len(table)
    if row != total:
        raise BadDemonstrations(f"{layout.folder} must hold {total} frames as its info.json says, got {row}: fetch or render it again.")
    return {role: np.concatenate(found) for role, found in parts.items()}


def stated_means(folder: str | Path) -> dict[str, NDArray[np.float64]]:
    """Of `state` and `actions`, the means (D,) that the meta files of a LeRobot data set state; only those that they do."""
    layout = layout_of(folder)
    columns = {role: next((name for name in names if name in layout.info["features"]), "") for role, names in NAMES.items()}
    stated = layout.means(list(columns.values()))
    return {role: stated[name] for role, name in columns.items() if name in stated}


def layout_of(folder: str | Path) -> Layout:
    """Where things lie in a LeRobot data set, whichever of the two layouts it has."""
    info = read_info(folder)
    return Layout(Path(folder), info, str(info["codebase_version"]) == OLD)


@contextmanager
def reading(path: Path, folder: Path) -> Iterator[None]:
    """Say of a data file that does not read which one it is."""
    try:
        yield
    except (OSError, ValueError, KeyError, TypeError, SyntaxError, pa.ArrowException) as error:  # SyntaxError: Pillow's, of a PNG
        raise BadDemonstrations(f"{path} must be a whole data file of {folder.name}, got {error}: fetch or render it again.") from error


def values(table: pa.Table, column: str, vector: bool) -> NDArray[Any]:
    """A column of numbers, (N,) or (N, D)."""
    found = table[column].combine_chunks()
    return np.asarray(found.flatten()).reshape(len(found), -1) if vector else np.asarray(found)


def encoded(layout: Layout, cameras: Sequence[str], shape: tuple[int, ...], aside: Path, places: NDArray[np.int64]) -> Encoded:
    """The pictures of a data set in a flat file under `aside`, in a folder named by the files that they are copied from. `places` (N,):
    the row of the data set that each frame becomes, in the order of the files."""
    files = layout.data_files()
    said = [sha256_file(layout.folder / "meta/info.json"), *((path.name, path.stat().st_size) for path in files)]
    out = aside / f"{layout.folder.name}-encoded-{digest(said)}"

    def tables() -> Iterator[tuple[NDArray[np.int64], list[list[bytes]]]]:
        at = 0
        for path in files:
            with reading(path, layout.folder):
                table = pq.ParquetFile(path).read(list(cameras))
                found = [table[camera].combine_chunks().field("bytes").to_pylist() for camera in cameras]
            yield places[at : at + len(table)], found
            at += len(table)

    copied(out, tables(), layout.info["total_frames"])
    return Encoded(out, shape)


def read_info(folder: str | Path) -> Mapping[str, Any]:
    """The info.json of a LeRobot data set."""
    path = Path(folder) / "meta/info.json"
    try:
        info = read_json(path)
        version = str(info["codebase_version"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BadDemonstrations(
            f"expected raw demonstrations (meta.json) or a LeRobot data set (meta/info.json) in {folder}, got neither: "
            "name another folder, fetch it again, or record demonstrations with `dtr demonstrate`."
        ) from error
    if not version.startswith("v3") and version != OLD:
        raise BadDemonstrations(f"expected LeRobot layout v3 or v2.1 in {folder}, got {version}: convert it with LeRobot's own converter.")
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
    return feature["dtype"] not in ("image", "video") or (
        isinstance(shape, list) and all(isinstance(side, int) and side > 0 for side in shape)
    )


def decode(table: pa.Table, cameras: Sequence[str], out: NDArray[np.uint8]) -> None:
    """Decode the pictures of `table` into `out` (N, C, H, W, 3)."""
    for c, camera in enumerate(cameras):
        encoded = table[camera].combine_chunks().field("bytes").to_pylist()

        def put(item: tuple[int, bytes], c: int = c) -> None:
            out[item[0], c] = picture(item[1], out.shape[2:])

        with ThreadPoolExecutor(2) as pool:  # Pillow decodes outside the interpreter lock
            list(pool.map(put, enumerate(encoded), chunksize=256))
