"""Success against the strength of a perturbation, which the paper's Table 6 pools: one panel a category, one line an arm.

A cell of a category holds the outcomes of each of its levels, so nothing is rolled out for this figure that the table does not need.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from dtr.errors import BadRecord
from dtr.report.cell import read_cell
from dtr.report.figures.style import CYCLE, DASHES, MARKER, new_figure
from dtr.sim.perturbations.variant import split
from dtr.stats.proportion import clopper_pearson

COLUMNS = 4
APART = 0.12
"""Levels from one arm's marks to the next, which else hide each other where the arms are equal."""
MARKERS = tuple(MARKER.values())


def draw(files: Sequence[Path]) -> Figure:
    """From cells of columns that show perturbations. Raises BadRecord when there is none."""
    lines: dict[str, dict[str, dict[int, tuple[int, int]]]] = {}
    cells = [read_cell(path) for path in files]
    names = names_of(cells)
    for cell in cells:
        for (category, level), (k, n) in levels(cell).items():
            lines.setdefault(category, {}).setdefault(names[cell["row"]], {})[level] = (k, n)
    if not lines:
        raise BadRecord("expected cells of perturbed suites for the figure strength, got none: name those of a table like table6.")
    rows = -(-len(lines) // COLUMNS)
    figure = new_figure(2.2 * min(COLUMNS, len(lines)) + 0.6, 2.2 * rows + 0.5)
    panels = figure.subplots(rows, min(COLUMNS, len(lines)), sharex=True, sharey=True, squeeze=False).ravel()
    for ax in panels[len(lines) :]:
        ax.set_axis_off()
    for ax in panels[max(0, len(lines) - COLUMNS) : len(lines)]:  # the lowest of each column of panels
        ax.tick_params(labelbottom=True)
    arms = list(dict.fromkeys(arm for category in lines.values() for arm in category))
    for ax, (category, found) in zip(panels, lines.items(), strict=False):
        for arm, points in found.items():
            k = arms.index(arm)
            xs = sorted(points)
            rates = [points[x][0] / points[x][1] for x in xs]
            bounds = [clopper_pearson(*points[x]) for x in xs]
            low, high = ([100 * abs(rate - getattr(b, end)) for rate, b in zip(rates, bounds, strict=True)] for end in ("low", "high"))
            shifted = [x + APART * (k - (len(arms) - 1) / 2) for x in xs]
            look: dict[str, Any] = {
                "color": CYCLE[k % len(CYCLE)],
                "linestyle": DASHES[k % len(DASHES)],
                "marker": MARKERS[k % len(MARKERS)],
            }
            ax.errorbar(shifted, [100 * r for r in rates], [low, high], label=arm, markersize=3, linewidth=1, elinewidth=0.6, **look)
        ax.set_title(category)
        ax.set_xticks(range(1, 6))
        ax.set_ylim(-3, 103)
    figure.supxlabel(f"level of the perturbation ({episodes(lines)} a mark)", fontsize=8)
    figure.supylabel("success, %", fontsize=8)
    handles = {text: handle for ax in panels for handle, text in zip(*ax.get_legend_handles_labels(), strict=True)}
    figure.legend(handles.values(), handles.keys(), loc="outside upper center", ncols=min(3, len(handles)))
    return figure


def episodes(lines: Mapping[str, Mapping[str, Mapping[int, tuple[int, int]]]]) -> str:
    """How many episodes a mark is of, without which its interval says little."""
    sizes = sorted({n for arms in lines.values() for points in arms.values() for _, n in points.values()})
    return f"{sizes[0]} episodes" if len(sizes) == 1 else f"{sizes[0]} to {sizes[-1]} episodes"


def names_of(cells: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Row -> its model and setting, and its component where several rows have that setting."""
    names = {cell["row"]: f"{cell['model']} {cell['setting']}" for cell in cells}
    shared = {name for name, count in Counter(names.values()).items() if count > 1}
    return {cell["row"]: f"{name} {cell['component']}" if (name := names[cell["row"]]) in shared else name for cell in cells}


def levels(cell: Mapping[str, Any]) -> dict[tuple[str, int], tuple[int, int]]:
    """(category, level) -> successes and episodes, over suites, tasks and training seeds."""
    found: dict[tuple[str, int], tuple[int, int]] = {}
    for label, seeds in cell.get("outcomes", {}).items():
        if label not in cell.get("foreign", ()) and (perturbation := split(label)[1].perturbation):
            key = (perturbation.category, perturbation.level)
            marks = "".join(marks for tasks in seeds.values() for marks in tasks.values())
            k, n = found.get(key, (0, 0))
            found[key] = (k + marks.count("1"), n + len(marks))
    return found
