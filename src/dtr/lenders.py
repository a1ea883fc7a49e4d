"""Which finished files may stand for one that is still to be made, of the same inputs: an arm's weights, or its episodes.

Made by this version of the stage with these packages, as the run record beside each says: a raised version or a moved lock makes things
anew, and no sibling may bring back what it was raised for. A file without a readable record lends nothing: it is somebody else's trouble.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from dtr.provenance import machine, read_run_record, sha256_file
from dtr.stages import STAGES


def lenders(paths: Iterable[Path], stage: str) -> list[Path]:
    """Those that may, in the order of their names; what was made itself goes before what was taken from another."""
    here = machine()["versions"]
    records = {path: record for path in sorted(paths) if (record := record_of(path)) and alike(record, stage, here)}
    return sorted(records, key=lambda path: "shared_with" in records[path])


def record_of(path: Path) -> Mapping[str, Any]:
    """The run record beside a file; empty where it is none."""
    try:
        record = read_run_record(path)
    except ValueError:
        return {}
    return record if isinstance(record, Mapping) else {}


def alike(record: Mapping[str, Any], stage: str, here: Mapping[str, str]) -> bool:
    """Whether a record is of this version of the stage and of these packages; one that names no version is of the first."""
    versions = record.get("versions")
    if not isinstance(versions, Mapping) or record.get("stage_version", 1) != STAGES[stage].version:
        return False
    return all(versions.get(name) == here.get(name) for name in STAGES[stage].packages if name in {*versions, *here})


def origin(path: Path) -> dict[str, str]:
    """`shared_with` of what is taken from `path`: where it was made itself, if `path` is the same bytes taken from there."""
    own, shared = {"path": str(path), "sha256": sha256_file(path)}, record_of(path).get("shared_with")
    return dict(shared) if isinstance(shared, Mapping) and shared.get("sha256") == own["sha256"] else own
