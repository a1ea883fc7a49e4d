"""Data files that are whole of a data set that is not yet: a rendering that was stopped goes on after them.

    <data set>/parts/file-<k>.json     what data file k follows from, its SHA-256, and what meta/ will say of it

They go when the data set is finished, so a rendering that was stopped leaves the same files as one that was not.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict
from pathlib import Path

from dtr.data.lerobot_writer import DATA, FileRecord
from dtr.provenance import read_json, sha256_file, write_json

PARTS = "parts"
WRITTEN = ("data/chunk-*/file-*.parquet", "meta/episodes/chunk-*/file-*.parquet", "meta/tasks.parquet", "meta/stats.json")
UNFINISHED = ("data/chunk-*/.file-*.parquet.*.tmp", f"{PARTS}/.file-*.json.*.tmp")
"""What a killed process had begun (`dtr.provenance.atomic_path`)."""


def data_file(folder: Path, file: int) -> Path:
    """Data file number `file`."""
    return folder / DATA.format(chunk_index=0, file_index=file)


def note(folder: Path, file: int) -> Path:
    """What is kept of it."""
    return folder / PARTS / f"file-{file:03d}.json"


def keep(folder: Path, file: int, origin: str, record: FileRecord) -> None:
    """Data file number `file` is whole; `origin` says what it follows from."""
    write_json(note(folder, file), {"origin": origin, "sha256": sha256_file(data_file(folder, file)), "record": asdict(record)})


def kept(folder: Path, origin: str) -> dict[int, FileRecord]:
    """Number -> record of the data files of an unfinished data set that follow from the same and are whole."""
    found: dict[int, FileRecord] = {}
    if (folder / "meta/info.json").exists():
        return found
    for path in (folder / PARTS).glob("file-*.json"):
        said, file = read_json(path), int(path.stem.removeprefix("file-"))
        data = data_file(folder, file)
        if said["origin"] == origin and data.exists() and sha256_file(data) == said["sha256"]:
            record = said["record"]
            height, width, channels = record["picture_shape"]
            found[file] = FileRecord(record["task"], tuple(record["lengths"]), (height, width, channels), record["summaries"])
    return found


def clear(folder: Path, but: Collection[int] = ()) -> None:
    """Remove the data set in `folder`, if there is one, `but` these data files of it, and no other file: what an earlier one left would be
    read as a part of the next."""
    (folder / "meta/info.json").unlink(missing_ok=True)  # first: without it the data set is unfinished
    spared = {path for file in but for path in (data_file(folder, file), note(folder, file))}
    for pattern in (*WRITTEN, *UNFINISHED, f"{PARTS}/file-*.json"):
        for path in folder.glob(pattern):
            if path not in spared:
                path.unlink()


def forget(folder: Path) -> None:
    """The data set is finished."""
    for path in (folder / PARTS).glob("file-*.json"):
        path.unlink()
    if (folder / PARTS).exists() and not any((folder / PARTS).iterdir()):
        (folder / PARTS).rmdir()
