"""What is in a file that a stage wrote, for its fingerprint: numbers that two processors agree on to about three digits.

Arrays are means and spreads, pictures their colours; digests, paths, machines and times are left out.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from dtr.provenance import read_json

STEPS = 10
"""Rows of a long array that are looked at: further on, contacts amplify rounding."""
PASSING = re.compile(r"[0-9a-f]{16}([0-9a-f]{48})?|.*[/\\].*|\d{4}-\d\d-\d\dT.*")
"""Texts that differ between equal runs: digests, paths, times."""


def plain(value: Any) -> Any:
    """JSON without what differs between equal runs."""
    if isinstance(value, Mapping):
        return {key: plain(inner) for key, inner in value.items() if key not in ("machines", "ancestor", "ancestry")}
    if isinstance(value, list):
        return [plain(inner) for inner in value]
    return "*" if isinstance(value, str) and PASSING.fullmatch(value) else value


def array(values: Any) -> dict[str, Any]:
    """Shape without rows, and mean and spread of the first rows."""
    first = np.asarray(values)[:STEPS].astype(np.float64)
    return {"shape": list(first.shape[1:]), "mean": float(first.mean()), "spread": float(first.std())}


def read_arrays(path: Path) -> dict[str, Any]:
    """A NumPy archive."""
    with np.load(path) as archive:
        return {name: array(archive[name]) for name in sorted(archive.files)}


def read_policy(path: Path) -> dict[str, Any]:
    """A policy file: its header, and of every tensor shape, mean and spread."""
    from dtr.policies.file import load_policy, read_header

    loaded = load_policy(path)
    tensors = {
        name: {"shape": list(t.shape), "mean": float(t.double().mean()), "spread": float(t.double().std(correction=0))}
        for name, t in loaded.policy.state_dict().items()
    }
    return {"header": plain(read_header(path)), "tensors": tensors}


def read_parquet(path: Path) -> dict[str, Any]:
    """A parquet file: every numeric column as an array, pictures by their colours."""
    import pyarrow.parquet
    from PIL import Image

    columns: dict[str, Any] = {}
    for name, values in pyarrow.parquet.read_table(path).slice(0, STEPS).to_pydict().items():
        if values and isinstance(values[0], Mapping):
            values = [np.asarray(Image.open(io.BytesIO(value["bytes"]))).mean(axis=(0, 1)) / 255 for value in values]
        columns[name] = array(values) if np.asarray(values).dtype.kind in "biuf" else plain(values)
    return columns


def read_lines(path: Path) -> list[Any]:
    """One JSON object a line, without traces (bit for bit, they depend on the processor)."""
    records = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return [plain({key: value for key, value in record.items() if key != "trace"}) for record in records]


def read_table(path: Path) -> list[list[Any]]:
    """A CSV with its numbers as numbers."""
    with open(path, newline="", encoding="utf-8") as file:
        return [[number(text) for text in line] for line in csv.reader(file)]


def read_prose(path: Path) -> list[Any]:
    """Text with its numbers as numbers."""
    return [number(part) for part in re.split(r"(-?\d+\.?\d*(?:e-?\d+)?)", path.read_text(encoding="utf-8"))]


def number(text: str) -> Any:
    """The number that a text is, or the text."""
    try:
        return float(text)
    except ValueError:
        return plain(text)


def read_page(path: Path) -> list[Any]:
    """A page's text with its numbers as numbers, without paths and hashes."""
    return [
        number(part)
        for part in re.split(r"(-?\d+\.?\d*)", re.sub(r"[^\s<>]*/[^\s<>]*|[0-9a-f]{16,}", "*", path.read_text(encoding="utf-8")))
    ]


def read_picture(path: Path) -> dict[str, Any]:
    """A picture's size, and how dark it is; letters are drawn the same everywhere, edges nearly."""
    from PIL import Image

    grey = np.asarray(Image.open(path).convert("L")) / 255
    return {"shape": list(grey.shape), "mean": float(grey.mean())}


READERS: dict[str, Callable[[Path], Any]] = {
    ".json": lambda path: plain(dict(read_json(path))),
    ".jsonl": read_lines,
    ".npz": read_arrays,
    ".parquet": read_parquet,
    ".safetensors": read_policy,
    ".csv": read_table,
    ".md": read_prose,
    ".html": read_page,
    ".png": read_picture,
}
