"""Claims, decided by hand-made intervals, by counts of our cells, and by the paper's own."""

from __future__ import annotations

import csv
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from test_report import ARM, BASELINE, build

from dtr import cli
from dtr.errors import BadRecord
from dtr.report.claims import Claim
from dtr.report.evidence import beside, of_blocks, of_ratio
from dtr.report.judged import by_task, markdown
from dtr.report.ours import of_cells
from dtr.report.theirs import of_paper
from dtr.report.verdict import ours
from dtr.stats import Interval, Paired, apart, over_seeds, paired_difference, unpaired_difference

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
    assert claim(rule, margin).decide(Interval(low, high, 0.95, "tango"), 0.01) == verdict


def test_at_margin_0_the_exact_test_must_agree() -> None:
    """Four lost of 800, none gained: Tango's interval leaves 0 out, and 2 / 2^4 = 0.125."""
    arm, base = cell({"0": {"a": "0000" + "1" * 796}}), cell({"0": {"a": "1" * 800}})
    found = of_cells(claim("less"), arm, base)
    assert found.high is not None and found.high < 0 and found.p == pytest.approx(0.125)
    assert found.verdict == of_cells(claim("greater"), arm, base).verdict == "underpowered"
    assert of_cells(claim("less"), cell({"0": {"a": "000000" + "1" * 794}}), base).verdict == "holds"  # 2 / 2^6
    paper = of_paper(claim(column="goal"), 1.0, 0.99)  # five failures of 500
    assert unpaired_difference(500, 500, 495, 500).low > 0 and paper.p is not None and paper.p > 0.05 and paper.verdict == "underpowered"


def test_the_paper_s_own_counts() -> None:
    clear, unclear = of_paper(claim(), 0.983, 0.95), of_paper(claim(), 0.933, 0.917)
    assert clear.verdict == "holds" and clear.n == 2000 and clear.p is not None and clear.p < 1e-7
    assert unclear.verdict == "underpowered" and unclear.p is not None and 0.05 < unclear.p < 0.07
    assert unclear.detectable is not None and unclear.detectable > 0.016
    assert of_paper(claim(column="goal"), 1.0, 0.98).n == 500
    assert of_paper(claim(), None, 0.9).verdict == "not comparable"
    margin = of_paper(claim("not_worse", 0.02), 0.95, 0.95).detectable
    assert margin == pytest.approx(-unpaired_difference(1900, 2000, 1900, 2000).low + 0.8416 * (2 * 0.95 * 0.05 / 2000) ** 0.5, abs=1e-5)
    assert of_paper(claim("less", 0.5), 0.3, 0.95).detectable is None
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


def test_a_difference_on_one_task_is_called_so() -> None:
    """27 episodes lost of 200, all of one task: worse, on these tasks; two seeds are counted together."""
    base = cell({seed: dict.fromkeys("abcd", "1" * 50) for seed in "01"})
    arm = cell({seed: dict.fromkeys("abc", "1" * 50) | {"d": "0" * 27 + "1" * 23} for seed in "01"})
    one, two = ({**found, "outcomes": {"s": {"0": found["outcomes"]["s"]["0"]}}} for found in (arm, base))
    for found in (of_cells(claim("less"), one, two), of_cells(claim("less"), arm, base)):
        assert (found.verdict, found.tasks, found.tasks_better, found.tasks_worse, found.tasks_p) == ("holds", 4, 0, 1, 1.0)
        assert "better on 0, worse on 1 of 4 tasks (sign flips p 1)" in markdown([(claim("less"), found, found)], "embedded")
    assert by_task(of_cells(claim(), base, base)) == ""
    arm, base = ({"outcomes": {f"s+camera-{i}": {"0": {"a": mark}} for i in (1, 2)}, "protocol": {}, "value": 0.0} for mark in "01")
    assert of_cells(claim(), arm, base).tasks == 1  # variants of one task
    assert of_cells(claim("less", column="robot-language"), *contrasted()).tasks is None


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
    assert (found.low, found.high) == (-1.0, 1.0) and expected.low < -1 and expected.high > 1  # no difference is beyond 1
    assert found.verdict == "underpowered" and found.noise == "evaluation and training (2 seeds)"
    # t = 0.75 / (0.25 sqrt 2 / sqrt 2) = 3 on one degree of freedom: p = 1 - 2 atan(3) / pi
    assert (found.test, found.p) == ("student-t", pytest.approx(1 - 2 * math.atan(3) / math.pi))
    assert (found.between_seeds, found.training_sd) == pytest.approx((0.25 * 2**0.5, (0.125 - 0.0125) ** 0.5))
    assert found.detectable is None is found.bootstrap_low
    assert "spread of d 35.4, training's 33.5" in markdown([(claim(), found, found)], "embedded")
    lower = of_cells(claim("not_worse", 0.02), arm, base)
    assert lower.p == pytest.approx(0.5 - math.atan(0.77 / 0.25) / math.pi)  # one-sided, at the margin


def test_seeds_that_agree_by_chance_leave_evaluation_noise() -> None:
    """Two seeds without a single difference: Student's interval is a point, and 20 episodes show no margin of 2 points."""
    full = cell({seed: {"a": "1" * 10} for seed in "01"})
    found, pooled = of_cells(claim("not_worse", 0.02), full, full), paired_difference(Paired(20, 0, 0, 0))
    assert (found.verdict, found.low, found.high, found.between_seeds) == ("underpowered", pooled.low, pooled.high, 0.0)
    assert found.test == "tango-non-inferiority"


def test_what_does_not_pair_is_not_compared() -> None:
    one = cell({"0": {"a": "11"}})
    for other in (cell({"1": {"a": "11"}}), cell({"0": {"b": "11"}}), cell({"0": {"a": "111"}}), one | {"protocol": {"name": "open"}}):
        assert of_cells(claim(), one, other).verdict == "not comparable"


def test_no_room_above_the_baseline_is_said() -> None:
    full, nearly, half = (cell({"0": {"a": "1" * k + "0" * (50 - k)}}) for k in (50, 48, 25))
    none = cell({"0": {"a": "0" * 50}})
    assert "100.0 is at the edge: harder" in of_cells(claim(), full, full).why and "easier" in of_cells(claim(), none, none).why
    assert "96.0 leaves 4.0 points" in of_cells(claim(), full, nearly).why  # two episodes could be gained, these would show six
    assert of_cells(claim(), half, half).why == "" == of_cells(claim("less"), nearly, full).why


@pytest.mark.parametrize(("n", "verdict"), [(80, "underpowered"), (200, "holds")])
def test_more_episodes_do_show_non_inferiority(n: int, verdict: str) -> None:
    full = cell({"0": {"a": "1" * n}})
    found = of_cells(claim("not_worse", 0.02), full, full)
    assert (found.verdict, found.why) == (verdict, "")
    assert found.detectable == pytest.approx(-paired_difference(Paired(n, 0, 0, 0)).low)


def test_beyond_a_margin_p_is_of_that_margin() -> None:
    """From 100 % to 70 % on 50 states: far from no difference, not from one of 30 points."""
    full, arm = cell({"0": {"a": "1" * 50}}), cell({"0": {"a": "1" * 35 + "0" * 15}})
    found = of_cells(claim("less", 0.3), arm, full)
    assert (found.verdict, found.test, found.p, found.detectable) == ("underpowered", "tango", pytest.approx(1.0), None)
    assert of_cells(claim("less"), arm, full).p == pytest.approx(2 / 2**15)


def contrasted(seeds: str = "0") -> list[dict[str, Any]]:
    """Robot: 30 of 40 lost; language: 2 of 40 lost."""
    marks = ("0" * 30 + "1" * 10, "1" * 40, "0" * 2 + "1" * 38, "1" * 40)
    return [cell({seed: {"a": text} for seed in seeds}) for text in marks]


def test_a_contrast_of_two_columns() -> None:
    more = claim("less", column="robot-language")
    expected = apart(-0.75, paired_difference(Paired(10, 0, 30, 0)), -0.05, paired_difference(Paired(38, 0, 2, 0)), "x")
    found = of_cells(more, *contrasted())
    assert (found.verdict, found.rate, found.other_rate, found.n) == ("holds", -0.75, pytest.approx(-0.05), 40)
    assert (found.difference, found.low, found.high) == pytest.approx((-0.7, expected.low, expected.high))
    assert found.p is not None and found.p < 1e-5 and found.bootstrap_high is not None and -0.7 < found.bootstrap_high < -0.5
    assert of_cells(more, *contrasted()[:2], *contrasted()[:2]).p == pytest.approx(1.0, abs=1e-6)
    twice = of_cells(more, *contrasted("01"))
    assert (twice.noise, twice.between_seeds) == ("evaluation and training (2 seeds)", 0.0)
    assert of_cells(more, *contrasted()[:2], *contrasted("01")[2:]).verdict == "not comparable"


def test_ratios_and_blocks_are_read_off() -> None:
    faster = of_ratio(claim("ratio_at_least", 1.5, "action_speedup"), 1.41, 1.0)
    assert (faster.verdict, faster.ratio) == ("does not hold", 1.41) and "without an interval" in faster.why
    assert of_ratio(claim("ratio_at_most", 0.59, "memory_gib"), 8.36, 14.4).verdict == "holds"
    assert of_paper(claim("ratio_at_most", 0.56, "size"), 0.555, 1.0).verdict == "holds"
    assert [of_blocks(kept).verdict for kept in (["a", "a"], ["a", "b"], ["a", None])] == ["holds", "does not hold", "not comparable"]
    assert of_paper(claim("same_blocks"), 0.922, 0.922).verdict == "holds" != of_paper(claim("same_blocks"), 0.92, 0.9).verdict


@pytest.mark.parametrize(("column", "decided"), [("size", False), ("flops", False), ("memory_gib", False), ("action_speedup", True)])
def test_shares_of_a_policy_of_other_shapes_tell_nothing(column: str, decided: bool) -> None:
    """A narrow policy has relatively more embeddings: no evidence against what the paper counts of 7 B."""
    one = claim("ratio_at_most", 0.56, column)
    cells = {place: {"quantity": column, "value": value} for place, value in zip(one.places(), (0.775, 1.0), strict=True)}
    here, there = ours(one, cells, {}, "embedded"), ours(one, cells, {}, "paper")
    assert here.ratio == there.ratio == 0.775 and there.verdict == "does not hold"
    assert here.verdict == ("does not hold" if decided else "not comparable") and ("other shapes" in here.why) == (not decided)


@pytest.mark.parametrize(("table", "verdict"), [("table4", "not comparable"), ("table1", "holds")])
def test_cuts_that_were_trained_apart_are_called_so(table: str, verdict: str) -> None:
    """Table 4 is about equal training FLOPs. An undropped policy is trained as it is, so another recipe of a cut beside it is meant."""

    def of(cut: str, recipe: str, marks: str) -> dict[str, Any]:
        path = f"artifacts/embedded/pi05/{cut}/four.{recipe}/seed0/rollouts/closed-n50/s.jsonl"
        return cell({"0": {"a": marks}}) | {"quantity": "success_rate", "ancestry": [{"role": "episodes", "path": path}]}

    one = replace(claim(), table=table)
    better, worse = of("language-gateprobe-16", "flow_matched", "1" * 50), of("language-ends", "flow_recover", "0" * 50)
    found = ours(one, dict(zip(one.places(), (better, worse), strict=True)), {}, "embedded")
    assert found.verdict == verdict and "recovered by four.flow_matched and four.flow_recover" in found.why
    whole = of("none", "flow_recover", "0" * 50)
    assert ours(one, dict(zip(one.places(), (better, whole), strict=True)), {}, "embedded").why == ""


def test_a_rule_is_for_its_kind_of_number() -> None:
    one = claim("ratio_at_least", 1.5, "action_speedup")
    cells = {place: {"quantity": "action_speedup", "value": value} for place, value in zip(one.places(), (1.6, 1.0), strict=True)}
    assert ours(one, cells, {}, "embedded").verdict == "holds"
    with pytest.raises(BadRecord, match="a rule of ratios"):
        ours(replace(one, rule="greater", margin=0.0), cells, {}, "embedded")


def test_what_has_no_known_count_is_not_decided() -> None:
    robot = replace(claim("less", column="robot-language"), table="table6")
    found = of_paper(robot, 0.497, 0.603, 0.658, 0.709)
    assert found.verdict == "not comparable" and "-5.5 points; how many episodes" in found.why
    assert "not public" in ours(replace(claim(), table="figure2"), {}, {}, "embedded").why


def test_a_row_of_another_table() -> None:
    one = replace(claim(), table="table4", row="pi05.drop16", other="table1/pi05.ends.language")
    assert one.places() == [("table4", "pi05.drop16", "average"), ("table1", "pi05.ends.language", "average")]


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
    claimed = "same_blocks16.gateprobe.fisher"
    assert lines[claimed]["verdict"] == "not comparable" and "no plans" in lines[claimed]["why"]
    plans = {
        f"table3/pi05.{metric}16": str(ROOT / "tests/workflow/fingerprints/inputs/pi05_plan.json") for metric in ("gateprobe", "fisher")
    }
    assert cli.run([*words, "--plans", json.dumps(plans), "--out", str(tmp_path / "verdicts.csv")]) == 0
    with open(tmp_path / "verdicts.csv", newline="") as file:
        assert {line["claim"]: line["verdict"] for line in csv.DictReader(file)}[claimed] == "holds"
    assert cli.run([*words, "--plans", "[]", "--out", str(tmp_path / "verdicts.csv")]) == 2
