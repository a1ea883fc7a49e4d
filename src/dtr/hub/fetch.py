"""Verb `fetch`: published files at a pinned revision, each with its hash, whole or not there.

    work/hub/<id>@<revision>/<files>             whole and checked
                            /.partial/<file>     what has come of a file so far; the next run goes on behind it
                            /fetched.json        bytes and SHA-256 of every file

A folder that holds everything needs no network, so it may also be brought here from another machine.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from dtr.errors import BadConfig, DiskFull, FetchFailed
from dtr.hub.download import HuggingFace, Listing, Remote, RemoteFile
from dtr.hub.manifest import Source, add_entry_arguments, matching, read_entry, sources_of
from dtr.policies.tokenizer import FETCHED
from dtr.provenance import read_json, sha256_file, write_json

RECORD = "fetched.json"
SPARE = 2**30
"""Bytes of the disk that are left alone."""


def fetch(source: Source, remote: Remote, store: Path = FETCHED) -> Path:
    """The folder with all files of `source`, fetched where they were missing. Two that fetch the same wait for each other.

    BadConfig without a pinned revision; FetchFailed for everything on the way; DiskFull, before anything is fetched, without room.
    """
    folder = source.folder(store)
    (folder / ".partial").mkdir(parents=True, exist_ok=True)
    with open(folder / ".partial/.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return _fetch(source, remote, folder)


def _fetch(source: Source, remote: Remote, folder: Path) -> Path:
    have = recorded(folder)
    check_hashes(source, {name: entry["sha256"] for name, entry in have.items()})
    if all(matching(have, pattern) for pattern in source.patterns) and have_all(folder, have):
        return folder
    listing = remote.listing(source, source.pinned())
    if listing.commit != source.revision:
        raise FetchFailed(f"{source.id}: asked for {source.revision}, the hub answered with {listing.commit}: pin a full commit.")
    files = [file for file in chosen(source, listing) if not whole(folder, file.name, have)]
    reserve(folder, files)
    for file in files:
        have[file.name] = bring(source, file, remote, folder)
        write_json(folder / RECORD, {"id": source.id, "kind": source.kind, "revision": source.revision, "files": have})
    return folder


def chosen(source: Source, listing: Listing) -> list[RemoteFile]:
    """The files that the patterns mean. FetchFailed when one of them means none."""
    names = {file.name: file for file in listing.files}
    for pattern in source.patterns:
        if not matching(names, pattern):
            raise FetchFailed(
                f"{source.id} has no file {pattern!r}, only {', '.join(sorted(names)[:12])}{' ...' if len(names) > 12 else ''}: "
                "correct the names in the configuration."
            )
    return [names[name] for name in sorted({name for pattern in source.patterns for name in matching(names, pattern)})]


def bring(source: Source, file: RemoteFile, remote: Remote, folder: Path) -> dict[str, Any]:
    """Download one file, check it, and put it under its name: its bytes and hash."""
    if Path(file.name).is_absolute() or ".." in Path(file.name).parts:
        raise FetchFailed(f"{source.id} names a file {file.name!r}, which lies outside of its folder: do not trust this repository.")
    partial = folder / ".partial" / file.name
    partial.parent.mkdir(parents=True, exist_ok=True)
    if partial.exists() and partial.stat().st_size > file.size:
        partial.unlink()
    remote.download(source, file, partial)
    got, promised = sha256_file(partial), {file.sha256, source.sha256.get(file.name)} - {None}
    if promised - {got} or partial.stat().st_size != file.size:
        wanted = " and ".join(sorted(map(str, promised))) or f"{file.size} bytes"
        partial.unlink()
        raise FetchFailed(
            f"{file.name} of {source.id} should have SHA-256 {wanted}, got {got}: run this again, or correct `sha256` in the configuration."
        )
    with open(partial, "rb+") as out:
        os.fsync(out.fileno())
    (folder / file.name).parent.mkdir(parents=True, exist_ok=True)
    os.replace(partial, folder / file.name)
    return {"bytes": file.size, "sha256": got}


def check_hashes(source: Source, have: dict[str, str]) -> None:
    """FetchFailed when a file that is here is not the one that the configuration names."""
    for name, want in source.sha256.items():
        if have.get(name, want) != want:
            raise FetchFailed(
                f"{name} of {source.id} should have SHA-256 {want}, the one here has {have[name]}: delete it, or correct the configuration."
            )


def reserve(folder: Path, files: Iterable[RemoteFile]) -> None:
    """DiskFull unless there is room for what is still to come."""
    left = sum(max(0, file.size - size_of(folder / ".partial" / file.name)) for file in files)
    free = shutil.disk_usage(folder).free
    if left + SPARE > free and left:
        raise DiskFull(f"{folder} needs {left / 1e9:.1f} GB more and the disk has {free / 1e9:.1f} GB: free some space there first.")


def recorded(folder: Path) -> dict[str, Any]:
    """Bytes and hash by name of the files that were fetched before."""
    path = folder / RECORD
    return dict(read_json(path)["files"]) if path.exists() else {}


def whole(folder: Path, name: str, have: dict[str, Any]) -> bool:
    """Whether a file is recorded and as long as it was."""
    return name in have and size_of(folder / name) == have[name]["bytes"]


def have_all(folder: Path, have: dict[str, Any]) -> bool:
    """Whether every recorded file is there."""
    return all(whole(folder, name, have) for name in have)


def size_of(path: Path) -> int:
    """Bytes of a file, 0 when there is none."""
    return path.stat().st_size if path.exists() else 0


def place(folder: Path, out: Path) -> None:
    """The fetched files once more under `out`, as hard links where the disk allows it."""
    for name in recorded(folder):
        to = out / name
        to.parent.mkdir(parents=True, exist_ok=True)
        to.unlink(missing_ok=True)
        try:
            os.link(folder / name, to)
        except OSError:  # another disk
            shutil.copyfile(folder / name, to)


def add_parser(verbs: Any) -> None:
    """Declare `dtr fetch`."""
    p = verbs.add_parser("fetch", help="fetch published weights or demonstrations at a pinned revision (resumable)")
    add_entry_arguments(p)
    p.add_argument("--out", type=Path, help="folder in which a data set is also put")
    what = p.add_mutually_exclusive_group()
    what.add_argument("--resolve", action="store_true", help="fetch nothing; print the current revision, to be pinned by hand")
    what.add_argument("--record", action="store_true", help="fetch, then print the hashes, to be written into the configuration by hand")
    p.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """The verb."""
    sources, remote = sources_of(read_entry(args.config, args.name)), HuggingFace()
    if args.out is not None and len(sources) > 1:
        raise BadConfig("--out expects a single repository, this entry has two: leave --out away, the files lie in --store.")
    for source in sources:
        if args.resolve:
            print(f"# {source.id}\nrevision: {remote.listing(source, None).commit}")
            continue
        folder = fetch(source, remote, args.store)
        if args.record:
            lines = (f"  {name}: {entry['sha256']}" for name, entry in sorted(recorded(folder).items()))
            print(f"# {source.id}\nsha256:\n" + "\n".join(lines))
            continue
        print(f"{folder}: {len(recorded(folder))} files, {sum(e['bytes'] for e in recorded(folder).values()) / 1e9:.2f} GB")
        if args.out is not None:
            place(folder, args.out)
