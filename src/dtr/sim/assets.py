"""Verb `assets`: where LIBERO's meshes and textures come from, and whether a folder holds all of them, byte for byte.

They are in no package: they lie in LIBERO's repository under `libero/libero/assets`. A folder is `official` when every file has
the content that it has there, and `stand-in` when one is missing or another one, as in a developer's partial copy. What is rolled out
with stand-ins says so, and enters no table of the paper's scale. Nothing is downloaded and nobody is asked.
The initial states do lie in the package: `--states` writes them as plain arrays (`dtr.sim.official_states`).
"""

from __future__ import annotations

import argparse
import hashlib
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from dtr.errors import MissingAssets
from dtr.sim.official_states import convert, suites
from dtr.sim.setup import ASSETS_VARIABLE, libero_assets

MANIFEST = Path(__file__).parent / "libero_assets.txt"
SOURCE = "https://github.com/Lifelong-Robot-Learning/LIBERO"
STAND_IN = "stand-in"
SHOWN = 5


@dataclass(frozen=True)
class State:
    """What is wrong with a folder of assets: paths that are missing, and paths of other content."""

    missing: tuple[str, ...]
    other: tuple[str, ...]
    count: int

    @property
    def official(self) -> bool:
        """Whether it is complete and unchanged."""
        return not self.missing and not self.other

    def line(self) -> str:
        """One line for a person."""
        if self.official:
            return f"official: all {self.count} files are those of LIBERO"
        parts = [f"{len(paths)} of {self.count} files {what} ({named(paths)})" for what, paths in self.faults().items() if paths]
        return f"{STAND_IN} assets: {', '.join(parts)}"

    def faults(self) -> dict[str, tuple[str, ...]]:
        """Kind of fault -> paths."""
        return {"are missing": self.missing, "have other content": self.other}


def named(paths: tuple[str, ...]) -> str:
    """The first few."""
    return ", ".join(paths[:SHOWN]) + (", ..." if len(paths) > SHOWN else "")


def add_parser(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare `dtr assets`."""
    p = verbs.add_parser("assets", help="where LIBERO's meshes and textures come from, and whether a folder holds all of them")
    p.add_argument("folder", nargs="?", type=Path, help=f"folder to check (default: ${ASSETS_VARIABLE})")
    p.add_argument("--states", type=Path, metavar="FOLDER", help="write the official initial states there, as plain arrays, and check them")
    p.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Print how to get them, or what a folder holds. Raises MissingAssets for stand-ins and changed states (exit code 2)."""
    if args.states:
        for suite in suites():
            tasks = convert(suite, args.states / f"{suite}.npz")
            print(f"{args.states / suite}.npz: initial states of {tasks} tasks, each with the known hash")
        return
    folder = args.folder or libero_assets()
    if folder is None:
        print(how_to_get())
        return
    state = inspect(folder)
    print(f"{folder}: {state.line()}")
    if not state.official:
        raise MissingAssets(f"{folder} is no complete copy of LIBERO's assets: {how_to_get()}")


def how_to_get() -> str:
    """Two commands."""
    commit = revision()
    return (
        f"clone {SOURCE}, check out {commit}, and set {ASSETS_VARIABLE} to its folder libero/libero/assets (the embedded suites need none)."
    )


def revision() -> str:
    """The commit that the manifest was taken from."""
    return re.findall(r" at ([0-9a-f]{40})", MANIFEST.read_text(encoding="utf-8"))[0]


@cache
def manifest() -> dict[str, str]:
    """Path -> git's id of the content."""
    lines = MANIFEST.read_text(encoding="utf-8").splitlines()[1:]
    return {path: blob for blob, path in (line.split(" ", 1) for line in lines)}


def inspect(folder: Path) -> State:
    """Compare every file of the manifest with `folder` (about a second)."""
    missing, other = [], []
    for path, blob in manifest().items():
        file = folder / path
        if not file.is_file():
            missing.append(path)
        elif git_id(file.read_bytes()) != blob:
            other.append(path)
    return State(tuple(missing), tuple(other), len(manifest()))


def git_id(content: bytes) -> str:
    """The name that git gives a file's content."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


@cache
def mark(suite: str) -> str | None:
    """What the records of a suite must say of its assets: nothing, or `stand-in`."""
    if suite.startswith("embedded_"):
        return None
    folder = libero_assets()
    return None if folder is None or inspect(folder).official else STAND_IN
