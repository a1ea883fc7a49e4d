"""The figure of scores says what a cut would take, not what the order of single blocks suggests."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from matplotlib.colors import to_hex
from test_report_layout import assert_legible

from dtr.dropping.scores import BlockScore, Score, write_score
from dtr.errors import BadRecord
from dtr.report.figures.scores import GOES, draw

SINGLE = (0.9, 0.1, 0.8, 0.0)
SPANS = ((0.9, 1.0, 1.1, 1.2), (0.1, 0.9, 0.95), (0.8, 0.3), (0.0,))


def score(folder: Path, metric: str, spans: bool, weights: str = "a") -> Path:
    blocks = {f"language.{i}": BlockScore(s, 0.1, i == 3, SPANS[i] if spans else ()) for i, s in enumerate(SINGLE)}
    write_score(folder / f"{metric}.json", Score(metric, "pi05", "c" * 16, weights * 64, ("goal",), "d" * 64, 8, 0, blocks))
    return folder / f"{metric}.json"


def test_on_grey_is_what_goes_and_crossed_is_what_is_dead(tmp_path: Path) -> None:
    figure = draw([score(tmp_path, "gateprobe", False), score(tmp_path, "cossim_contiguous", True)])
    single, together = figure.axes
    for ax, going in ((single, {1, 3}), (together, {2, 3})):
        assert {round(p.get_x() + 0.5) for p in ax.patches if to_hex(p.get_facecolor()) == GOES} == going
        assert [round(p.get_x() + 0.5) for p in ax.patches if p.get_hatch()] == [3]
    assert (single.get_ylabel(), together.get_ylabel(), single.get_title()) == ("gateprobe", "cossim\ncontiguous", "language")


def profile(folder: Path, metric: str, of: dict[str, tuple[float, float]], dead: str = "") -> Path:
    blocks = {name: BlockScore(y, error, name == dead) for name, (y, error) in of.items()}
    write_score(folder / f"{metric}.json", Score(metric, "pi05", "c" * 16, "a" * 64, ("goal",), "d" * 64, 8, 0, blocks))
    return folder / f"{metric}.json"


def test_an_axis_is_as_the_spread_of_the_scores_asks(tmp_path: Path) -> None:
    """Each in parts of its component's greatest: language 40, action 2."""
    even = {f"language.{i}": (y, 1.0) for i, y in enumerate((40.0, 20.0, 4.0, 0.0))} | {"action.0": (2.0, 0.1)}
    wide = even | {"language.1": (0.04, 0.02), "language.2": (0.4, 0.5), "action.1": (0.1, 0.01)}
    signed = wide | {"language.2": (-0.01, 0.02)}
    files = [profile(tmp_path, name, of, "language.3") for name, of in {"taylor": even, "fisher": wide, "hessian": signed}.items()]
    assert_legible(figure := draw(files))
    rows = [figure.axes[i : i + 2] for i in range(0, 6, 2)]
    assert [[ax.get_yscale() for ax in row] for row in rows] == [["linear"] * 2, ["log"] * 2, ["symlog"] * 2]
    assert [row[0].get_ylabel() for row in rows] == ["taylor", "fisher\n(log)", "hessian\n(symlog)"]
    for row in rows:
        assert [round(p.get_x() + 0.5) for p in row[0].patches if p.get_hatch()] == [3], "the dead block is crossed"
    transform = rows[2][0].yaxis.get_transform()
    assert transform.linthresh == pytest.approx(0.001), "language.1, the smallest that its error tells from zero; language.2 is smaller"
    drawn = [segment for bars in rows[1][0].collections for segment in bars.get_segments()]
    assert np.allclose([s[:, 1] for s in drawn], [[39 / 40, 41 / 40], [0.0005, 0.0015], [-0.0025, 0.0225]]), "y - e to y + e"
    low, high = rows[1][0].get_ylim()
    assert 0.0001 < low < 0.0005 and high > 41 / 40 and rows[1][1].get_ylim() == (low, high)
    assert rows[2][0].get_ylim()[0] < -0.00075
    marked = {round(float(x)) for line in rows[1][0].lines if line.get_marker() == "o" for x in line.get_xdata()}
    assert marked == {0, 1, 2}, "a score of 0 has no place on a logarithmic axis"


def test_errors_that_tell_no_score_from_zero_ask_for_no_other_axis(tmp_path: Path) -> None:
    noise = {f"language.{i}": (y, 2.0) for i, y in enumerate((1.0, 0.001, -0.001))}
    (ax,) = draw([profile(tmp_path, "hessian", noise)]).axes
    assert ax.get_yscale() == "linear" and ax.get_ylim()[1] == pytest.approx(1.08 * 2)


def test_scores_of_two_policies_are_no_figure(tmp_path: Path) -> None:
    with pytest.raises(BadRecord, match="one policy file"):
        draw([score(tmp_path, "gateprobe", False), score(tmp_path, "taylor", False, "b")])
