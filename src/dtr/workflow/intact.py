"""Whether cached bytes are the ones that dvc.lock names: MD5 of a file, or of a folder's list of files and of each of them.

DVC trusts a cache or a remote that it has seen before. A policy that somebody changed there, or a disk did, must not come back as ours.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from dtr.errors import BadRecord, MissingAssets

DIRECTORY = ".dir"
"""The end of the MD5 of a folder: its object is a JSON list of names with their MD5s."""


def md5_file(path: Path) -> str:
    """Hexadecimal MD5 of a file, read in pieces."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def object_path(root: Path, md5: str) -> Path:
    """Where a store or cache keeps an object."""
    return root / "files/md5" / md5[:2] / md5[2:]


def members(root: Path, md5: str) -> dict[str, str]:
    """Name -> MD5 of the files of a folder, from its object in the store or cache `root`; of a file, itself under no name."""
    if not md5.endswith(DIRECTORY):
        return {"": md5}
    return {entry["relpath"]: entry["md5"] for entry in json.loads(object_path(root, md5).read_text(encoding="utf-8"))}


def objects(root: Path, locked: Mapping[str, Mapping[str, Any]]) -> Iterator[tuple[str, str]]:
    """(path of the artifact, MD5) of every object that a whole store holds. A folder's own object comes before its members."""
    for artifact, out in locked.items():
        if out["md5"].endswith(DIRECTORY):
            yield artifact, out["md5"]
        for name, md5 in members(root, out["md5"]).items():
            yield str(Path(artifact, name)), md5


def check_store(root: Path, locked: Mapping[str, Mapping[str, Any]]) -> None:
    """Raises MissingAssets or BadRecord, naming the first artifact that the store lacks or holds with other bytes."""
    for artifact, md5 in objects(root, locked):
        found = object_path(root, md5)
        if not found.exists():
            raise MissingAssets(
                f"{root}/ lacks {artifact}: bring it back with `git checkout -- {root}`, or run `dtr store push` where it is."
            )
        if md5_file(found) != md5.removesuffix(DIRECTORY):
            raise BadRecord(
                f"{artifact} in {root}/ is damaged or was tampered with ({found} has not the MD5 that it is named after): bring it back "
                f"with `git checkout -- {root}`, or run `dtr store push` where it is whole."
            )


def check_pulled(cache: Path, locked: Mapping[str, Mapping[str, Any]]) -> None:
    """Raises BadRecord, naming the first artifact here whose bytes are not those of dvc.lock; it and its object in the cache are removed,
    so that the next pull fetches them anew."""
    for artifact, out in locked.items():
        for name, md5 in listed(cache, artifact, out["md5"]).items():
            here = Path(artifact, name)
            if here.exists() and md5_file(here) == md5:
                continue
            for damaged in (here, object_path(cache, md5)):
                damaged.unlink(missing_ok=True)
            raise BadRecord(
                f"{here} did not come as dvc.lock names it (MD5 {md5}): the cache or the remote is damaged or was tampered with, so it was "
                f"refused and removed here; run `dtr store pull` again, and where it stays so `snakemake -- {artifact}` makes it."
            )


def listed(cache: Path, artifact: str, md5: str) -> dict[str, str]:
    """The members of a pulled artifact. Raises BadRecord when the list of a folder is itself another one."""
    found = object_path(cache, md5)
    if md5.endswith(DIRECTORY) and (not found.exists() or md5_file(found) != md5.removesuffix(DIRECTORY)):
        found.unlink(missing_ok=True)
        raise BadRecord(f"the list of files of {artifact} did not come as dvc.lock names it: it was removed; run `dtr store pull` again.")
    return members(cache, md5)


def prune(root: Path, locked: Mapping[str, Mapping[str, Any]]) -> int:
    """Delete the objects of a store that nothing in dvc.lock names; how many."""
    named = {object_path(root, md5) for _, md5 in objects(root, locked)}
    gone = [path for path in root.glob("files/md5/*/*") if path not in named]
    for path in gone:
        path.unlink()
    return len(gone)
