"""The figure of scores says what a cut would take, not what the order of single blocks suggests."""

from __future__ import annotations

from pathlib import Path

import pytest
from matplotlib.colors import to_hex

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


def test_scores_of_two_policies_are_no_figure(tmp_path: Path) -> None:
    with pytest.raises(BadRecord, match="one policy file"):
        draw([score(tmp_path, "gateprobe", False), score(tmp_path, "taylor", False, "b")])
