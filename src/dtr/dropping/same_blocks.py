"""Whether two plans left the same policy: cuts of other names, and metrics of other formulas, may choose the same blocks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dtr.provenance import digest

CHOICE = ("source", "digest", "kept", "dropped", "parts", "width")
"""What of a plan says which blocks there are; the rest is how they were chosen and what they cost."""


def same_blocks(plan: Mapping[str, Any] | None, other: Mapping[str, Any] | None) -> bool:
    """Of two plans as JSON values; None is the plan that drops nothing."""
    return blocks_digest(plan) == blocks_digest(other)


def blocks_digest(plan: Mapping[str, Any] | None) -> str:
    """One name for all plans that left the same policy."""
    return digest({key: (plan or {}).get(key) for key in CHOICE})
