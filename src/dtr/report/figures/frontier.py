"""The story in one picture: success after recovery against the FLOPs that are kept.

One panel a model; filled is ours with its 95 % interval, hollow the paper's.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from dtr.report.cell import read_cell
from dtr.report.figures.style import COLOUR, MARKER, new_figure

Cell = Mapping[str, Any]


def draw(files: Sequence[Path]) -> Figure:
    """From cells of `flops` and `average`, several rows of one or more models."""
    rows: dict[tuple[str, str], dict[str, Cell]] = {}
    for cell in map(read_cell, files):
        rows.setdefault((cell["model"], cell["row"]), {})[cell["column"]] = cell
    models = list(dict.fromkeys(model for model, _ in rows))
    figure = new_figure(3.6 * max(2, len(models)), 3.3)
    for ax, model in zip(figure.subplots(1, len(models), sharey=True, squeeze=False)[0], models, strict=True):
        arms = [row for (m, _), row in rows.items() if m == model and {"flops", "average"} <= set(row)]
        for arm in arms:
            point(ax, arm["flops"], arm["average"])
        label(ax, arms)
        ax.set_title(model)
        ax.set_xlim(0, 105)
        ax.set_ylim(-3, 103)
        ax.set_xlabel("FLOPs kept, %")
        ax.set_ylabel("success, mean of the suites, %")
    shown = dict.fromkeys(kind(row["average"]) for row in rows.values() if "average" in row)
    names = {"-": "undropped", "vision": "vision cut", "language": "language cut", "action": "action cut", "other": "another cut"}
    handles = [Line2D([], [], color=COLOUR[c], marker=MARKER[c], linestyle="", label=names[c]) for c in shown]
    handles.append(Line2D([], [], color="#555555", marker="o", linestyle="", fillstyle="none", label="the paper's (other scale)"))
    figure.legend(handles=handles, loc="outside upper center", ncols=len(handles))
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


def label(ax: Any, arms: Iterable[Mapping[str, Cell]]) -> None:
    """Each of our points by its setting, away from points above it."""
    seen: list[tuple[float, float]] = []
    for arm in sorted(arms, key=lambda arm: (-arm["average"]["value"], arm["flops"]["value"])):
        x, y = 100 * arm["flops"]["value"], 100 * arm["average"]["value"]
        row = sum(abs(x - a) < 22 and abs(y - 4 * i - b) < 14 for i, (a, b) in enumerate(seen)) if seen else 0
        seen.append((x, y))
        offset = (-6, -14 - 9 * row) if y > 15 else (-6, 6 + 9 * row)
        ax.annotate(
            arm["average"]["setting"],
            (x, y),
            xytext=offset,
            textcoords="offset points",
            ha="right",
            fontsize=6.5,
            color=COLOUR[kind(arm["average"])],
            arrowprops={"arrowstyle": "-", "linewidth": 0.4, "color": "#999999"},
        )
