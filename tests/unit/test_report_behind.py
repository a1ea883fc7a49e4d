"""Arms that kept the same blocks and were recovered alike are one policy: not compared with itself, and drawn once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dtr.dropping.same_blocks import blocks_digest
from dtr.errors import BadRecord
from dtr.provenance import read_json, write_json
from dtr.report.behind import behind, counted, once
from dtr.report.claims import Claim
from dtr.report.figures import tasks
from dtr.report.verdict import ours

PLAN = Path(__file__).parents[1] / "workflow/fingerprints/inputs/pi05_plan.json"


@pytest.fixture
def place(tmp_path: Path) -> Path:
    for cut, kept in (("language-gateprobe-9", [0, 1]), ("language-taylor-9", [0, 1]), ("language-ends", [0, 17])):
        write_json(tmp_path / cut / "plan.json", dict(read_json(PLAN)) | {"kept": {"language": kept}, "cut": cut})
    return tmp_path


def cell(place: Path, cut: str, recipe: str = "four.recover", seed: int = 0, protocol: str = "closed-n50") -> dict[str, Any]:
    path = place / cut / recipe / f"seed{seed}/rollouts/{protocol}/spatial.jsonl"
    outcomes = {"spatial": {str(seed): {"push it": "1101"}}}
    named = {"model": "pi0.5", "row": cut, "component": "language", "setting": cut, "column": "average", "quantity": "success_rate"}
    return named | {"ancestry": [{"role": "episodes", "path": str(path)}], "outcomes": outcomes}


def test_the_same_blocks_recovered_alike_are_one_policy(place: Path) -> None:
    one = cell(place, "language-gateprobe-9")
    assert behind(one) == behind(cell(place, "language-taylor-9")) is not None
    others = [{"cut": "language-ends"}, {"recipe": "four.recover.int8"}, {"seed": 1}, {"protocol": "plus-n1"}]
    assert len({behind(cell(place, **{"cut": "language-taylor-9"} | other)) for other in others} - {behind(one)}) == len(others)  # type: ignore[arg-type]


def test_nothing_is_known_without_a_plan(place: Path) -> None:
    assert behind(cell(place, "language-gone")) is None
    assert behind({"ancestry": [{"role": "episodes", "path": "s.jsonl"}]}) is None is behind({})
    (place / "language-ends/plan.json").write_text('{"kept"')
    with pytest.raises(BadRecord, match="expected a plan at"):
        behind(cell(place, "language-ends"))


def test_arms_without_a_policy_stand_alone(place: Path) -> None:
    cells = [cell(place, cut) for cut in ("language-gone", "language-gateprobe-9", "language-gone", "language-taylor-9")]
    found = [(one["row"], more) for one, more in once(cells, behind)]
    assert found == [("language-gone", 0), ("language-gateprobe-9", 1), ("language-gone", 0)]
    assert counted("none", 0) == "none" and counted("Drop-9", 4) == "Drop-9 (+4)"


def test_a_figure_draws_a_policy_once(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cells = {Path(cut): cell(place, cut) for cut in ("language-gateprobe-9", "language-ends", "language-taylor-9")}
    monkeypatch.setattr(tasks, "read_cell", cells.__getitem__)
    labels = [label.get_text() for label in tasks.draw(list(cells)).axes[0].get_yticklabels()]
    assert labels == ["pi0.5  language-gateprobe-9 (+1) language", "pi0.5  language-ends language"]
    cells[Path("language-taylor-9")]["outcomes"]["spatial"]["0"]["push it"] = "1111"  # trained apart, on a GPU say
    assert len(tasks.draw(list(cells)).axes[0].get_yticklabels()) == 3


def test_claims_about_one_policy(place: Path) -> None:
    cells = {("table3", cut, "average"): cell(place, cut) for cut in ("language-gateprobe-9", "language-taylor-9", "language-ends")}

    def claim(rule: str, other: str) -> Claim:
        return Claim("c", "t", "s", "table3", "language-gateprobe-9", other, "average", rule, 0.0)

    same = ours(claim("greater", "language-taylor-9"), cells, {}, "embedded")
    assert same.verdict == "not comparable" and "one policy is behind both" in same.why


def test_blocks_are_compared_by_plans_whether_or_not_an_arm_was_trained(place: Path) -> None:
    def claim(rule: str, row: str, other: str) -> Claim:
        return Claim("c", "t", "s", "table3", row, other, "average", rule, 0.0)

    plans = {f"table3/{cut}": blocks_digest(read_json(place / cut / "plan.json")) for cut in ("language-gateprobe-9", "language-taylor-9")}
    plans["table4/ends"] = blocks_digest(read_json(place / "language-ends/plan.json"))
    said = {
        other: ours(claim("same_blocks", "language-gateprobe-9", other), {}, plans, "embedded").verdict
        for other in ("language-taylor-9", "table4/ends", "language-ends")
    }
    assert said == {"language-taylor-9": "holds", "table4/ends": "does not hold", "language-ends": "not comparable"}
