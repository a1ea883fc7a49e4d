"""Nothing that is written in a figure is cut off or lies on something else written there, however many arms a panel has."""

from __future__ import annotations

import csv
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from dtr.report.figures import costs, curves, frontier, language_pressure, reported, strength, tasks
from dtr.report.figures.labels import Box, crossing, through

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
        plan = {"cut": path.name, "kept": path.name.removesuffix("+again")} if path.name != "none" else None
        return {"policy": path.parent.name, "plan": plan, "provenance": {"policy": path.parent.name}}

    def curve(path: Path) -> list[dict[str, Any]]:
        return [] if path.name == cuts[-1] else [{"step": step, "val_loss": 1 / step} for step in (100, 4000)]

    monkeypatch.setattr(curves, "read_header", header)
    monkeypatch.setattr(curves, "read_curve", curve)
    arms = [Path(policy, cut) for policy in ("openvla_oft", "pi05")[:panels] for cut in (*cuts, f"{cuts[1]}+again")]
    figure = laid_out(curves.draw(arms))
    said = [text.get_text() for ax in figure.axes for text in ax.get_legend().get_texts()]
    assert said.count(cuts[1].replace("+", "+\n") + " (+1)") == panels, said
    boxes = [*legends(figure), *(ax.bbox for ax in figure.axes)]
    assert len(legends(figure)) == panels and all(len(ax.get_legend().get_texts()) == len(cuts) for ax in figure.axes)
    assert all(inside(box, figure) for box in (*boxes, *(ax.get_tightbbox() for ax in figure.axes)))
    assert not any(a.overlaps(b) for a, b in combinations(boxes, 2))
    assert all(ax.bbox.width > 1.8 * figure.dpi for ax in figure.axes)  # the legend leaves the curves their place


def test_curves_name_another_recipe_than_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        curves, "read_header", lambda path: {"policy": "pi05", "plan": {"cut": "half", "kept": 1}, "provenance": {"r": str(path)}}
    )
    monkeypatch.setattr(curves, "read_curve", lambda path: [{"step": step, "val_loss": 1 / step} for step in (100, 4000)])
    figure = curves.draw([Path(f"half/four.{recipe}/seed0/recovered.safetensors") for recipe in ("flow_recover", "flow_matched")])
    assert [text.get_text() for text in figure.axes[0].get_legend().get_texts()] == ["half", "half, flow_matched"]


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


def written(figure: Figure) -> list[Text]:
    """Every level text that is drawn: of ticks those within the axis."""
    ticks: list[Text] = []
    for axis in (axis for ax in figure.axes if ax.get_visible() for axis in (ax.xaxis, ax.yaxis)):
        low, high = sorted(axis.get_view_interval())
        near = 1e-9 * (high - low)
        shown = [tick for tick in (*axis.get_major_ticks(), *axis.get_minor_ticks()) if low - near <= tick.get_loc() <= high + near]
        ticks += [tick.label1 for tick in shown if tick.label1.get_visible()]
    others = [text for ax in figure.axes if ax.get_visible() for text in (ax.title, ax.xaxis.label, ax.yaxis.label, *ax.texts)]
    others += [*figure.texts, *(text for legend in figure.legends for text in legend.get_texts())]
    others += [text for of in (figure._suptitle, figure._supxlabel, figure._supylabel) if (text := of)]  # type: ignore[attr-defined]
    return [text for text in dict.fromkeys([*ticks, *others]) if text.get_text().strip() and text.get_rotation() in (0, 90)]


def assert_legible(figure: Figure) -> None:
    boxes = {text: Text.get_window_extent(text) for text in written(laid_out(figure))}
    assert len(boxes) > 3 and all(inside(box, figure) for box in boxes.values())
    assert not [(a.get_text(), b.get_text()) for a, b in combinations(boxes, 2) if boxes[a].overlaps(boxes[b])]


@pytest.mark.parametrize("last", [0.07, 0.004, 1e-6])
def test_curves_are_told_apart_without_colour_and_their_ticks_without_a_lens(monkeypatch: pytest.MonkeyPatch, last: float) -> None:
    cuts = ["none", *(f"{component}-keep-{i}" for component in ("vision", "language") for i in range(20))]
    monkeypatch.setattr(
        curves, "read_header", lambda path: {"policy": "pi05", "plan": {"cut": path.name, "kept": path.name}, "provenance": {}}
    )
    curve = [{"step": 100 * i, "val_loss": 0.2 * (last / 0.2) ** (i / 40)} for i in range(41)]
    monkeypatch.setattr(curves, "read_curve", lambda path: curve)
    assert_legible(figure := curves.draw([Path(cut) for cut in cuts]))
    looks = [(line.get_marker(), str(line._unscaled_dash_pattern), line.get_fillstyle()) for line in figure.axes[0].lines]  # type: ignore[attr-defined]
    assert len(set(looks)) == len(looks) == len(cuts)
    assert any(label.get_text() for label in figure.axes[0].get_yticklabels())


# As Table 1 has them of pi0.5: (FLOPs, success, the paper's two, component, setting), close together under the top
TOP = [
    (1.0, 0.989, 1.0, 0.917, "-", "Baseline"),
    (0.944, 0.988, 0.933, 0.808, "vision", "Drop Half"),
    (0.723, 0.988, 0.579, 0.933, "language", "Drop Half"),
    (0.86, 0.988, 0.995, 0.932, "action", "Drop Half"),
    (0.925, 0.989, 0.87, 0.624, "vision", "Keep 2"),
    (0.447, 0.945, 0.251, 0.91, "language", "Keep 2"),
    (0.818, 0.983, 0.991, 0.262, "action", "Keep 2"),
    (0.723, 0.979, 0.723, 0.979, "language", "Drop-9 GateProbe"),
    (0.689, 0.98, 0.689, 0.98, "language", "Drop-9 Random"),
]


def test_no_line_to_a_name_runs_through_another_one(monkeypatch: pytest.MonkeyPatch) -> None:
    known = cells("a", [(1.0, 0.02, "-", "Baseline")]) | cells("b", [(x, y, *named) for x, y, _, _, *named in TOP])  # type: ignore[misc]
    for row, (_, y, flops, rate, *_) in enumerate(TOP):
        known[Path(f"b.{row}.flops")]["reported"] = {"value": flops}
        known[Path(f"b.{row}.average")] |= {"reported": {"value": rate}, "interval": {"low": y - 0.01, "high": y + 0.006}}
    monkeypatch.setattr(frontier, "read_cell", known.__getitem__)
    figure = laid_out(frontier.draw(list(known)))
    names = [text for ax in figure.axes for text in ax.texts]
    boxes = {name: Text.get_window_extent(name) for name in names}
    lines = {name: name.arrow_patch.get_path().transformed(name.arrow_patch.get_transform()).vertices for name in names if name.arrow_patch}
    ends = {name: (*line[0], *line[-1]) for name, line in lines.items()}
    assert len(ends) > 2
    assert not [(a.get_text(), b.get_text()) for a in ends for b in names if a is not b and through(ends[a], Box(*boxes[b].extents))]
    assert not [(a.get_text(), b.get_text()) for a, b in combinations(ends, 2) if crossing(ends[a], ends[b])]


def test_what_a_figure_writes_has_room_and_needs_no_colour(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    lines = ["row,model,setting,component,column,percent,source"]
    lines += [f"{arm},pi0.5,Drop-{arm},language,{column},{value},x" for arm in range(4) for column, value in (("a", 100), ("b", 7 * arm))]
    monkeypatch.setattr(reported, "read_reported", lambda path: list(csv.DictReader(lines)))
    assert_legible(figure := reported.draw([tmp_path / "figure9.csv"]))
    assert len({patch.get_hatch() for patch in figure.axes[0].patches}) == 4

    arms = [{"set": name, "row": f"{i}", "setting": f"Scratch, {i}", "status": "not run"} for name in "ab" for i in range(12)]
    monkeypatch.setattr(language_pressure, "read", lambda path: arms)
    assert_legible(language_pressure.draw([tmp_path]))

    marks = {
        f"suite+{category}-{level}": {"0": {"t": "10"}} for category in ("camera", "robot", "light", "noise", "layout") for level in (1, 3)
    }
    same = {"model": "pi0.5", "component": "-", "outcomes": marks}
    monkeypatch.setattr(strength, "read_cell", lambda path: same | {"row": path.name, "setting": path.name})
    assert_legible(figure := strength.draw([Path(name) for name in ("Baseline", "Drop-9", "Drop-12")]))
    assert "(2 episodes a mark)" in figure._supxlabel.get_text()  # type: ignore[attr-defined]
    tips = [box.x0 for line in figure.axes[0].lines[:3] for box in [line.get_window_extent()]]
    assert min(b - a for a, b in pairwise(tips)) > 0.02 * figure.dpi  # equal arms do not hide each other


def test_arms_stand_by_policy_and_say_of_how_many(monkeypatch: pytest.MonkeyPatch) -> None:
    def cell(path: Path) -> dict[str, Any]:
        outcomes = {"goal": {"0": {"t1": "101", "t2": "1" * (9 if path.name == "e" else 3)}}}
        return {
            "model": {"b": "pi0.5", "e": "pi0.5"}.get(path.name, "OpenVLA-OFT"),
            "setting": path.name,
            "component": "-",
            "outcomes": outcomes,
        }

    def cost(path: Path, kind: str) -> dict[str, Any]:
        amount = {"by_component": {"vision": 1, "language": 2}, "total": 3, "fraction": 1.0}
        return {"policy": cell(path.parent)["model"], "digest": str(path), "parameters": amount, "flops": amount}

    monkeypatch.setattr(tasks, "read_cell", cell)
    monkeypatch.setattr(costs, "read_record", cost)
    for names, said in (("abc", {"2", "3"}), ("abce", {"2/3", "3/3", "9/9"})):
        assert_legible(figure := tasks.draw([Path(name) for name in names]))
        assert {text.get_text() for text in figure.axes[0].texts} == said
        assert [label.get_text()[-1] for label in figure.axes[0].get_yticklabels()] == [*"ac", *names[1::2][:1], *names[3:]]
    assert_legible(figure := costs.draw([Path(name, "cost.json") for name in "abce"]))
    ax = figure.axes[0]
    assert [label.get_text()[-1] for label in ax.get_yticklabels()] == ["a", "c", "b", "e"] and ax.get_ylim() == (3.6, -0.6)
