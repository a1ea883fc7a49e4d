"""Names of points that overlap nothing: no other name, no mark, no edge of the panel; a thin line leads to a name that is not beside.

A name of w x h points (1/72 inch) is tried on rings around its point p. Of all its boxes b the cheapest is taken,

    cost(b) = |b - p| + 1000 [b on a name, a mark or the edge] + 300 [line through a name or line, b on a line] + 60 [line on a mark],

greedily in several orders, then twice again each while the others stay; of the orders the cheapest is kept. Lengths are of paper, not of
pixels: what is placed for one resolution holds for every other one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from matplotlib.figure import Figure
from matplotlib.transforms import Bbox

from dtr.report.figures.style import measured

BLOCKED, CROSSED, TOUCHED = 1000.0, 300.0, 60.0
RINGS = (*range(7, 40, 4), *range(40, 200, 8))
ANGLES = [math.radians(a) for a in (180, *(180 + s * a for a in range(15, 181, 15) for s in (1, -1)))][:-1]
BESIDE, LEVEL, ROOM, ROUNDS = 8.0, 2.5, 1.2, 3
"""Points: a name that near, and level with its point or straight above or below it, needs no line; what is kept free around a name. How
often the names are placed anew."""

Line = tuple[float, float, float, float]


class Box(NamedTuple):
    """A rectangle in points from the figure's corner."""

    x0: float
    y0: float
    x1: float
    y1: float


@dataclass(frozen=True)
class Mark:
    """Something drawn at `x` from `low` to `high` (data), that many points wide; `name` in `colour` is to be written at height `y`."""

    ax: Any
    x: float
    low: float
    high: float
    width: float = 6.0
    y: float = 0.0
    name: str = ""
    colour: str = "#000000"


@dataclass(frozen=True)
class Name:
    """A mark's name: its point (in points from the figure's corner) and its size."""

    mark: Mark
    x: float
    y: float
    width: float
    height: float

    def box(self, radius: float, angle: float) -> Box:
        """The name's box `radius` away in that direction: the corner or edge that faces the point lies on the ring."""
        cos, sin = math.cos(angle), math.sin(angle)
        centre = self.x + radius * cos + self.width / 2 * max(-1, min(1, 2 * cos)), self.y + radius * sin + self.height / 2 * sin
        w, h = self.width / 2, self.height / 2
        return Box(centre[0] - w, centre[1] - h, centre[0] + w, centre[1] + h)

    def line(self, box: Box) -> Line | None:
        """From the point to the nearest spot of the name; none where the name is beside the point."""
        x, y = min(max(self.x, box.x0), box.x1), min(max(self.y, box.y0), box.y1)
        dx, dy = abs(x - self.x), abs(y - self.y)
        return None if max(dx, dy) <= BESIDE and min(dx, dy) <= LEVEL else (self.x, self.y, x, y)


def write_names(figure: Figure, axes: Sequence[Any], marks: Sequence[Mark], fontsize: float = 6.5) -> None:
    """Write the names of the marks of one panel, which may be torn into several axes; the figure's layout does not move."""
    figure.draw_without_rendering()
    scale = 72 / figure.dpi
    edge = Box(*map(float, scale * Bbox.union([ax.bbox for ax in axes]).get_points().ravel()))
    names, blocks = [], []
    for mark in marks:
        low, high = mark.ax.get_ylim()
        (x, bottom), (_, top) = scale * mark.ax.transData.transform([(mark.x, max(low, mark.low)), (mark.x, min(high, mark.high))])
        half = mark.width / 2
        blocks.append(Box(*map(float, (x - half, bottom - half, x + half, top + half))))
        if mark.name:
            width, height = measured(figure, mark.name, fontsize)
            x, y = scale * mark.ax.transData.transform((mark.x, mark.y))
            names.append(Name(mark, float(x), float(y), width + 2 * ROOM, height + 2 * ROOM))
    for name, box in zip(names, place(names, blocks, edge), strict=True):
        line = name.line(box)
        relative = ((line[2] - box.x0) / name.width, (line[3] - box.y0) / name.height) if line else (0.5, 0.5)
        look = {
            "arrowstyle": "-",
            "linewidth": 0.5,
            "color": name.mark.colour,
            "alpha": 0.6,
            "relpos": relative,
            "shrinkA": 0,
            "shrinkB": 3,
        }
        written = name.mark.ax.annotate(
            name.mark.name,
            (name.mark.x, name.mark.y),
            xytext=((box.x0 + box.x1) / 2 - name.x, (box.y0 + box.y1) / 2 - name.y),
            textcoords="offset points",
            ha="center",
            va="center",
            fontsize=fontsize,
            color=name.mark.colour,
            arrowprops=look if line else None,
            annotation_clip=False,
        )
        written.set_in_layout(False)


def place(names: Sequence[Name], blocks: Sequence[Box], edge: Box) -> list[Box]:
    """A box for every name, in the order given."""
    along = sorted(range(len(names)), key=lambda i: names[i].x)
    crowded = sorted(along, key=lambda i: -sum(math.hypot(names[i].x - n.x, names[i].y - n.y) < 40 for n in names))
    _, found = min((settle(names, order, blocks, edge) for order in (crowded, along, along[::-1])), key=lambda tried: tried[0])
    return [found[i] for i in range(len(names))]


def settle(names: Sequence[Name], order: Sequence[int], blocks: Sequence[Box], edge: Box) -> tuple[float, dict[int, Box]]:
    """Place the names in that order, ROUNDS times; the sum of their last prices, and the boxes."""
    found: dict[int, Box] = {}
    for _ in range(ROUNDS):
        prices = []
        for i in order:
            others = [found[j] for j in found if j != i]
            lines = [line for j in found if j != i and (line := names[j].line(found[j]))]
            best = math.inf
            for radius in RINGS:
                if radius >= best:
                    break
                for box in (names[i].box(radius, angle) for angle in ANGLES):
                    if (price := radius + cost(names[i], box, others, lines, blocks, edge, best - radius)) < best:
                        best, found[i] = price, box
            prices.append(best)
    return sum(prices), found


def cost(
    name: Name, box: Box, others: Sequence[Box], lines: Sequence[Line], blocks: Sequence[Box], edge: Box, limit: float = math.inf
) -> float:
    """What a box costs beside its distance; not counted further than `limit`."""
    if limit <= BLOCKED and (not inside(box, edge) or any(overlap(box, b) for b in (*others, *blocks))):
        return BLOCKED
    total = BLOCKED * (sum(overlap(box, b) for b in (*others, *blocks)) + (not inside(box, edge)))
    if total >= limit:
        return total
    total += CROSSED * sum(through(line, box) for line in lines)
    if own := name.line(box):
        total += CROSSED * (sum(through(own, b) for b in others) + sum(crossing(own, line) for line in lines))
        total += TOUCHED * sum(through(own, b) for b in blocks if not overlap(b, Box(name.x, name.y, name.x, name.y)))
    return total


def overlap(a: Box, b: Box) -> bool:
    """Whether two boxes share more than an edge."""
    return a.x0 < b.x1 and b.x0 < a.x1 and a.y0 < b.y1 and b.y0 < a.y1


def inside(a: Box, b: Box) -> bool:
    """Whether `a` lies in `b`."""
    return a.x0 >= b.x0 and a.x1 <= b.x1 and a.y0 >= b.y0 and a.y1 <= b.y1


def through(line: Line, box: Box) -> bool:
    """Whether a line runs through a box (Liang and Barsky's clipping)."""
    x, y, dx, dy = line[0], line[1], line[2] - line[0], line[3] - line[1]
    enter, leave = 0.0, 1.0
    for step, room in ((-dx, x - box.x0), (dx, box.x1 - x), (-dy, y - box.y0), (dy, box.y1 - y)):
        if step == 0 and room <= 0:
            return False
        if step < 0:
            enter = max(enter, room / step)
        elif step > 0:
            leave = min(leave, room / step)
    return enter < leave


def crossing(a: Line, b: Line) -> bool:
    """Whether two lines cross."""

    def side(line: Line, x: float, y: float) -> float:
        return (line[2] - line[0]) * (y - line[1]) - (line[3] - line[1]) * (x - line[0])

    return side(a, b[0], b[1]) * side(a, b[2], b[3]) < 0 and side(b, a[0], a[1]) * side(b, a[2], a[3]) < 0
