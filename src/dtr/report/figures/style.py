"""How every figure looks, and how it is written: PNG and PDF, equal input giving equal bytes.

Colours are Okabe and Ito's, told apart by the colour-blind; a component also has a marker and a hatch of its own, so that print in black
and white loses nothing.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.figure import Figure

from dtr.provenance import atomic_path

MODEL = {"openvla_oft": "OpenVLA-OFT", "pi05": "pi0.5", "gigabrain0": "GigaBrain-0", "lingbot_vla": "LingBot-VLA"}
"""Policy class -> its name in the paper and in the sheets; another class is called what it calls itself."""
COLOUR = {"-": "#000000", "vision": "#0072B2", "language": "#D55E00", "action": "#009E73", "other": "#999999"}
MARKER = {"-": "D", "vision": "s", "language": "o", "action": "^", "other": "x"}
HATCH = {"vision": "////", "language": "", "action": "xxxx", "other": "...."}
CYCLE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#999999")
DASHES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (1, 1)), (0, (8, 2)), (0, (3, 1)))
SETTINGS = {
    "font.family": "DejaVu Sans",
    "font.size": 8,
    "axes.titlesize": 9,
    "axes.labelsize": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.5,
    "legend.fontsize": 7,
    "legend.frameon": False,
    "hatch.linewidth": 0.5,
    "pdf.fonttype": 42,
    "svg.hashsalt": "dtr",
    "figure.constrained_layout.use": True,
}


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of that many inches in the house's style."""
    matplotlib.use("agg")
    matplotlib.rcParams.update(matplotlib.rcParamsDefault)
    matplotlib.rcParams.update(SETTINGS)
    return Figure(figsize=(width, height), layout="constrained")


def measured(figure: Figure, text: str, fontsize: float) -> tuple[float, float]:
    """Width and height of a text in points (1/72 inch)."""
    drawn = figure.text(0, 0, text, fontsize=fontsize)
    box = drawn.get_window_extent()
    drawn.remove()
    return 72 / figure.dpi * box.width, 72 / figure.dpi * box.height


def write_figure(figure: Figure, png: Path) -> None:
    """Write `png` and the same as PDF beside it, without times or versions in them."""
    kinds: dict[str, dict[str, Any]] = {"png": {"Software": None}, "pdf": {"CreationDate": None, "Producer": None, "Creator": None}}
    for kind, metadata in kinds.items():
        with atomic_path(png.with_suffix(f".{kind}")) as temporary, matplotlib.rc_context(SETTINGS):
            figure.savefig(temporary, format=kind, dpi=200, metadata=metadata, facecolor="white")
