"""Read a JSON record and hold it against its schema."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema

from dtr.errors import BadRecord
from dtr.provenance import read_json

SCHEMAS = Path(__file__).resolve().parents[2] / "schemas"


@cache
def schema(kind: str) -> dict[str, Any]:
    """The JSON Schema of one kind of record: `plan`, `score`, `cost`, `hello`, `check`."""
    value: dict[str, Any] = json.loads((SCHEMAS / f"{kind}.schema.json").read_text(encoding="utf-8"))
    return value


def validate(value: Any, kind: str, where: str | Path) -> None:
    """Raises BadRecord, naming the first field of `value` (read from `where`) that is not as its schema says."""
    error = jsonschema.exceptions.best_match(jsonschema.Draft202012Validator(schema(kind)).iter_errors(value))
    if error is not None:
        raise BadRecord(f"{where} is no {kind}: {error.json_path}: {error.message[:200]}; write it again with `dtr {VERBS[kind]}`.")


VERBS = {"plan": "drop", "score": "score", "stability": "stability", "cost": "cost", "hello": "rollout --robot", "check": "check-data"}


def read_record(path: str | Path, kind: str) -> dict[str, Any]:
    """The validated record at `path`. Raises BadRecord when it is missing, no JSON, or not as its schema says."""
    try:
        value = dict(read_json(path))
    except (OSError, ValueError, TypeError) as error:
        raise BadRecord(f"expected a {kind} at {path}, but it cannot be read ({error}); write it with `dtr {VERBS[kind]}`.") from error
    validate(value, kind, path)
    return value
