"""How much language matters: one panel a set of tasks, arms along x, an instruction a colour and a marker.

Filled: the task's own goal was reached. Hollow, beside it: the goal of what was said was reached (swapped instructions only; under the
right one both are the same, under a blank one there is nothing to follow). A star: differs from the undropped policy.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from dtr.errors import BadConfig, BadRecord
from dtr.report.figures.captions import SETS
from dtr.report.figures.style import CYCLE, new_figure

LOOK = {"right": (CYCLE[0], "o"), "blank": (CYCLE[7], "s"), "swapped": (CYCLE[1], "^")}
"""Instruction -> colour and marker."""
PLACES = {("right", "success"): -0.27, ("blank", "success"): -0.09, ("swapped", "success"): 0.09, ("swapped", "followed"): 0.27}
"""What is drawn of an arm, and how far from the middle of its place."""
SIGNIFICANT = 0.05
ROOM = 380.0
"""Letters of one point that fit side by side under a panel: its width in points over that of a letter."""

Line = Mapping[str, str]


def draw(files: Sequence[Path]) -> Figure:
    """From language_pressure.csv."""
    if len(files) != 1:
        raise BadConfig(f"the figure language_pressure is drawn from one language_pressure.csv, got {len(files)} files.")
    lines = read(files[0])
    sets = list(dict.fromkeys(line["set"] for line in lines))
    rows = {name: list(dict.fromkeys(line["row"] for line in lines if line["set"] == name)) for name in sets}
    figure = new_figure(7.2, 2.5 * ((len(sets) + 1) // 2) + 0.5)
    grid = figure.subplots((len(sets) + 1) // 2, min(2, len(sets)), sharey=True, squeeze=False)
    for ax in grid.flat[len(sets) :]:
        ax.set_visible(False)
    longest = max(len(word) for line in lines for word in line["setting"].split())
    fontsize = min(8.0, ROOM / (longest * max(map(len, rows.values()))))
    for ax, name in zip(grid.flat, sets, strict=False):
        panel(ax, SETS.get(name, name), rows[name], [line for line in lines if line["set"] == name], fontsize)
    for ax in grid[:, 0]:
        ax.set_ylabel("episodes, %")
    handles = [Line2D([], [], color=c, marker=m, linestyle="", label=f"{said} instruction: success") for said, (c, m) in LOOK.items()]
    colour, marker = LOOK["swapped"]
    handles.append(Line2D([], [], color=colour, marker=marker, linestyle="", fillstyle="none", label="swapped: followed what was said"))
    figure.legend(handles=handles, loc="outside upper center", ncols=4, columnspacing=1.0, handletextpad=0.2)
    return figure


def read(path: Path) -> list[dict[str, str]]:
    """The lines of the CSV. Raises BadRecord when it is none of ours."""
    try:
        with open(path, newline="", encoding="utf-8") as file:
            lines = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise BadRecord(f"expected a CSV of `dtr pressure` at {path}, but it cannot be read ({error}); write it again.") from error
    if not lines or not {"set", "instruction", "success", "followed"} <= set(lines[0]):
        raise BadRecord(f"expected a CSV of `dtr pressure` at {path}, got other columns or no line; write it again.")
    return lines


def panel(ax: Any, title: str, rows: Sequence[str], lines: Sequence[Line], fontsize: float) -> None:
    """One set of tasks."""
    for line in lines:
        if line["status"] != "run":
            continue
        for what in ("success", "followed"):
            if (place := PLACES.get((line["instruction"], what))) is not None:
                point(ax, rows.index(line["row"]) + place, line, what)
    for x, row in enumerate(rows):
        own = [line for line in lines if line["row"] == row]
        if all(line["status"] != "run" for line in own):
            ax.text(x, 50, "not run", rotation=90, ha="center", va="center", color="#777777")
        if x:
            ax.axvline(x - 0.5, color="#dddddd", linewidth=0.5)
    ax.set_xticks(range(len(rows)), [label(row, lines) for row in rows], fontsize=fontsize)
    ax.tick_params(axis="x", length=0)
    ax.grid(visible=False, axis="x")
    ax.set_xlim(-0.5, len(rows) - 0.5)
    ax.set_ylim(-6, 112)
    ax.set_yticks(range(0, 101, 25))
    ax.set_title(title)


def label(row: str, lines: Sequence[Line]) -> str:
    """An arm under its place: its setting, a line a word."""
    return next(line["setting"] for line in lines if line["row"] == row).replace(" ", "\n")


def point(ax: Any, x: float, line: Line, what: str) -> None:
    """One rate with its interval, and a star where the undropped policy's is another."""
    value, low, high = (100 * float(line[f"{what}{key}"]) for key in ("", "_low", "_high"))
    colour, marker = LOOK[line["instruction"]]
    fill = {"fillstyle": "none"} if what == "followed" else {}
    ax.errorbar(
        [x], [value], yerr=[[value - low], [high - value]], color=colour, marker=marker, markersize=4, capsize=1.5, elinewidth=0.8, **fill
    )
    if line[f"{what}_p"] and float(line[f"{what}_p"]) < SIGNIFICANT:
        ax.text(x, min(high, 103) + 1, "*", ha="center", va="bottom", color=colour, fontsize=8)
