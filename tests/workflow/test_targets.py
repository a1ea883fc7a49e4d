"""From sheets to files: every path of Table 1, and what a wildcard may be."""

import json
import re
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from dtr.errors import BadConfig, UnknownName
from dtr.workflow import paths
from dtr.workflow.exhibits import REPORTED, Exhibits
from dtr.workflow.targets import Targets

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def targets():
    return Targets(yaml.safe_load((ROOT / "config/embedded.yaml").read_text()), str(ROOT))


def test_a_table_has_a_cell_for_each_row_and_column(targets):
    cells = targets.cells("table1", "")
    assert len(cells) == len(set(cells)) == 14 * 7
    assert cells[0] == "results/embedded/cells/table1/openvla_oft.baseline.size.json"
    assert cells[-1] == "results/embedded/cells/table1/pi05.ends.action.average.json"


def test_a_live_sample_shares_policies_but_no_record_and_no_result(targets):
    arm = targets.arm("table1", "openvla_oft.half.language")
    (full,), (live,) = targets.episodes(arm, "goal", ""), targets.episodes(arm, "goal", "/live-n5")
    folder = "artifacts/embedded/openvla_oft/language-half/four.recover/seed0/rollouts"
    assert full == f"{folder}/closed-n50/embedded_goal.jsonl"
    assert live == f"{folder}/closed-n5-live/embedded_goal.jsonl"
    assert targets.episodes(arm, "goal", "/live-n50") != [full]
    assert not set(targets.cells("table1", "")) & set(targets.cells("table1", "/live-n50"))


def test_a_live_sample_has_no_more_states_than_there_are(targets):
    arm = targets.arm("table1", "openvla_oft.half.language")
    with pytest.raises(BadConfig, match="has 1 to 50 initial states a task, got 60: lower it"):
        targets.episodes(arm, "goal", "/live-n60")


def test_what_trains_on_gpus_is_told_so_and_nothing_else_is_told_anything(targets):
    assert targets.training("openvla_oft") == targets.scoring("four") == targets.device == "" and targets.gpus("openvla_oft") == 0
    paper = Targets(yaml.safe_load((ROOT / "config/paper.yaml").read_text()), str(ROOT))
    assert paper.training("pi05") == "--device cuda --gpus 4" and paper.training("openvla_oft_spatial") == paper.device == "--device cuda"
    assert (paper.gpus("pi05"), paper.gpus("openvla_oft_spatial")) == (4, 1)
    assert paper.scoring("four") == "--device cuda --precision bf16"
    paper.config["policies"]["pi05"]["recompute"] = True
    assert paper.training("pi05") == "--device cuda --gpus 4 --recompute"


def test_the_average_needs_every_suite_and_seed(targets):
    arm = targets.arm("table1", "openvla_oft.baseline")
    assert [Path(path).stem for path in targets.episodes(arm, "average", "")] == list(targets.config["suites"].values())


def test_the_protocol_follows_from_the_path(targets):
    full, live = (json.loads(targets.protocol_json(name)) for name in ("closed-n50", "closed-n5-live"))
    assert (full.pop("trials"), live.pop("trials")) == (50, 5)
    configured = {key: value for key, value in targets.config["protocols"]["closed"].items() if key != "trials"}
    assert full == live == {**configured, "name": "closed"}
    with pytest.raises(UnknownName, match="did you mean 'closed'"):
        targets.protocol_json("close-n5")


def test_a_cut_by_a_metric_needs_its_scores_and_no_other_cut_does(targets):
    assert targets.scores("openvla_oft", "language-gateprobe-9+vision-half") == [
        "artifacts/embedded/openvla_oft/scores/four/gateprobe.json"
    ]
    assert targets.scores("openvla_oft", "language-half") == []
    assert targets.scores("openvla_oft", "language-gateprobe-9-mlp+language-taylor-1") == [
        f"artifacts/embedded/openvla_oft/scores/four/{name}.json" for name in ("gateprobe.mlp", "taylor")
    ]


def test_stability_is_against_the_other_calibration_sets(targets):
    assert targets.against("openvla_oft", "four", "fisher.mlp") == ["artifacts/embedded/openvla_oft/scores/goal/fisher.mlp.json"]
    alone = {**targets.config, "calibrations": {"four": targets.config["calibrations"]["four"]}}
    assert Targets(alone, str(ROOT)).against("openvla_oft", "four", "fisher.mlp") == []


def test_every_row_is_compared_with_its_baseline(targets):
    assert targets.baseline("table1", "openvla_oft.ends.action").row == "openvla_oft.baseline"
    with pytest.raises(UnknownName, match=r"openvla_oft\.ends\.action"):
        targets.arm("table1", "openvla_oft.end.action")


def pattern(template, constraints):
    """The regular expression that Snakemake makes of a path with wildcards."""
    seen = set()

    def group(match):
        name = match.group(1)
        again = name in seen
        seen.add(name)
        return f"(?P={name})" if again else f"(?P<{name}>{constraints[name]})"

    return re.compile(re.sub(r"\\\{(\w+)\\\}", group, re.escape(template)))


@pytest.mark.parametrize(
    ("template", "path", "expected"),
    [
        (paths.TABLE, "results/embedded/table1.csv", {"sample": ""}),
        (paths.TABLE, "results/embedded/live-n5/table1.csv", {"sample": "/live-n5"}),
        (paths.SHOWN, "results/table1.csv", {"sample": ""}),
        (paths.SHOWN, "results/embedded/table1.csv", None),
        (paths.TABLE, "results/smoke/table1.csv", None),
        (
            paths.CELL,
            "results/embedded/cells/table1/openvla_oft.half.language.goal.json",
            {"row": "openvla_oft.half.language", "column": "goal"},
        ),
        (paths.CELL, "results/embedded/cells/table1/openvla_oft.half.language.gaol.json", None),
        (
            paths.DROPPED,
            "artifacts/embedded/openvla_oft/vision.dino-half+language-keep-0_5/dropped.safetensors",
            {"cut": "vision.dino-half+language-keep-0_5"},
        ),
        (paths.DROPPED, "artifacts/embedded/openvla_oft/a/b/dropped.safetensors", None),
        (paths.SCORE, "artifacts/embedded/openvla_oft/scores/four/gateprobe.mlp.json", {"metric": "gateprobe.mlp"}),
        (paths.SCORE, "artifacts/embedded/openvla_oft/scores/four/gateprobe.stability.json", None),
        (paths.STABILITY, "artifacts/embedded/openvla_oft/scores/four/gateprobe.mlp.stability.json", {"metric": "gateprobe.mlp"}),
    ],
)
def test_a_path_means_one_thing_or_nothing(targets, template, path, expected):
    match = pattern(template, targets.constraints()).fullmatch(path)
    assert (match is None) == (expected is None)
    if match is not None:
        assert {key: match.group(key) for key in expected} == expected


@pytest.fixture
def smoke():
    return Targets(yaml.safe_load((ROOT / "config/smoke.yaml").read_text()), str(ROOT))


def test_a_sheet_says_what_runs_where_and_the_rest_has_no_cell(smoke):
    assert [arm.row for arm in smoke.running("table2")] == [
        "openvla_oft.baseline",
        "openvla_oft.half.language",
        "openvla_oft.half.language.attention",
        "openvla_oft.half.language.mlp",
    ]
    rows = {row["row"]: row for row in json.loads(smoke.rows_json("table2"))}
    assert rows["pi05.baseline"]["not_run"] and "plan" not in rows["pi05.baseline"]
    assert rows["openvla_oft.half.language.mlp"]["plan"] == "artifacts/smoke/openvla_oft/language-half-mlp/plan.json"
    row = re.compile(smoke.constraints()["row"])
    assert row.fullmatch("openvla_oft.half.language.mlp") and not row.fullmatch("pi05.baseline")
    assert not any("pi05" in cell for cell in smoke.cells("table2", ""))


def test_a_table_has_its_own_columns(smoke):
    columns = ["spatial", "action_speedup", "step_ratio", "task_speedup", "memory_gib"]
    assert smoke.columns("table5") == columns and smoke.columns("table1")[:2] == ["size", "flops"]
    arm = smoke.arm("table5", "openvla_oft.zero_shot4")
    assert smoke.episodes(arm, "step_ratio", "", "table5") == [
        "artifacts/smoke/openvla_oft/language-gateprobe-4/four.recover.zero_shot/seed0/rollouts/closed-n2/embedded_spatial.jsonl"
    ]
    assert smoke.latency(smoke.arm("table5", "openvla_oft.int8")) == "artifacts/smoke/openvla_oft/none/latency-int8.json"
    assert re.fullmatch(smoke.constraints()["recipe"], "recover.int8") and not re.fullmatch(smoke.constraints()["recipe"], "recover.int9")
    config = {
        **smoke.config,
        "tables": {**smoke.config["tables"], "table5": {"sheet": "config/experiments/table5.tsv", "columns": ["goal"]}},
    }
    with pytest.raises(UnknownName, match=r"tables\.table5\.columns"):
        Targets(config, str(ROOT))


def test_figures_and_claims_take_what_runs(smoke):
    exhibits = Exhibits(smoke)
    assert exhibits.figures() == ["scores-openvla_oft", "curves", "frontier", "tasks", "costs", *REPORTED]
    assert exhibits.files("reported-figure2") == ["results/reported/figure2.csv"]
    assert len(exhibits.files("curves")) == len(set(exhibits.files("curves"))) == 9  # seven arms of Table 1, two more of Table 2
    assert exhibits.files("scores-openvla_oft") == ["artifacts/smoke/openvla_oft/scores/four/gateprobe.json"]
    assert exhibits.failing() == [("table1", "openvla_oft.baseline", "object")]
    assert exhibits.failing_cuts() == [("openvla_oft", "object")]
    assert "results/smoke/figures/failures-cut.openvla_oft.object.png" in exhibits.drawn()
    cuts = [arm.cut for arm in exhibits.cuts("openvla_oft", "object")]
    assert len(cuts) == 8 and "none" not in cuts and cuts[0] == "vision-half"
    claimed = exhibits.claimed()
    assert "results/smoke/cells/table2/openvla_oft.half.language.mlp.average.json" in claimed
    assert "results/smoke/cells/table5/openvla_oft.ends.language.task_speedup.json" in claimed
    assert not any("pi05" in cell or "goal" in cell for cell in claimed)
    assert "artifacts/smoke/openvla_oft/language-half-mlp/plan.json" in exhibits.claimed_plans()
    assert len(exhibits.claimed_plans()) == len(set(exhibits.claimed_plans())) < len(claimed)


def test_a_claim_takes_cells_of_two_tables_and_of_two_columns(targets):
    """GateProbe's Drop-16 of Table 4 is held against Table 1's endpoints; a contrast of Table 6 needs both columns."""
    sheets = {table: targets.config["tables"][table] for table in ("table1", "table4", "table6")}
    claimed = Exhibits(Targets({**targets.config, "tables": sheets}, str(ROOT))).claimed()
    folder = "results/embedded/cells"
    assert {f"{folder}/table1/pi05.ends.language.average.json", f"{folder}/table6/pi05.baseline.robot.json"} <= set(claimed)
    assert f"{folder}/table6/pi05.gateprobe9.light.json" in claimed and not any("-" in Path(cell).name for cell in claimed)


def test_a_table_of_perturbations_asks_for_every_suite_under_each(targets):
    columns = ["size", "camera", "noise", "average"]
    tables = {"table1": targets.config["tables"]["table1"], "table6": {"sheet": targets.config["tables"]["table1"], "columns": columns}}
    variants = {"camera": ["camera-1", "camera-3"], "noise": ["noise-2+blank"]}
    plus = Targets({**targets.config, "tables": tables, "variants": variants}, str(ROOT))
    assert plus.columns("table6") == columns and plus.columns("table1") == targets.columns("table1")
    arm = plus.arm("table6", "openvla_oft.baseline")
    folder = "artifacts/embedded/openvla_oft/none/four.recover/seed0/rollouts/closed-n50"
    assert plus.episodes(arm, "noise", "", "table6")[0] == f"{folder}/embedded_spatial+noise-2+blank.jsonl"
    assert len(plus.episodes(arm, "camera", "", "table6")) == 8 and len(plus.episodes(arm, "average", "", "table6")) == 12
    assert plus.episodes(arm, "average", "", "table1") == targets.episodes(arm, "average", "")
    exhibits = Exhibits(plus)
    assert exhibits.figures()[-4:] == ["strength", *REPORTED]
    labels = ["embedded_spatial", "embedded_object", "embedded_goal", "embedded_long"]
    assert plus.together()["noise"] == [f"{suite}+noise-2+blank" for suite in labels] and len(plus.together()["camera"]) == 8
    shared = Targets(
        {**plus.config, "variants": {"camera": ["camera-1"], "worst": ["camera-1"]}, "tables": {"table1": tables["table1"]}}, str(ROOT)
    )
    assert list(shared.together()) == ["camera"], "a record is made by one job"
    cells = exhibits.files("strength")
    assert len(cells) == 2 * len(plus.running("table6")) and cells[0].endswith("/cells/table6/openvla_oft.baseline.camera.json")
    known = plus.constraints()
    records = [Path(path).stem for path in plus.episodes(arm, "camera", "", "table6")]
    assert all(re.fullmatch(rf"(?:{known['suite']})(?:{known['variant']})", record) for record in records)
    with pytest.raises(UnknownName, match=r"unknown column 'camra'.*did you mean 'camera'"):
        Targets({**plus.config, "tables": {"t": {"sheet": tables["table1"], "columns": ["camra"]}}}, str(ROOT))
    with pytest.raises(UnknownName, match=r"unknown variant 'suite.camera-9'"):
        Targets({**plus.config, "variants": {"camera": ["camera-9"]}}, str(ROOT))


def test_the_paper_s_table_6_is_planned_with_its_canary(targets):
    paper = Targets(yaml.safe_load((ROOT / "config/paper.yaml").read_text()), str(ROOT))
    arm = paper.arm("table6", "pi05.gateprobe9")
    records = paper.episodes(arm, "average", "", "table6")
    assert len(records) == len(set(records)) == 7 * 5 * 4
    assert records[0].endswith("/pi05/language-gateprobe-9/four.flow_recover/seed0/rollouts/plus-n5/libero_spatial+camera-1.jsonl")
    assert json.loads(paper.protocol_json("plus-n5"))["image_path"] == "openpi"
    wanted = paper.canary(SimpleNamespace(policy="pi05", protocol="plus-n5"))
    assert wanted == ["artifacts/paper/pi05/none/four.flow_recover/seed0/canary/plus-n5.json"]
    assert targets.canary(SimpleNamespace(policy="openvla_oft", protocol="closed-n50")) == []
    assert json.loads(paper.reported("table6", "pi05.gateprobe17", "robot"))["value"] == 0.321
    assert paper.reported("table6", "pi05.gateprobe17", "noise") == "null"


def test_table_7_shares_table_1_s_arms_and_shows_the_rest_as_not_run(smoke, targets):
    assert [arm.row for arm in smoke.running("table7")] == ["openvla_oft.baseline", "openvla_oft.half.language"]
    for arm in smoke.running("table7"):
        assert smoke.recovered(arm) == smoke.recovered(smoke.arm("table1", arm.row))
        assert smoke.episodes(arm, "average", "", "table7") == smoke.episodes(smoke.arm("table1", arm.row), "average", "", "table1")
    embedded = Targets({**targets.config, "tables": {"table7": "config/experiments/table7.tsv"}}, str(ROOT))
    rows = {row["row"]: row for row in json.loads(embedded.rows_json("table7"))}
    assert len(rows) == 8 and rows["pi05.half.language"]["plan"] == "artifacts/embedded/pi05/language-half/plan.json"
    assert "nobody has paid" in rows["gigabrain0.baseline"]["not_run"] and "nobody has paid" in rows["lingbot_vla.half.language"]["not_run"]
    assert json.loads(embedded.reported("table7", "lingbot_vla.half.language", "object"))["value"] == 0.97


def test_a_table_with_a_cut_reads_the_gate_gradients_of_its_policies(smoke):
    scores = ["artifacts/smoke/openvla_oft/scores/four/gateprobe.json"]
    assert smoke.gradients("table1") == smoke.gradients("table7") == scores
    sheet = [arm for arm in smoke.sheets["table1"] if arm.cut == "none"]
    smoke.sheets["table1"][:] = sheet
    assert smoke.gradients("table1") == []


def test_every_policy_plays_the_evaluation_of_its_own_pictures():
    paper = Targets(yaml.safe_load((ROOT / "config/paper.yaml").read_text()), str(ROOT))
    played = {arm.policy: json.loads(paper.protocol_json(paper.protocol(arm, ""))) for arm in paper.running("table7")}
    assert {policy: (protocol["image_path"], protocol["gripper"]) for policy, protocol in played.items()} == {
        "openvla_oft": ("oft", "threshold"),
        "pi05": ("openpi", "raw"),
        "gigabrain0": ("gigabrain", "raw"),
        "lingbot_vla": ("lingbot", "sign"),
    }
    assert paper.protocol(paper.arm("table7", "pi05.baseline"), "/live-n5") == "openpi-n5-live"
    paper.config["policies"]["pi05"]["protocols"]["closed"] = "opnpi"
    with pytest.raises(UnknownName, match=r"unknown protocol 'opnpi'.*policies\.pi05\.protocols\.closed"):
        Targets(paper.config, str(ROOT))


def test_claims_about_blocks_need_plans_and_no_training(targets, smoke):
    """Magnitude's Drop-16 is not trained at this scale; which blocks it keeps its scores say."""
    embedded = Exhibits(targets)
    found = embedded.compared_plans()
    assert found["table3/pi05.magnitude16"] == "artifacts/embedded/pi05/language-magnitude-16/plan.json"
    assert not embedded.targets.arm("table3", "pi05.magnitude16").runs("embedded")
    about = [claim for claim in embedded.claims() if claim.rule == "same_blocks"]
    assert {f"{table}/{row}" for claim in about for table, row, _ in claim.places()} == set(found)
    assert Exhibits(smoke).compared_plans() == {}  # it has no Table 3
