"""Score profiles: what every metric says of every block, one line of panels a metric, one panel a stack of blocks.

Metrics have different units, and blocks are ranked within a component, so each profile is divided by its component's largest score (in
absolute value). Bars: mean over the calibration samples, with one standard error; marks instead of bars on an axis that is not linear
(dtr.report.figures.score_axis), where a length means nothing. On grey: the half of the component's blocks that would go first, dead ones
among them. Crossed: dead, no action depends on them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from dtr.dropping.scores import Score, read_score
from dtr.dropping.selection import depths_of, least
from dtr.errors import BadRecord
from dtr.report.figures.score_axis import Axis, axis_of
from dtr.report.figures.style import COLOUR, MARKER, new_figure

COMPONENTS = ("vision", "language", "action")
GOES, PALE = "#d9d9d9", 0.4
"""The grey of what goes first, and the opacity of a dead block's bar, on which the cross is to be seen."""
FEW = 13
"""Blocks of a stack that are numbered one by one."""


def draw(files: Sequence[Path]) -> Figure:
    """One figure of several score files of one policy. Raises BadRecord when they are of several."""
    scores = [read_score(path) for path in files]
    if len({score.weights for score in scores}) != 1:
        raise BadRecord(f"expected scores of one policy file, got those of {len({score.weights for score in scores})}: choose --files.")
    stacks = stacks_of(scores[0].blocks)
    scales = [axis_of(shares(score)) for score in scores]
    heights = [scale.height for scale in scales]
    figure = new_figure(7.2, 0.8 + sum(heights))
    widths = [max(3, len(blocks)) for blocks in stacks.values()]
    grid = figure.subplots(len(scores), len(stacks), sharex="col", squeeze=False, width_ratios=widths, height_ratios=heights)
    for line, score, scale in zip(grid, scores, scales, strict=True):
        for ax, names in zip(line, stacks.values(), strict=True):
            scale.set(ax)
            profile(ax, score, names, scale)
            ax.tick_params(axis="y", labelleft=ax is line[0])
        said = score.metric.replace("_", "\n") + ("" if scale.kind == "linear" else f"\n({scale.kind})")
        line[0].set_ylabel(said, rotation=0, ha="right", va="center", fontsize=7)
    for ax, (stack, names) in zip(grid[0], stacks.items(), strict=True):
        ax.set_title(stack)
        positions = [number(name) for name in names]
        ax.set_xticks(positions if len(positions) < FEW else positions[::3])
        ax.set_xlim(positions[0] - 0.6, positions[-1] + 0.6)
    figure.supxlabel("block (index in the undropped model); on grey: the half that goes first; crossed: dead", fontsize=8)
    figure.supylabel("score / largest of the component", fontsize=8)
    return figure


def profile(ax: Any, score: Score, names: Sequence[str], scale: Axis) -> None:
    """One metric on one stack."""
    component = names[0].split(".")[0]
    stacks = depths_of(score)[component]
    order, whole = score.order(component), greatest(score, component)
    first = set(least(stacks, score.blocks, len(order) // 2))
    ax.grid(visible=False, axis="x")
    for name in names:
        block, place = score.blocks[name], (number(name) - 0.5, number(name) + 0.5)
        y, error = block.score / whole, block.standard_error / whole
        if name in first:
            ax.axvspan(*place, facecolor=GOES, linewidth=0)
        bars = {"elinewidth": 0.7, "ecolor": "#222222"}
        if scale.kind == "linear":
            ax.bar(number(name), y, width=0.7, color=COLOUR[component], alpha=PALE if block.dead else 1, yerr=error or None, error_kw=bars)
        elif y or not block.dead:
            ax.errorbar(
                number(name), y, error or None, color=COLOUR[component], marker=MARKER[component], markersize=3, linestyle="", **bars
            )
        if block.dead:
            ax.axvspan(*place, facecolor="none", edgecolor="#555555", hatch="xxxx", linewidth=0)
    if scale.kind != "log":
        ax.axhline(0, color="#222222", linewidth=0.5)


def greatest(score: Score, component: str) -> float:
    """The largest score of a component, in absolute value."""
    return max(abs(score.blocks[name].score) for name in score.order(component)) or 1.0


def shares(score: Score) -> list[tuple[float, float]]:
    """(score, standard error) of every live block in parts of its component's greatest."""
    whole = {component: greatest(score, component) for component in depths_of(score)}
    live = [(block, whole[name.split(".")[0]]) for name, block in score.blocks.items() if not block.dead]
    return [(block.score / most, block.standard_error / most) for block, most in live]


def stacks_of(blocks: Mapping[str, Any]) -> dict[str, list[str]]:
    """Stack -> its blocks in order, components in order. Parts of blocks (`language.7.attention`) stand for themselves."""
    stacks: dict[str, list[str]] = {}
    for name in sorted(blocks, key=lambda name: (COMPONENTS.index(name.split(".")[0]), name.rpartition(".")[0], number(name))):
        stacks.setdefault(".".join(word for word in name.split(".") if not word.isdigit()), []).append(name)
    return stacks


def number(block: str) -> int:
    """The index in a block's name."""
    return next(int(word) for word in block.split(".") if word.isdigit())
