"""Data sets with pictures, whatever the folders hold: a LeRobot data set is read, raw demonstrations are rendered first.

Rendered pictures are large and follow from the demonstrations, the picture's size and the version of the stage `render`. So they are
kept aside, shared by all who train on them, in folders that are named by what they follow from: none is ever out of date, and all
may be deleted at any time. A rendering that was stopped goes on after its last whole file.
"""

from __future__ import annotations

import argparse
import fcntl
from collections.abc import Sequence
from pathlib import Path

from dtr.data.dataset import Dataset, join
from dtr.data.demonstrations import demonstrations_sha256
from dtr.data.lerobot import read_lerobot
from dtr.data.render import render
from dtr.data.stored import ASIDE
from dtr.provenance import digest
from dtr.stages import version


def read_data(folders: Sequence[Path], image_size: int, aside: Path = ASIDE, processes: int = 1) -> Dataset:
    """Several data sets as one. `image_size`: side of the pictures that are rendered; a LeRobot data set has its own."""
    return join([read_lerobot(with_pictures(folder, image_size, aside, processes), aside) for folder in folders])


def with_pictures(folder: Path, image_size: int, aside: Path, processes: int = 1) -> Path:
    """A LeRobot data set for `folder`: itself, or its raw demonstrations rendered under `aside`, where they may be already.

    Raises BadDemonstrations when `folder` holds raw demonstrations that are damaged.
    """
    if not (folder / "meta.json").exists():
        return folder
    out = aside / f"{folder.name}-{image_size}px-{digest([demonstrations_sha256(folder), version('render')])}"
    aside.mkdir(parents=True, exist_ok=True)
    with open(out.with_name(f".{out.name}.lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # several arms start at once: one renders, the others wait for it
        if not (out / "meta/info.json").exists():  # written last
            render(folder, out, image_size, processes)
    return out


def add_data_arguments(p: argparse.ArgumentParser) -> None:
    """The arguments of every verb that reads demonstrations."""
    p.add_argument(
        "--data", type=Path, nargs="+", required=True, help="LeRobot data sets (v3, v2.1), or raw demonstrations: rendered first"
    )
    p.add_argument("--image-size", type=int, help="side of the rendered pictures in pixels (default: what the policy reads)")
    p.add_argument("--pictures", type=Path, default=ASIDE, help=f"where rendered pictures are kept (default {ASIDE})")
