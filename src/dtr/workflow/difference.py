"""Where two fingerprints differ: structures of numbers, compared to about three digits."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

RELATIVE, ABSOLUTE = 3e-3, 3e-4
"""Two numbers are the same when they differ by less than this."""


def first_difference(old: Any, new: Any, where: str = "") -> str | None:
    """Where two fingerprints first differ, and how; None when they do not."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in sorted({*old, *new}):
            if key not in old or key not in new:
                return f"{where}/{key} is {'new' if key in new else 'gone'}"
            if (found := first_difference(old[key], new[key], f"{where}/{key}")) is not None:
                return found
        return None
    if isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        return next(
            (found for i, pair in enumerate(zip(old, new, strict=True)) if (found := first_difference(*pair, f"{where}/{i}"))), None
        )
    numeric = all(isinstance(value, int | float) and not isinstance(value, bool) for value in (old, new))
    same = math.isclose(old, new, rel_tol=RELATIVE, abs_tol=ABSOLUTE) if numeric else old == new
    return None if same else f"{where}: {old!r:.60} became {new!r:.60}"
