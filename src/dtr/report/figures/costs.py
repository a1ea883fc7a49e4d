"""The cost split: where parameters and FLOPs lie, by component, for every cut. What a component costs bounds what dropping it can save."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

from dtr.provenance import digest
from dtr.records import read_record
from dtr.report.behind import counted, once
from dtr.report.figures.style import COLOUR, HATCH, MODEL, new_figure

COMPONENTS = ("vision", "language", "action", "other")


def draw(files: Sequence[Path]) -> Figure:
    """From cost records; a cut's name is its folder's. Cuts that leave the same blocks have equal records, and are one bar."""
    found = [(path.parent.name, read_record(path, "cost")) for path in files]
    records = [(counted(cut, more), record) for (cut, record), more in once(found, lambda one: digest(one[1]))]
    policies = list(dict.fromkeys(record["policy"] for _, record in records))
    records.sort(key=lambda found: policies.index(found[1]["policy"]))
    figure = new_figure(7.2, 1.1 + 0.24 * len(records))
    axes = figure.subplots(1, 2, sharey=True)
    labels = [cut if len(policies) == 1 else f"{MODEL.get(record['policy'], record['policy'])}  {cut}" for cut, record in records]
    for ax, amount in zip(axes, ("parameters", "flops"), strict=True):
        left = [0.0] * len(records)
        for component in COMPONENTS:
            widths = [share(record[amount], component) for _, record in records]
            look = {"facecolor": COLOUR[component], "hatch": HATCH[component], "edgecolor": "white", "linewidth": 0.3}
            ax.barh(range(len(records)), widths, left=left, height=0.7, label=component, **look)
            left = [a + b for a, b in zip(left, widths, strict=True)]
        ax.set_xlabel(f"{'FLOPs' if amount == 'flops' else amount} kept, % of the undropped policy")
        ax.set_xlim(0, 100)
        ax.set_ylim(len(records) - 0.4, -0.6)
        ax.grid(visible=False, axis="y")
    axes[0].set_yticks(range(len(records)), labels, fontsize=7)
    handles, names = axes[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside upper center", ncols=len(COMPONENTS))
    return figure


def share(amount: dict[str, object], component: str) -> float:
    """Percent of the undropped policy's amount that lies in a component."""
    parts: dict[str, int] = amount["by_component"]  # type: ignore[assignment]
    total, fraction = float(str(amount["total"])), float(str(amount["fraction"]))
    return 100 * parts.get(component, 0) / total * fraction if total else 0.0
