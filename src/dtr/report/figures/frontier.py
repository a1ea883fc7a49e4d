"""The story in one picture: success after recovery against the FLOPs that are kept.

One panel a model; filled is ours with its 95 % interval, hollow the paper's. Arms that are one policy are drawn once, by the first name
(dtr.report.behind).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from dtr.report.behind import alike, counted, once
from dtr.report.cell import read_cell
from dtr.report.figures.labels import Mark, write_names
from dtr.report.figures.style import COLOUR, MARKER, new_figure

Cell = Mapping[str, Any]


def draw(files: Sequence[Path]) -> Figure:
    """From cells of `flops` and `average`, several rows of one or more models."""
    rows: dict[tuple[str, str], dict[str, Cell]] = {}
    for cell in map(read_cell, files):
        rows.setdefault((cell["model"], cell["row"]), {})[cell["column"]] = cell
    models = list(dict.fromkeys(model for model, _ in rows))
    found = [row for row in rows.values() if {"flops", "average"} <= set(row)]
    whole = [
        {"flops": row["flops"], "average": dict(row["average"], setting=counted(row["average"]["setting"], more))}
        for row, more in once(found, lambda row: alike(row["average"]))
    ]
    ranges = y_ranges([y for row in whole for y in heights(row["average"])])
    figure = new_figure(3.6 * max(2, len(models)), 4.2)
    grid = figure.subplots(len(ranges), len(models), sharex=True, sharey="row", squeeze=False, height_ratios=[r[1] - r[0] for r in ranges])
    drawn: dict[str, list[Mark]] = {model: [] for model in models}
    for column, model in enumerate(models):
        for ax, (low, high) in zip(grid[:, column], ranges, strict=True):
            for arm in (arms := [row for row in whole if row["average"]["model"] == model]):
                point(ax, arm["flops"], arm["average"])
            drawn[model] += marks(ax, arms, low, high)
            ax.patch.set_visible(False)  # a name may lie over the tear
            ax.set_ylim(low, high)
            ax.set_xlim(0, 105)
        tear(list(grid[:, column]))
        grid[0, column].set_title(model)
        grid[-1, column].set_xlabel("FLOPs kept, %")
    figure.supylabel("success, mean of the suites, %", fontsize=8)
    shown = dict.fromkeys(kind(row["average"]) for row in rows.values() if "average" in row)
    names = {"-": "undropped", "vision": "vision cut", "language": "language cut", "action": "action cut", "other": "another cut"}
    handles = [Line2D([], [], color=COLOUR[c], marker=MARKER[c], linestyle="", label=names[c]) for c in shown]
    handles.append(Line2D([], [], color="#555555", marker="o", linestyle="", fillstyle="none", label="the paper's (other scale)"))
    figure.legend(handles=handles, loc="outside upper center", ncols=len(handles))
    for column, model in enumerate(models):
        write_names(figure, list(grid[:, column]), drawn[model])
    return figure


def kind(cell: Cell) -> str:
    """The component by which a cell is drawn."""
    return cell["component"] if cell["component"] in COLOUR else "other"


def point(ax: Any, flops: Cell, rate: Cell) -> None:
    """An arm with its interval, and the paper's beside it."""
    component, value = kind(rate), rate["value"]
    look = {"color": COLOUR[component], "marker": MARKER[component], "markersize": 5, "linestyle": ""}
    error = [[100 * (value - rate["interval"]["low"])], [100 * (rate["interval"]["high"] - value)]]
    ax.errorbar([100 * flops["value"]], [100 * value], yerr=error, capsize=2, elinewidth=1, **look)
    if flops["reported"] and rate["reported"]:
        ax.plot([100 * flops["reported"]["value"]], [100 * rate["reported"]["value"]], fillstyle="none", alpha=0.8, **look)


def heights(rate: Cell) -> list[float]:
    """All heights at which something of an arm is drawn, in percent."""
    paper = [100 * rate["reported"]["value"]] if rate["reported"] else []
    return [100 * rate["value"], 100 * rate["interval"]["low"], 100 * rate["interval"]["high"], *paper]


def y_ranges(heights: Sequence[float], gap: float = 25.0, room: float = 5.0) -> list[tuple[float, float]]:
    """The parts of the percent axis in which there is anything, from above; an empty stretch of more than `gap` points is left out."""
    ranges: list[list[float]] = []
    for y in sorted(heights):
        if ranges and y - ranges[-1][1] <= gap:
            ranges[-1][1] = y
        else:
            ranges.append([y, y])
    return [(max(-3.0, low - room), min(102.0, high + room)) for low, high in reversed(ranges)]


def tear(axes: Sequence[Any]) -> None:
    """Mark where the axis leaves something out."""
    look = {"marker": [(-1, -0.5), (1, 0.5)], "markersize": 7, "linestyle": "", "color": "k", "mec": "k", "mew": 1, "clip_on": False}
    for above, below in pairwise(axes):
        above.spines["bottom"].set_visible(False)
        above.tick_params(axis="x", length=0)
        above.plot([0], [0], transform=above.transAxes, **look)
        below.plot([0], [1], transform=below.transAxes, **look)


def marks(ax: Any, arms: Sequence[Mapping[str, Cell]], low: float, high: float) -> list[Mark]:
    """What is drawn of the arms between `low` and `high`: ours, with its interval and named by its setting, and the paper's."""
    found = []
    for arm in arms:
        flops, rate = arm["flops"], arm["average"]
        y, bottom, top = (100 * value for value in (rate["value"], rate["interval"]["low"], rate["interval"]["high"]))
        if bottom <= high and top >= low:
            name = rate["setting"] if low <= y <= high else ""
            found.append(Mark(ax, 100 * flops["value"], bottom, top, y=y, name=name, colour=COLOUR[kind(rate)]))
        if flops["reported"] and rate["reported"] and low <= (paper := 100 * rate["reported"]["value"]) <= high:
            found.append(Mark(ax, 100 * flops["reported"]["value"], paper, paper))
    return found
