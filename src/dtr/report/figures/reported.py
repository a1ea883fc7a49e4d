"""A figure of the paper from its own numbers alone, marked as such: what cannot be run here, or has not been.

Figures 2 and 3 are of a real robot whose data are not public; Figure 4 is RoboTwin (docs/robotwin.md). A number that is not known to us is
a question mark, never a bar.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

from dtr.errors import BadRecord
from dtr.report.figures.style import CYCLE, new_figure
from dtr.report.reported import read_reported

TITLES = {"figure2": "Figure 2: real robot", "figure3": "Figure 3: real robot, shifted", "figure4": "Figure 4: RoboTwin 2.0"}
WIDTH = 0.8
HATCHES = ("///", "...", "\\\\\\", "xxx", "---", "ooo", "+++", "|||")
"""By arm, so that print in black and white tells them apart."""


def draw(files: Sequence[Path]) -> Figure:
    """From one file of reported numbers: a group of bars for each column, a bar for each arm. Raises BadRecord for several."""
    if len(files) != 1:
        raise BadRecord(f"expected one file of results/reported for this figure, got {len(files)}.")
    lines = read_reported(files[0])
    columns = list(dict.fromkeys(line["column"] for line in lines))
    arms = {line["row"]: f"{line['model']} {line['setting']}" for line in lines}
    percent = {(line["row"], line["column"]): line["percent"] for line in lines}
    figure = new_figure(max(5.2, 1.6 + 1.3 * len(columns)), 3.0)
    ax, bar = figure.subplots(), WIDTH / len(arms)
    for k, (row, arm) in enumerate(arms.items()):
        for x, column in enumerate(columns):
            place, known = x + (k - (len(arms) - 1) / 2) * bar, percent.get((row, column))
            height = float(known) if known else 0.0
            colour, hatch = CYCLE[k % len(CYCLE)], HATCHES[k % len(HATCHES)]
            ax.bar(place, height, bar * 0.9, facecolor="white", edgecolor=colour, hatch=hatch, label=arm if x == 0 else None)
            ax.text(place, height + 1, f"{height:g}" if known else "?", ha="center", fontsize=7, color=colour)
    ax.set_xticks(range(len(columns)), [column.replace("_", " ") for column in columns])
    ax.grid(visible=False, axis="x")
    ax.set_ylim(0, 106)  # room for the number over a bar of 100
    ax.set_ylabel("success, %")
    ax.set_title(f"{TITLES.get(files[0].stem, files[0].stem)} - REPORTED by the paper, not run here")
    figure.legend(loc="outside lower center", ncols=len(arms))
    return figure
