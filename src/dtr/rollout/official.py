"""The official evaluations of LIBERO, by name: `protocols/*.yaml`. They are not interchangeable, and are given as they are or not at all.

A configuration takes one up by `official: <name>` and may say how much of it is played (`trials`, `tasks`) and in what batches (`batch`).
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from dtr.errors import BadConfig, unknown

FOLDER = Path(__file__).parent / "protocols"
OURS = frozenset({"name", "official", "trials", "tasks", "batch", "precision"})
"""What a configuration may say beside the name."""


def names() -> list[str]:
    """Of all official protocols."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


@cache
def _read(name: str) -> dict[str, Any]:
    return dict(yaml.safe_load((FOLDER / f"{name}.yaml").read_text(encoding="utf-8")))


def resolved(value: Mapping[str, Any], where: str) -> dict[str, Any]:
    """`value` with its official protocol's settings in it. Raises UnknownName, or BadConfig for a setting that is not ours to change."""
    if "official" not in value:
        return dict(value)
    name = value["official"]
    if name not in names():
        raise unknown("official protocol", str(name), names(), f"({where})")
    extra = sorted(set(value) - OURS)
    if extra:
        raise BadConfig(f"{where}: expected {', '.join(sorted(OURS))} beside official: {name}, got {', '.join(extra)}: leave official out.")
    return {**_read(name), **{key: entry for key, entry in value.items() if key != "official"}}
