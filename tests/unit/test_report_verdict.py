"""Claims, decided by hand-made intervals, by counts of our cells, and by the paper's own."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest
from test_report import ARM, BASELINE, build

from dtr import cli
from dtr.errors import BadConfig
from dtr.provenance import write_json
from dtr.report.claims import Claim, read_claims
from dtr.report.evidence import beside, of_cells, of_paper
from dtr.report.reported import read_reported
from dtr.report.verdict import plan_behind
from dtr.stats import Interval, Paired, over_seeds, paired_difference

ROOT = Path(__file__).parents[2]
SHEET = ROOT / "config/experiments/claims.tsv"


def claim(rule: str = "greater", margin: float = 0.0, column: str = "average") -> Claim:
    return Claim("c", "text", "source", "table1", "openvla_oft.half.language", "openvla_oft.baseline", column, rule, margin)


@pytest.mark.parametrize(
    ("rule", "margin", "low", "high", "verdict"),
    [
        ("greater", 0.0, 0.01, 0.1, "holds"),
        ("greater", 0.0, -0.1, -0.01, "does not hold"),
        ("greater", 0.05, 0.01, 0.1, "underpowered"),
        ("less", 0.0, -0.1, -0.01, "holds"),
        ("less", 0.5, -0.4, -0.3, "does not hold"),
        ("less", 0.0, -0.1, 0.01, "underpowered"),
        ("not_worse", 0.02, -0.01, 0.01, "holds"),
        ("not_worse", 0.02, -0.1, -0.03, "does not hold"),
        ("not_worse", 0.02, -0.03, 0.1, "underpowered"),
    ],
)
def test_an_interval_decides(rule: str, margin: float, low: float, high: float, verdict: str) -> None:
    assert claim(rule, margin).decide(Interval(low, high, 0.95, "tango")) == verdict


def test_the_paper_s_own_counts() -> None:
    clear, unclear = of_paper(claim(), 0.983, 0.95), of_paper(claim(), 0.933, 0.917)
    assert clear.verdict == "holds" and clear.n == 2000 and clear.p is not None and clear.p < 1e-7
    assert unclear.verdict == "underpowered" and unclear.p is not None and 0.05 < unclear.p < 0.07
    assert unclear.detectable is not None and unclear.detectable > 0.016
    assert of_paper(claim(column="goal"), 1.0, 0.98).n == 500
    assert of_paper(claim(), None, 0.9).verdict == "not comparable"
    assert clear.noise == unclear.noise == "evaluation"


def cell(marks: dict[str, dict[str, str]], **changes: Any) -> dict[str, Any]:
    every = [mark for tasks in marks.values() for text in tasks.values() for mark in text]
    return {"outcomes": {"s": marks}, "protocol": {"name": "closed"}, "value": every.count("1") / len(every), **changes}


def test_our_cells_by_hand() -> None:
    arm, base = cell({"0": {"a": "1111111111", "b": "1111111111"}}), cell({"0": {"a": "0000000000", "b": "1110000000"}})
    found = of_cells(claim(), arm, base)
    assert (found.verdict, found.n, found.difference) == ("holds", 20, 0.85)
    interval = paired_difference(Paired(3, 17, 0, 0))
    assert (found.low, found.high) == (interval.low, interval.high) and found.p == pytest.approx(2 / 2**17)
    assert found.noise == "evaluation" and found.bootstrap_low is not None and 0.5 < found.bootstrap_low < 0.85


@pytest.mark.parametrize(
    ("suite", "said"), [("embedded_goal+camera-3", True), ("embedded_goal+swapped", False), ("libero_plus_goal.camera", False)]
)
def test_perturbations_of_our_own_are_called_so(suite: str, said: bool) -> None:
    """The paper's rates are under LIBERO-Plus's."""
    arm, base = (cell({"0": {"a": marks}}, outcomes={suite: {"0": {"a": marks}}}) for marks in ("1" * 20, "0" * 20))
    why = of_cells(claim(), arm, base).why
    assert why == ("under this project's own perturbations in LIBERO-Plus's categories, not LIBERO-Plus's assets and tasks" if said else "")


def test_training_seeds_widen_what_is_covered() -> None:
    arm = cell({"0": {"a": "1111111111"}, "1": {"a": "1111100000"}})
    base = cell({"0": {"a": "0000000000"}, "1": {"a": "0000000000"}})
    found = of_cells(claim(), arm, base)
    expected = over_seeds([1.0, 0.5], [0.0, 0.025]).interval
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))
    assert found.verdict == "underpowered" and found.noise == "evaluation and training (2 seeds)"


def test_what_does_not_pair_is_not_compared() -> None:
    one = cell({"0": {"a": "11"}})
    for other in (cell({"1": {"a": "11"}}), cell({"0": {"b": "11"}}), cell({"0": {"a": "111"}}), one | {"protocol": {"name": "open"}}):
        assert of_cells(claim(), one, other).verdict == "not comparable"


def test_no_room_above_the_baseline_is_said() -> None:
    full, nearly, half = (cell({"0": {"a": "1" * k + "0" * (50 - k)}}) for k in (50, 48, 25))
    assert "100.0 is at the edge" in of_cells(claim(), full, full).why
    assert "96.0 is at the edge" in of_cells(claim(), full, nearly).why  # two episodes could be gained, these would show six
    assert of_cells(claim(), half, half).why == "" == of_cells(claim("less"), nearly, full).why


def test_a_precise_zero_excludes_the_paper_s_difference() -> None:
    half = cell({"0": {"a": "10" * 400}})
    own, paper = of_cells(claim(), half, half), of_paper(claim(), 0.983, 0.95)
    assert own.verdict == "underpowered" and "+3.3 points) is excluded" in beside(own, paper).why
    few = cell({"0": {"a": "10" * 10}})
    assert beside(of_cells(claim(), few, few), paper).why == ""  # [-16, 16]
    assert beside(own, of_paper(claim(), None, None)) == own


def test_where_the_paper_s_two_numbers_of_trials_disagree() -> None:
    assert of_paper(claim("less"), 0.808, 0.917).why == "" == of_paper(claim(), 0.983, 0.95).why
    assert of_paper(claim(), 0.940, 0.917).why == "underpowered at the 20 trials a task of its text (n 800)"


def test_arms_of_the_same_blocks_are_not_compared(tmp_path: Path) -> None:
    def behind(cut: str, digest: str, recipe: str = "four.recover") -> dict[str, Any]:
        write_json(tmp_path / cut / "plan.json", {"digest": digest})
        path = tmp_path / cut / recipe / "seed0/rollouts/closed-n50/s.jsonl"
        return {"ancestry": [{"role": "episodes", "path": str(path)}]}

    assert plan_behind(behind("language-half", "a")) == plan_behind(behind("language-gateprobe-9", "a")) == ("a", "four.recover")
    assert plan_behind(behind("language-ends", "b")) != plan_behind(behind("language-half", "a"))
    assert plan_behind(behind("none", "a", "four.recover.int8")) != plan_behind(behind("none", "a"))
    assert plan_behind({"ancestry": [{"role": "episodes", "path": "s.jsonl"}]}) is None


def test_the_verb(tmp_path: Path) -> None:
    build(tmp_path, "full", {"openvla_oft.baseline": BASELINE, "openvla_oft.half.language": ARM})
    cells = sorted(str(path) for path in (tmp_path / "full/cells/table1").glob("*.average.json"))
    words = ["verdict", "--claims", str(SHEET), "--cells", *cells, "--reported", str(ROOT / "results/reported"), "--scale", "embedded"]
    assert cli.run([*words, "--out", str(tmp_path / "verdicts.csv")]) == 0
    with open(tmp_path / "verdicts.csv", newline="") as file:
        lines = {line["claim"]: line for line in csv.DictReader(file)}
    half = lines["half_language_gains.openvla_oft"]
    assert (half["verdict"], half["paper_verdict"], half["n"], half["difference"]) == ("underpowered", "holds", "16", "0.1875")
    vision = lines["half_vision_hurts.openvla_oft"]
    assert (
        vision["verdict"] == "not comparable"
        and "openvla_oft.half.vision of table1" in vision["why"]
        and vision["paper_verdict"] == "holds"
    )
    assert "**underpowered**" in (tmp_path / "verdicts.md").read_text()


def test_every_claim_names_rows_and_columns_that_exist() -> None:
    for one in read_claims(SHEET):
        lines = read_reported(ROOT / f"results/reported/{one.table}.csv")
        assert {(row, one.column) for row in (one.row, one.other)} <= {(line["row"], line["column"]) for line in lines}, one.claim
        told = all(line["source"] for line in lines if line["row"] in (one.row, one.other) and line["column"] == one.column)
        assert one.source == (f"arXiv 2606.27755v1, Table {one.table[-1]}" if told else "control of this project"), one.claim


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("\tnot_worse\t0.02", "\tnot_worse\t0", "above 0 for not_worse"),
        ("\tgreater\t0", "\tgrater\t0", "grater"),
        ("claim\ttext", "name\ttext", "columns"),
    ],
)
def test_a_bad_sheet_is_one_sentence(tmp_path: Path, old: str, new: str, says: str) -> None:
    (tmp_path / "claims.tsv").write_text(SHEET.read_text().replace(old, new, 1))
    with pytest.raises(BadConfig, match=says):
        read_claims(tmp_path / "claims.tsv")
