"""What is changed about a suite, as text that is also a part of a path: `embedded_goal+camera-3`, `libero_goal+blank`.

    <suite>[+<category>-<level>][+<instruction>]

Categories are those of LIBERO-Plus (Fei et al. 2025, arXiv 2510.13626), levels 1 (slight) to 5. An instruction mode says what the policy is
told instead of the task's own words. Every random choice is a function of (category, level, seed, suite, task, initial state).
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from typing import Any

import numpy as np

from dtr.errors import UnknownName, unknown
from dtr.provenance import digest

CATEGORIES = ("camera", "robot", "language", "light", "background", "noise", "layout")
"""In the order of LIBERO-Plus's leaderboard."""
LEVELS = (1, 2, 3, 4, 5)
INSTRUCTIONS = ("blank", "swapped", "shuffled")
"""blank: nothing. swapped: that of another task of the suite, one that is possible in the same scene if there is any (dtr.sim.scenes).
shuffled: the same words in another order."""
VERSION = 1
"""Of all perturbations together: raise it when one of them no longer does what it did."""
VERSIONS = {"swapped": 2, "language": 2}
"""Of single instruction modes and categories, where they have changed since."""
PATTERN = rf"(?:\+(?:{'|'.join(CATEGORIES)})-[{LEVELS[0]}-{LEVELS[-1]}])?(?:\+(?:{'|'.join(INSTRUCTIONS)}))?"
"""Regular expression of a variant's text."""


@dataclass(frozen=True)
class Perturbation:
    """One category at one strength."""

    category: str
    level: int

    @classmethod
    def parse(cls, text: str) -> Perturbation:
        """From `camera-3`. Raises UnknownName."""
        known = [f"{category}-{level}" for category in CATEGORIES for level in LEVELS]
        if text not in known:
            raise unknown("perturbation", text, known)
        category, level = text.split("-")
        return cls(category, int(level))

    def __str__(self) -> str:
        return f"{self.category}-{self.level}"

    def of_level(self, strengths: tuple[Any, ...]) -> Any:
        """The entry of this level in a table of five."""
        return strengths[self.level - 1]


@dataclass(frozen=True)
class Variant:
    """A perturbation, an instruction mode, both, or nothing."""

    perturbation: Perturbation | None = None
    instruction: str | None = None

    @classmethod
    def of(cls, perturbation: str | None, instruction: str | None) -> Variant:
        """From the two names. Raises UnknownName."""
        if instruction is not None and instruction not in INSTRUCTIONS:
            raise unknown("instruction mode", instruction, INSTRUCTIONS)
        return cls(None if perturbation is None else Perturbation.parse(perturbation), instruction)

    def __str__(self) -> str:
        return "".join(f"+{part}" for part in (self.perturbation, self.instruction) if part is not None)

    def conditions(self) -> str:
        """What stands in the conditions of an episode: empty for nothing, so that those of plain episodes stay as they were."""
        parts = (self.instruction, self.perturbation and self.perturbation.category)
        return digest([str(self), max(VERSIONS.get(part or "", VERSION) for part in parts)]) if str(self) else ""


def split(label: str) -> tuple[str, Variant]:
    """(suite, variant) of `<suite>[+...]`. Raises UnknownName."""
    found = re.fullmatch(rf"([a-z0-9_]+)({PATTERN})", label)
    if found is None:
        raise UnknownName(
            f"unknown variant {label!r}: expected <suite>[+<category>-<level>][+<instruction>], with one of {', '.join(CATEGORIES)}, "
            f"a level from {LEVELS[0]} to {LEVELS[-1]} and one of {', '.join(INSTRUCTIONS)}."
        )
    parts = found.group(2).split("+")[1:]
    perturbation = next((part for part in parts if "-" in part), None)
    return found.group(1), Variant.of(perturbation, next((part for part in parts if "-" not in part), None))


def generator(*what: Any) -> np.random.Generator:
    """A random stream that is a function of `what` (JSON values and arrays) on every machine."""
    sha = hashlib.sha256()
    for part in what:
        sha.update(part.tobytes() if isinstance(part, np.ndarray) else json.dumps(part).encode())
    return np.random.default_rng(int.from_bytes(sha.digest()[:16], "little"))


def signed(rng: np.random.Generator, most: float) -> float:
    """A number of either sign, of at least three quarters of `most`: a level is a strength, not an upper bound."""
    return float(rng.uniform(0.75, 1.0) * most * rng.choice([-1.0, 1.0]))
