"""Recovery curves: the held-out loss of every arm over the steps of its recovery, from the `.losses.jsonl` beside each policy.

Arms that kept the same blocks and share a training are one curve, by the first one's name. Another recipe than the panel's first is named.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from dtr.dropping.same_blocks import blocks_digest
from dtr.policies.file import read_header
from dtr.provenance import digest
from dtr.report.behind import counted, cut_of, once
from dtr.report.figures.style import COLOUR, DASHES, MARKER, MODEL, new_figure

FILLS = ("full", "none", "left", "bottom")
"""A mark has its component's shape; where a component's dashes are used up, they begin again with another fill. So grey print tells all."""
LINE = 0.16
"""Inches of height of a line of the legend: beside the panel, one cut a line, since curves fill the panel and names are long."""


def draw(files: Sequence[Path]) -> Figure:
    """One panel a policy class. An arm without a curve is named, not drawn."""
    panels: dict[str, list[tuple[str, int, list[dict[str, Any]]]]] = {}
    usual: dict[str, str] = {}
    headers = [(path, read_header(path)) for path in files]
    for (path, header), more in once(headers, lambda found: (blocks_digest(found[1]["plan"]), digest(found[1]["provenance"]))):
        arms = panels.setdefault(header["policy"], [])
        first = usual.setdefault(header["policy"], training_of(path))
        other = "" if training_of(path) == first else f", {training_of(path)}"
        arms.append((cut_of(path, header) + other, more, read_curve(path)))
    lines = max(sum(1 + name(*arm).count("\n") for arm in arms) for arms in panels.values())
    figure = new_figure(4.4 * max(1, len(panels)), max(3.2, 0.6 + LINE * lines))
    for ax, (policy, arms) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels.items(), strict=True):
        seen: Counter[str] = Counter()
        for place, (cut, more, curve) in enumerate(arms):
            component = cut.split("-")[0].split(".")[0]
            points = measured(curve)
            look = looks(component if component in COLOUR else "-", seen[component], place, len(points))
            seen[component] += 1
            ax.plot([x for x, _ in points], [y for _, y in points], label=name(cut, more, curve), **look)
        ax.set_title(MODEL.get(policy, policy))
        label_losses(ax, [y for *_, curve in arms for _, y in measured(curve)])
        ax.set_xlabel("step of recovery")
        ax.set_ylabel("loss on held-out demonstrations")
        ax.legend(
            loc="upper left", bbox_to_anchor=(1.0, 1.0), borderaxespad=0.2, handlelength=4, title="cut", title_fontsize=7, alignment="left"
        )
    return figure


def looks(component: str, k: int, place: int, points: int) -> dict[str, Any]:
    """Line and marks of the k-th arm of a component: about five marks, elsewhere on the arm of the next place."""
    marks = {"marker": MARKER[component], "markersize": 3.5, "markeredgewidth": 0.6, "fillstyle": FILLS[k // len(DASHES) % len(FILLS)]}
    every = max(1, points // 5)
    return {
        "color": COLOUR[component],
        "linestyle": DASHES[k % len(DASHES)],
        "linewidth": 1.0,
        "markevery": (3 * place % every, every),
    } | marks


def label_losses(ax: Any, losses: Sequence[float]) -> None:
    """A logarithmic axis with as many of its numbers written out as have room: all below one decade, then 2 and 5, then the powers."""
    ax.set_yscale("log")
    above = [loss for loss in losses if loss > 0]
    decades = math.log10(max(above) / min(above)) if above else 0.0
    written = "123456789" if decades <= 1 else "125" if decades <= 2 else "1"
    for axis in (ax.yaxis.set_major_formatter, ax.yaxis.set_minor_formatter):
        axis(FuncFormatter(lambda y, _: f"{y:.3g}" if f"{y:e}"[0] in written else ""))
    ax.tick_params(axis="y", which="minor", labelsize=6)


def measured(curve: Sequence[dict[str, Any]]) -> list[tuple[int, float]]:
    """(step, held-out loss) where a loss was measured."""
    return [(point["step"], point["val_loss"]) for point in curve if point.get("val_loss") is not None]


def training_of(policy: Path) -> str:
    """The recipe of an arm by its place; empty where it lies elsewhere."""
    return policy.parents[1].name.partition(".")[2] if len(policy.parents) > 1 else ""


def name(cut: str, more: int, curve: Sequence[dict[str, Any]]) -> str:
    """A cut in the legend: one of several components has as many lines."""
    return counted(cut.replace("+", "+\n"), more) + ("" if measured(curve) else "\n(no curve kept)")


def read_curve(path: Path) -> list[dict[str, Any]]:
    """The loss curve beside a policy file; empty where none was kept."""
    curve = Path(f"{path}.losses.jsonl")
    return [json.loads(text) for text in curve.read_text(encoding="utf-8").splitlines()] if curve.is_file() else []
