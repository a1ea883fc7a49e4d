"""Score profiles: what every metric says of every block, one panel a component. Dead blocks are crossed: no action depends on them.

Metrics have different units, and blocks are ranked within a component, so each profile is divided by its component's largest score. A
band is one standard error over the calibration samples.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from dtr.errors import BadRecord
from dtr.records import read_record
from dtr.report.figures.style import CYCLE, DASHES, new_figure

COMPONENTS = ("vision", "language", "action")


def draw(files: Sequence[Path]) -> Figure:
    """One figure of several score files of one policy. Raises BadRecord when they are of several."""
    scores = [read_record(path, "score") for path in files]
    if len({score["weights"] for score in scores}) != 1:
        raise BadRecord(f"expected scores of one policy file, got those of {len({score['weights'] for score in scores})}: choose --files.")
    stacks = stacks_of(scores[0]["blocks"])
    figure = new_figure(7.2, 2.1 + 0.12 * len(scores))
    axes = figure.subplots(1, len(stacks), sharey=True, width_ratios=[max(3, len(blocks)) for blocks in stacks.values()])
    for ax, (stack, names) in zip(axes, stacks.items(), strict=True):
        for i, score in enumerate(scores):
            profile(ax, score, names, CYCLE[i % len(CYCLE)], DASHES[i % len(DASHES)])
        positions = [number(name) for name in names]
        ax.set_title(stack)
        ax.set_xticks(positions if len(positions) < 13 else positions[::3])
        ax.set_xlim(positions[0] - 0.6, positions[-1] + 0.6)
        for name in (name for name in names if scores[0]["blocks"][name]["dead"]):
            ax.axvspan(number(name) - 0.5, number(name) + 0.5, facecolor="#eeeeee", edgecolor="#999999", hatch="xxxx", linewidth=0)
    axes[0].set_ylim(bottom=min(0.0, axes[0].get_ylim()[0]))
    axes[0].set_ylabel("score / largest of the component")
    figure.supxlabel("block (index in the undropped model); crossed: dead", fontsize=8)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=min(5, len(scores)))
    return figure


def profile(ax: Any, score: Mapping[str, Any], names: Sequence[str], colour: str, dashes: Any) -> None:
    """One metric on one stack."""
    component = names[0].split(".")[0]
    whole = max(abs(block["score"]) for name, block in score["blocks"].items() if name.startswith(f"{component}.")) or 1.0
    x = [number(name) for name in names]
    y = [score["blocks"][name]["score"] / whole for name in names]
    error = [(score["blocks"][name].get("standard_error") or 0.0) / whole for name in names]
    ax.plot(x, y, color=colour, linestyle=dashes, marker="o", markersize=3, linewidth=1.2, label=score["metric"])
    band = ([a - b for a, b in zip(y, error, strict=True)], [a + b for a, b in zip(y, error, strict=True)])
    ax.fill_between(x, *band, color=colour, alpha=0.2, linewidth=0)


def stacks_of(blocks: Mapping[str, Any]) -> dict[str, list[str]]:
    """Stack -> its blocks in order, components in order. Parts of blocks (`language.7.attention`) stand for themselves."""
    stacks: dict[str, list[str]] = {}
    for name in sorted(blocks, key=lambda name: (COMPONENTS.index(name.split(".")[0]), name.rpartition(".")[0], number(name))):
        stacks.setdefault(".".join(word for word in name.split(".") if not word.isdigit()), []).append(name)
    return stacks


def number(block: str) -> int:
    """The index in a block's name."""
    return next(int(word) for word in block.split(".") if word.isdigit())
