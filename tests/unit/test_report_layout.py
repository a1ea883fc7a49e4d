"""Nothing that is written in a figure is cut off or lies on something else written there, however many arms a panel has."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from dtr.report.figures import curves, frontier

CUTS = ["none", "vision-half", "language-half", "action-half", "vision-ends", "language-ends", "action-ends"]
MORE = ["language-half-attention", "language-half-mlp", "language-gateprobe-9", "language-random-9", "vision.dino-half+vision.siglip-half"]
# (FLOPs, success, component, setting): the undropped policy, and arms that lose next to nothing, so that all lie on one line
FEW = [
    (1.0, 0.99, "-", "Baseline"),
    (0.94, 0.985, "vision", "Drop Half"),
    (0.93, 0.988, "vision", "Keep 2"),
    (0.45, 0.2, "language", "Keep 2"),
]
MANY = [(0.7 + 0.023 * i, 0.97 + 0.015 * (i % 2), ("language", "action")[i % 2], f"Drop Half, no. {i}") for i in range(14)]


def laid_out(figure: Figure) -> Figure:
    """As it is written to the PNG."""
    figure.set_dpi(200)
    figure.draw_without_rendering()
    return figure


def legends(figure: Figure) -> list[Bbox]:
    found = [*figure.legends, *(legend for ax in figure.axes if (legend := ax.get_legend()))]
    return [legend.get_window_extent() for legend in found]


def inside(box: Bbox, figure: Figure) -> bool:
    whole = figure.bbox
    return bool(box.x0 >= whole.x0 and box.x1 <= whole.x1 and box.y0 >= whole.y0 and box.y1 <= whole.y1)


@pytest.mark.parametrize("panels", [1, 2])
@pytest.mark.parametrize("cuts", [CUTS, CUTS + MORE])
def test_the_legends_of_curves_fit(monkeypatch: pytest.MonkeyPatch, panels: int, cuts: list[str]) -> None:
    def header(path: Path) -> dict[str, Any]:
        return {"policy": path.parent.name, "plan": {"cut": path.name} if path.name != "none" else None}

    def curve(path: Path) -> list[dict[str, Any]]:
        return [] if path.name == cuts[-1] else [{"step": step, "val_loss": 1 / step} for step in (100, 4000)]

    monkeypatch.setattr(curves, "read_header", header)
    monkeypatch.setattr(curves, "read_curve", curve)
    figure = laid_out(curves.draw([Path(policy, cut) for policy in ("openvla_oft", "pi05")[:panels] for cut in cuts]))
    boxes = [*legends(figure), *(ax.bbox for ax in figure.axes)]
    assert len(legends(figure)) == panels and all(len(ax.get_legend().get_texts()) == len(cuts) for ax in figure.axes)
    assert all(inside(box, figure) for box in (*boxes, *(ax.get_tightbbox() for ax in figure.axes)))
    assert not any(a.overlaps(b) for a, b in combinations(boxes, 2))
    assert all(ax.bbox.width > 1.8 * figure.dpi for ax in figure.axes)  # the legend leaves the curves their place


def cells(model: str, arms: list[tuple[float, float, str, str]]) -> dict[Path, dict[str, Any]]:
    found: dict[Path, dict[str, Any]] = {}
    for row, (flops, rate, component, setting) in enumerate(arms):
        same = {"model": model, "row": f"{model}.{row}", "component": component, "setting": setting}
        interval = {"low": rate - 0.02, "high": min(1.0, rate + 0.01)}
        found[Path(f"{model}.{row}.flops")] = same | {"column": "flops", "value": flops, "reported": {"value": flops}}
        found[Path(f"{model}.{row}.average")] = same | {
            "column": "average",
            "value": rate,
            "interval": interval,
            "reported": {"value": 0.9},
        }
    return found


@pytest.mark.parametrize("panels", [{"a": FEW}, {"a": FEW, "b": MANY}], ids=["few", "many"])
def test_the_names_of_arms_overlap_nothing(monkeypatch: pytest.MonkeyPatch, panels: dict[str, list[tuple[float, float, str, str]]]) -> None:
    known = {path: cell for model, arms in panels.items() for path, cell in cells(model, arms).items()}
    monkeypatch.setattr(frontier, "read_cell", known.__getitem__)
    figure = laid_out(frontier.draw(list(known)))
    names = [text for ax in figure.axes for text in ax.texts]
    assert sorted(name.get_text() for name in names) == sorted(arm[3] for arms in panels.values() for arm in arms)
    written = [Text.get_window_extent(name) for name in names]  # an annotation's own box has its line in it
    assert all(inside(box, figure) for box in (*written, *legends(figure)))
    assert not any(a.overlaps(b) for a, b in combinations([*written, *legends(figure)], 2))
    for ax in figure.axes:
        low, high = ax.get_ylim()
        for line in ax.lines:
            if line.get_transform() == ax.transAxes:  # the sign of a torn axis
                continue
            drawn = ax.transData.transform([(x, y) for x, y in zip(*line.get_data(), strict=True) if low <= y <= high] or [(-1, -1)])
            assert not any(box.contains(*point) for box in written for point in drawn), "a name lies on a mark"
