"""Data sets with pictures, whatever the folders hold: a LeRobot data set is read, raw demonstrations are rendered first.

Rendered pictures are large and follow from the demonstrations, the picture's size and the version of the stage `render`. So they are
kept aside, shared by all who train on them, in folders that are named by what they follow from: none is ever out of date, and all
may be deleted at any time. A rendering that was stopped goes on after its last whole file. Beside them lies what hashing all that was read
once gave (`Known`): who only asks which data it is need not read gigabytes again. It holds for these very renderings, and is written anew
whenever they are read.
"""

from __future__ import annotations

import argparse
import fcntl
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from dtr.data.dataset import Dataset, join
from dtr.data.demonstrations import demonstrations_sha256
from dtr.data.lerobot import read_lerobot
from dtr.data.render import render
from dtr.data.stored import ASIDE
from dtr.provenance import digest, read_json, write_json
from dtr.stages import version


def read_data(folders: Sequence[Path], image_size: int, aside: Path = ASIDE, processes: int = 1) -> Dataset:
    """Several data sets as one. `image_size`: side of the pictures that are rendered; a LeRobot data set has its own."""
    return join([read_lerobot(with_pictures(folder, image_size, aside, processes), aside) for folder in folders])


def with_pictures(folder: Path, image_size: int, aside: Path, processes: int = 1) -> Path:
    """A LeRobot data set for `folder`: itself, or its raw demonstrations rendered under `aside`, where they may be already.

    Raises BadDemonstrations when `folder` holds raw demonstrations that are damaged.
    """
    if not raw(folder):
        return folder
    out = place(folder, image_size, aside)
    aside.mkdir(parents=True, exist_ok=True)
    with open(out.with_name(f".{out.name}.lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # several arms start at once: one renders, the others wait for it
        if not (out / "meta/info.json").exists():  # written last
            render(folder, out, image_size, processes)
    return out


def raw(folder: Path) -> bool:
    """Whether a folder holds raw demonstrations, not a LeRobot data set."""
    return (folder / "meta.json").exists()


def place(folder: Path, image_size: int, aside: Path) -> Path:
    """Where raw demonstrations are rendered to."""
    return aside / f"{folder.name}-{image_size}px-{digest([demonstrations_sha256(folder), version('render')])}"


class Known(NamedTuple):
    """What is known of data sets that were read as one before."""

    sha256: str
    frames: int


def known(folders: Sequence[Path], image_size: int, aside: Path) -> Known | None:
    """Of raw demonstrations that were read and hashed before and were not rendered again since; None of others."""
    if not all(raw(folder) for folder in folders) or not (kept := note(folders, image_size, aside)).is_file():
        return None
    try:
        said = read_json(kept)
        return Known(said["sha256"], said["frames"]) if said["rendered_ns"] == rendered_ns(folders, image_size, aside) else None
    except (ValueError, KeyError, TypeError):  # another version's: the pictures say it again
        return None


def know(folders: Sequence[Path], image_size: int, aside: Path, data: Dataset) -> Known:
    """Hash what `read_data` gave, and keep that where `known` finds it."""
    found = Known(data.sha256, len(data))
    if all(raw(folder) for folder in folders):
        write_json(note(folders, image_size, aside), found._asdict() | {"rendered_ns": rendered_ns(folders, image_size, aside)})
    return found


def rendered_ns(folders: Sequence[Path], image_size: int, aside: Path) -> list[int | None]:
    """When the pictures of each were finished; None of those that are not there."""
    ends = [place(folder, image_size, aside) / "meta/info.json" for folder in folders]
    return [end.stat().st_mtime_ns if end.exists() else None for end in ends]


def note(folders: Sequence[Path], image_size: int, aside: Path) -> Path:
    """The file of what is known of data sets read as one, named by what they follow from."""
    return aside / f"{digest([place(folder, image_size, aside).name for folder in folders])}.json"


def add_data_arguments(p: argparse.ArgumentParser) -> None:
    """The arguments of every verb that reads demonstrations."""
    p.add_argument(
        "--data", type=Path, nargs="+", required=True, help="LeRobot data sets (v3, v2.1), or raw demonstrations: rendered first"
    )
    p.add_argument("--image-size", type=int, help="side of the rendered pictures in pixels (default: what the policy reads)")
    p.add_argument("--pictures", type=Path, default=ASIDE, help=f"where rendered pictures are kept (default {ASIDE})")
