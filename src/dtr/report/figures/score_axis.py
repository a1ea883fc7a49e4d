"""The axis on which one metric's profile can be read: linear while every score shows on it, else logarithmic.

A score y with standard error e is told from zero where |y| > e. The smallest |y| of those, t, decides (y in parts of the greatest):

    t >= HIDDEN             linear
    t <  HIDDEN, all y > 0  log
    t <  HIDDEN             symlog, linear between -t and t: there is nothing in there but what its own noise does not tell from zero,
                            so no order of magnitude is claimed of it, and its sign is seen
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

HIDDEN = 1 / 30
"""Of the greatest score: a bar lower than this is less than a point of print (1/72 inch)."""
MOST = 2.0
"""How far an error is followed: a larger one runs out of its panel."""
TEXT, BETWEEN = 7.5, 0.2
"""Points from one tick's label to the next; inches between two lines of panels, about."""


@dataclass(frozen=True)
class Axis:
    """One line of panels: its kind, where it ends, and below what size it is linear (symlog) or nothing is drawn (log)."""

    kind: str
    low: float
    high: float
    threshold: float = 0.0

    @property
    def height(self) -> float:
        """Inches of a line of panels, with what is between it and the next."""
        return {"linear": 0.62, "log": 0.75, "symlog": 0.95}[self.kind]

    def set(self, ax: Any) -> None:
        """Give a panel this axis."""
        if self.kind != "linear":
            more = {"linthresh": self.threshold, "linscale": 0.5} if self.kind == "symlog" else {}
            ax.set_yscale(self.kind, **more)
        ax.set_ylim(self.low, self.high)
        ax.set_yticks(ticks := self.ticks(ax), [f"{y:g}" for y in ticks], fontsize=6)
        ax.set_yticks([], minor=True)
        if self.kind == "symlog":
            for y in (-self.threshold, self.threshold):
                ax.axhline(y, color="#555555", linewidth=0.5, linestyle=":")

    def ticks(self, ax: Any) -> list[float]:
        """Zero and the powers of ten, the largest first, as long as their labels have room."""
        if self.kind == "linear":
            return [-1.0, 0.0, 1.0] if self.low < -0.5 else [0.0, 1.0]
        decades = [10.0**-k for k in range(1 - math.floor(math.log10(self.threshold)))]
        wanted = [0.0, *(sign * y for y in decades for sign in (1, -1))] if self.kind == "symlog" else decades
        inside = [y for y in wanted if self.low <= y <= self.high]
        low, high, *places = ax.yaxis.get_transform().transform([self.low, self.high, *inside])
        apart = TEXT / (72 * (self.height - BETWEEN)) * (high - low)
        found: dict[float, float] = {}
        for y, place in zip(inside, places, strict=True):
            if all(abs(place - other) >= apart for other in found.values()):
                found[y] = place
        return sorted(found)


def axis_of(scores: Sequence[tuple[float, float]]) -> Axis:
    """Of (score, standard error) of the live blocks of every component, each in parts of its component's greatest score."""
    sizes = [abs(y) for y, error in scores if abs(y) > error]
    ends = [min(MOST, max(-MOST, y + sign * error)) for y, error in scores for sign in (-1, 1)]
    low, high, threshold = min(0.0, *ends), max(1.0, *ends), min(sizes, default=1.0)
    if threshold >= HIDDEN:
        return Axis("linear", 1.08 * low, 1.08 * high)
    if all(y > 0 for y, _ in scores):
        least = min(y for y, _ in scores)
        return Axis("log", min([least, *(end for end in ends if end > least / 10)]) / 1.5, 1.5 * high, least)
    return Axis("symlog", 1.5 * low, 1.5 * high, threshold)
