"""Score profiles: what every metric says of every block, one line of panels a metric, one panel a stack of blocks.

Metrics have different units, and blocks are ranked within a component, so each profile is divided by its component's largest score (in
absolute value). Bars: mean over the calibration samples, with one standard error. On grey: the half of the component's blocks that would go
first, dead ones among them. Crossed: dead, no action depends on them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from dtr.dropping.scores import Score, read_score
from dtr.dropping.selection import depths_of, least
from dtr.errors import BadRecord
from dtr.report.figures.style import COLOUR, new_figure

COMPONENTS = ("vision", "language", "action")
GOES = "#d9d9d9"
FEW = 13
"""Blocks of a stack that are numbered one by one."""


def draw(files: Sequence[Path]) -> Figure:
    """One figure of several score files of one policy. Raises BadRecord when they are of several."""
    scores = [read_score(path) for path in files]
    if len({score.weights for score in scores}) != 1:
        raise BadRecord(f"expected scores of one policy file, got those of {len({score.weights for score in scores})}: choose --files.")
    stacks = stacks_of(scores[0].blocks)
    figure = new_figure(7.2, 0.8 + 0.62 * len(scores))
    widths = [max(3, len(blocks)) for blocks in stacks.values()]
    grid = figure.subplots(len(scores), len(stacks), sharex="col", squeeze=False, width_ratios=widths)
    for line, score in zip(grid, scores, strict=True):
        low, high = 0.0, 1.0
        for ax, names in zip(line, stacks.values(), strict=True):
            low, high = reach(profile(ax, score, names), low, high)
        for ax in line:
            ax.set_ylim(1.08 * low, 1.08 * high)
            ax.set_yticks([0, 1] if low > -0.5 else [-1, 0, 1], ["0", "1"] if low > -0.5 else ["-1", "0", "1"], fontsize=6)
            ax.tick_params(axis="y", labelleft=ax is line[0])
        line[0].set_ylabel(score.metric.replace("_", "\n"), rotation=0, ha="right", va="center", fontsize=7)
    for ax, (stack, names) in zip(grid[0], stacks.items(), strict=True):
        ax.set_title(stack)
        positions = [number(name) for name in names]
        ax.set_xticks(positions if len(positions) < FEW else positions[::3])
        ax.set_xlim(positions[0] - 0.6, positions[-1] + 0.6)
    figure.supxlabel("block (index in the undropped model); on grey: the half that goes first; crossed: dead", fontsize=8)
    figure.supylabel("score / largest of the component", fontsize=8)
    return figure


def profile(ax: Any, score: Score, names: Sequence[str]) -> tuple[float, float]:
    """One metric on one stack; the lowest and highest end of a bar or its error."""
    component = names[0].split(".")[0]
    stacks = depths_of(score)[component]
    order = score.order(component)
    whole = max(abs(score.blocks[name].score) for name in order) or 1.0
    first, ends = set(least(stacks, score.blocks, len(order) // 2)), [0.0]
    ax.grid(visible=False, axis="x")
    for name in names:
        block, place = score.blocks[name], (number(name) - 0.5, number(name) + 0.5)
        y, error = block.score / whole, block.standard_error / whole
        ends += [y - error, y + error]
        if name in first:
            ax.axvspan(*place, facecolor=GOES, linewidth=0)
        ax.bar(number(name), y, width=0.7, color=COLOUR[component], yerr=error or None, error_kw={"elinewidth": 0.7, "ecolor": "#222222"})
        if block.dead:
            ax.axvspan(*place, facecolor="none", edgecolor="#777777", hatch="xxxx", linewidth=0)
    ax.axhline(0, color="#222222", linewidth=0.5)
    return min(ends), max(ends)


def reach(ends: tuple[float, float], low: float, high: float) -> tuple[float, float]:
    """The range that holds both, of errors not more than another height on either side: a larger one runs out of its panel."""
    return max(-2.0, min(low, ends[0])), min(2.0, max(high, ends[1]))


def stacks_of(blocks: Mapping[str, Any]) -> dict[str, list[str]]:
    """Stack -> its blocks in order, components in order. Parts of blocks (`language.7.attention`) stand for themselves."""
    stacks: dict[str, list[str]] = {}
    for name in sorted(blocks, key=lambda name: (COMPONENTS.index(name.split(".")[0]), name.rpartition(".")[0], number(name))):
        stacks.setdefault(".".join(word for word in name.split(".") if not word.isdigit()), []).append(name)
    return stacks


def number(block: str) -> int:
    """The index in a block's name."""
    return next(int(word) for word in block.split(".") if word.isdigit())
