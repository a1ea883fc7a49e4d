"""What Snakemake knew about a cached artifact, given back to it, so that nothing reruns that need not.

After `git clone` + `dvc pull` files have arbitrary times and no Snakemake records, and Snakemake would run everything again. So
artifacts/<scale>/records.json travels with the artifacts: for each of them the hash of its content and Snakemake's own record
(inputs, parameters). `adopt`, called whenever the Snakefile is read, gives every artifact that *is* the cached one, byte for byte,
that record and one constant time. What was made here keeps its own record and time; what was edited here gets nothing.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from dtr.errors import BadRecord
from dtr.provenance import digest, read_json, sha256_file, write_json

CACHED_S = 1_600_000_000
"""The time of every adopted file. Snakemake reruns a job whose input is *newer* than its output, so equal times never do."""
METADATA = Path(".snakemake/metadata")
TIMESTAMP = ".snakemake_timestamp"
"""Snakemake's marker in a directory that is an output; its time counts for the directory."""
BESIDE = (".run.json", ".losses.jsonl")
"""What a stage writes beside its output: cached with it, and not known to Snakemake."""


def record_path(artifact: str) -> Path:
    """Where Snakemake 9 keeps its record of an artifact: the path in URL-safe base 64, in pieces of a file name's length."""
    encoded = base64.urlsafe_b64encode(artifact.encode()).decode()
    pieces = [encoded[i : i + 254] for i in range(0, len(encoded), 254)]
    return METADATA.joinpath(*("@" + piece for piece in pieces[:-1]), pieces[-1])


def records() -> Iterator[tuple[str, dict[str, Any]]]:
    """Every artifact that Snakemake has a record of, with the record."""
    for path in sorted(METADATA.rglob("*")):
        if path.is_file():
            encoded = "".join(part.removeprefix("@") for part in path.relative_to(METADATA).parts)
            yield base64.urlsafe_b64decode(encoded).decode(), dict(read_json(path))


def files_of(artifact: Path) -> list[Path]:
    """The files of an artifact: itself, or those in a folder, without Snakemake's marker."""
    if not artifact.is_dir():
        return [artifact]
    return sorted(path for path in artifact.rglob("*") if path.is_file() and path.name != TIMESTAMP)


def content(artifact: Path) -> str:
    """Hash of a file, or of a folder's names and files."""
    if not artifact.is_dir():
        return sha256_file(artifact)
    return digest({str(path.relative_to(artifact)): sha256_file(path) for path in files_of(artifact)})


def from_cache(artifact: Path) -> bool:
    """Whether all of an artifact was adopted from the cache and nothing of it changed since."""
    return all(path.stat().st_mtime_ns == CACHED_S * 10**9 for path in files_of(artifact))


def adopt(scale: str) -> list[str]:
    """Give the cached artifacts of `scale` their records and the constant time. Returns those that were adopted just now."""
    index = Path(f"artifacts/{scale}/records.json")
    if not index.exists():
        return []
    try:
        cached: Mapping[str, Any] = read_json(index)
        adopted = [artifact for artifact, entry in cached.items() if Path(artifact).exists() and adopt_one(Path(artifact), entry)]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadRecord(f"{index} is damaged ({error!r}): delete it and fetch it again with `dtr store pull`.") from error
    os.utime(index, (CACHED_S, CACHED_S))
    return adopted


def adopt_one(artifact: Path, entry: Mapping[str, Any]) -> bool:
    """Adopt one artifact if it is the cached one and was not made here."""
    path = record_path(str(artifact))
    own = dict(read_json(path)) if path.exists() else None
    if own is not None and (from_cache(artifact) or made_here(artifact, own)):
        return False
    if content(artifact) != entry["content"]:
        return False
    (METADATA.parent / "incomplete").mkdir(parents=True, exist_ok=True)  # without it Snakemake takes the folder for an old version's
    write_json(path, entry["record"])
    if artifact.is_dir():
        (artifact / TIMESTAMP).touch()
        os.utime(artifact / TIMESTAMP, (CACHED_S, CACHED_S))
    beside = [Path(f"{artifact}{suffix}") for suffix in BESIDE]
    for file in (*files_of(artifact), artifact, *(path for path in beside if path.exists())):
        os.utime(file, (CACHED_S, CACHED_S))
    return True


def made_here(artifact: Path, record: Mapping[str, Any]) -> bool:
    """Whether Snakemake made the artifact in this folder and nothing replaced it since: the record holds the artifact's time."""
    marker = artifact / TIMESTAMP
    made_s = (marker if marker.exists() else artifact).stat().st_mtime
    return record.get("endtime") is not None and abs(float(record["endtime"]) - made_s) < 1e-3
