"""Per-task heat map: every arm on every task, k of n in the field. The mean of a row hides which tasks were lost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from dtr.report.behind import alike, counted, once
from dtr.report.cell import read_cell
from dtr.report.figures.style import new_figure

PLAIN = str.maketrans("_", " ")
ORDER = ("spatial", "object", "goal", "long")
"""The suites as the paper's tables have them; others after them, as they come."""


def draw(files: Sequence[Path]) -> Figure:
    """From cells of `average`, one a row; arms that are one policy are one line (dtr.report.behind)."""
    cells = [dict(cell, setting=counted(cell["setting"], more)) for cell, more in once([read_cell(path) for path in files], alike)]
    models = list(dict.fromkeys(cell["model"] for cell in cells))
    cells.sort(key=lambda cell: models.index(cell["model"]))
    columns = sorted(dict.fromkeys(key for cell in cells for key in counts(cell)), key=lambda key: place(key[0]))
    table = [counts(cell) for cell in cells]
    rates = np.array(
        [[k / n if (n := row.get(key, (0, 0))[1]) else np.nan for key in columns for k in (row.get(key, (0, 0))[0],)] for row in table]
    )
    figure = new_figure(1.9 + 0.36 * len(columns), 2.6 + 0.24 * len(cells))
    ax = figure.subplots()
    image = ax.imshow(100 * rates, cmap="cividis", vmin=0, vmax=100, aspect="auto")
    ax.grid(visible=False)
    sizes = {n for row in table for _, n in row.values()}
    for i, row in enumerate(table):
        for j, key in enumerate(columns):
            if key in row:
                colour = "black" if rates[i, j] > 0.55 else "white"
                k, n = row[key]
                ax.text(
                    j, i, f"{k}" if len(sizes) == 1 else f"{k}/{n}", ha="center", va="center", fontsize=6 if n < 100 else 5, color=colour
                )
    ax.set_xticks(
        range(len(columns)),
        [f"{short(suite)}: {short_task(task)}" for suite, task in columns],
        rotation=60,
        ha="right",
        rotation_mode="anchor",
        fontsize=6,
    )
    ax.set_yticks(range(len(cells)), [name(cell) for cell in cells], fontsize=7)
    suites = [suite for suite, _ in columns]
    for j in (j for j in range(1, len(suites)) if suites[j] != suites[j - 1]):
        ax.axvline(j - 0.5, color="white", linewidth=2)
    said = f"successes of {max(sizes)}" if len(sizes) == 1 else "successes/episodes"
    figure.colorbar(image, ax=ax, label=f"success, % (in the field: {said})", pad=0.01)
    return figure


def counts(cell: Mapping[str, Any]) -> dict[tuple[str, str], tuple[int, int]]:
    """(suite, task) -> successes and episodes over all training seeds."""
    found: dict[tuple[str, str], tuple[int, int]] = {}
    for suite, seeds in cell["outcomes"].items():
        for tasks in seeds.values():
            for task, marks in tasks.items():
                k, n = found.get((suite, task), (0, 0))
                found[suite, task] = (k + marks.count("1"), n + len(marks))
    return found


def name(cell: Mapping[str, Any]) -> str:
    """An arm's name in the margin."""
    return f"{cell['model']}  {cell['setting']}" + (f" {cell['component']}" if cell["component"] != "-" else "")


def place(suite: str) -> int:
    """Where a suite stands among the columns."""
    return ORDER.index(short(suite)) if short(suite) in ORDER else len(ORDER)


def short(suite: str) -> str:
    """A suite without its family."""
    return suite.split("_")[-1]


def short_task(task: str, most: int = 40) -> str:
    """A task's words, cut where they are many."""
    text = task.translate(PLAIN).replace("pick up the ", "").replace(" and place it", "").replace("put the ", "").replace(" the ", " ")
    return text if len(text) <= most else f"{text[: most - 1]}…"
