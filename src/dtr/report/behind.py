"""Which policy is behind a cell: arms that kept the same blocks and were recovered alike are one policy, whatever chose the blocks."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from dtr.dropping.same_blocks import blocks_digest
from dtr.provenance import digest
from dtr.records import read_record

Cell = Mapping[str, Any]
T = TypeVar("T")


class Behind(NamedTuple):
    """The policy behind a cell."""

    blocks: str
    """One name for all plans that left these blocks."""
    training: str
    """Data and recipe of the recovery."""
    episodes: tuple[tuple[str, ...], ...]
    """Seed, protocol and suite of every file of episodes that was counted."""


def episodes_of(cell: Cell) -> list[Path]:
    """The files whose episodes a cell counts."""
    return [Path(part["path"]) for part in cell.get("ancestry", ()) if part["role"] == "episodes"]


def behind(cell: Cell) -> Behind | None:
    """By where its episodes lie: `<cut>/<data>.<recipe>/seed<k>/rollouts/<protocol>/<suite>.jsonl`. None where <cut> has no plan.json.

    Raises BadRecord when that is no plan.
    """
    paths = episodes_of(cell)
    if not paths or len(paths[0].parents) < 5 or not (plan := paths[0].parents[4] / "plan.json").is_file():
        return None
    return Behind(blocks_digest(read_record(plan, "plan")), paths[0].parents[3].name, tuple(sorted(path.parts[-4:] for path in paths)))


def alike(cell: Cell) -> tuple[Behind, str] | None:
    """By which arms are one in a figure: one policy, and the same outcomes. Two trainings on a GPU may differ in their last bits."""
    policy = behind(cell)
    return None if policy is None else (policy, digest(cell["outcomes"]))


def once(items: Sequence[T], key: Callable[[T], Hashable | None]) -> list[tuple[T, int]]:
    """The first item of every key, and how many more have that key; an item without a key stands alone."""
    same: dict[Hashable, list[T]] = {}
    for k, item in enumerate(items):
        same.setdefault(key(item) or k, []).append(item)
    return [(found[0], len(found) - 1) for found in same.values()]


def counted(name: str, more: int) -> str:
    """A policy's name in a figure that draws it once: how many more arms it is."""
    return f"{name} (+{more})" if more else name


def cut_of(policy: Path, header: Mapping[str, Any]) -> str:
    """The cut of an arm by its place, `<cut>/<data>.<recipe>/seed<k>/<policy>`: a twin's header names the arm that was trained."""
    if len(policy.parents) > 2 and (policy.parents[2] / "plan.json").is_file():
        return policy.parents[2].name
    return str((header["plan"] or {"cut": "none"})["cut"])
