"""What jobs ask a cluster for follows from the policy's size, its plan, the recipe and the attempt."""

import json
import re
from types import SimpleNamespace

import pytest
import yaml
from world import ROOT

from dtr.errors import MissingLibrary, UnknownName
from dtr.policies.device import probe
from dtr.workflow import paths
from dtr.workflow.resources import START_S, held_mb, pictures_mb, resources_of, size_of
from dtr.workflow.sizes import LARGEST, size_of_model
from dtr.workflow.targets import Targets

RECOVER = SimpleNamespace(policy="openvla_oft", cut="language-half", data="four", recipe="recover", seed="0")
ROLLOUT = SimpleNamespace(**vars(RECOVER), protocol="closed-n50", suite="libero_spatial")
SCORE = SimpleNamespace(policy="openvla_oft", calibration="four", metric="gateprobe")
FAILURES = SimpleNamespace(table="table1", row="openvla_oft.baseline", column="long")


def targets(scale, **changes):
    return Targets(yaml.safe_load((ROOT / f"config/{scale}.yaml").read_text()) | changes, str(ROOT))


def asked(stage, of, wildcards, attempt=1, threads=2):
    given = {"gpu": {}, "mem_mb": {"attempt": attempt, "threads": threads}, "runtime": {"attempt": attempt, "threads": threads}}
    return {key: value(wildcards, **given[key]) if callable(value) else value for key, value in resources_of(stage, of).items()}


def write_plan(of, cut, parameters, flops):
    path = ROOT / paths.PLAN.format(scale=of.scale, policy="openvla_oft", cut=cut)
    name = path.relative_to(ROOT)
    name.parent.mkdir(parents=True, exist_ok=True)
    name.write_text(json.dumps({"parameters": {"left": parameters}, "flops": {"left": flops}}))
    return name


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_7_b_asks_for_more_than_a_laptop_s_policy_and_both_for_more_than_a_plan():
    paper, embedded = targets("paper"), targets("embedded")
    large, small = asked("recover", paper, RECOVER), asked("recover", embedded, RECOVER)
    table = asked("cost", paper, RECOVER)
    assert large["gpu"] == 4 and "gpu" not in small and "gpu" not in table and asked("rollout", paper, ROLLOUT)["gpu"] == 1
    assert large["mem_mb"] > 60_000 > 10 * table["mem_mb"] and small["mem_mb"] < 10_000
    assert large["runtime"] > 12 * 60 > 6 * small["runtime"] and table["runtime"] <= 30


def test_pictures_that_stay_on_the_disk_need_no_memory():
    """107 GB of LIBERO, decoded: four processes would ask for half a terabyte."""
    paper = targets("paper")
    assert sum(pictures_mb(paper, "four")) > 100_000 and held_mb(paper, "four", 4) == 0
    assert asked("recover", paper, RECOVER)["mem_mb"] < 160_000 and asked("score", paper, SCORE)["mem_mb"] < 200_000
    embedded = targets("embedded")
    assert held_mb(embedded, "four", 2) == 2 * sum(pictures_mb(embedded, "four")) > 1000


def test_what_was_measured_on_two_cores_fits():
    """12,000 steps of pretraining took 2,485 s, 4,000 of recovery 900 s, 200 episodes 95 s; with room, but not tenfold."""
    embedded = targets("embedded")
    rollout = SimpleNamespace(**vars(RECOVER), protocol="closed-n50", suite="embedded_spatial")
    for stage, wildcards, measured_s in (("checkpoint", SCORE, 2485), ("recover", RECOVER, 900), ("rollout", rollout, 95)):
        assert 1.5 * measured_s < asked(stage, embedded, wildcards)["runtime"] * 60 < 600 + 10 * measured_s + 1200


def test_a_plan_that_is_there_says_what_is_left():
    paper = targets("paper")
    before = asked("recover", paper, RECOVER)
    path = write_plan(paper, "language-half", 4.3e9, 4.8e12)
    after = asked("recover", paper, RECOVER)
    assert after["runtime"] < 0.6 * before["runtime"] and after["mem_mb"] < before["mem_mb"]
    assert (
        asked("rollout", paper, ROLLOUT)["mem_mb"] < asked("rollout", paper, SimpleNamespace(**{**vars(ROLLOUT), "cut": "none"}))["mem_mb"]
    )
    path.write_text("damaged: the stage that reads it will say so")
    assert size_of(paper, "openvla_oft", "language-half") == size_of(paper, "openvla_oft")


def test_a_job_of_several_suites_takes_the_time_of_each_and_starts_once():
    embedded = targets("embedded")
    rollout = SimpleNamespace(**vars(RECOVER), protocol="closed-n50")
    one, four = (resources_of("rollout", embedded, ["embedded_spatial"] * n)["runtime"](rollout, attempt=1, threads=2) for n in (1, 4))
    start = START_S / 60
    assert one > start and four - start == pytest.approx(4 * (one - start), abs=2)


def test_matched_cost_is_the_undropped_policy_s():
    config = yaml.safe_load((ROOT / "config/paper.yaml").read_text())
    config["recipes"]["recover"]["matched_batch"] = config["recipes"]["recover"]["batch"]
    matched = Targets(config, str(ROOT))
    before = asked("recover", matched, RECOVER)["runtime"]
    write_plan(matched, "language-half", 4.3e9, 4.8e12)
    assert asked("recover", matched, RECOVER)["runtime"] == before


def test_scoring_asks_for_the_time_of_its_metric_in_one_attempt():
    """It has no state to resume from: 512 samples of 8.8e12 operations, 86 and 1,857 forwards, at 1.5e14 a second."""
    paper, minutes = targets("paper"), {}
    for metric in ("magnitude", "cossim", "gateprobe", "gateprobe.mlp", "taylor", "hessian", "leave_one_out", "sleb"):
        of = SimpleNamespace(**{**vars(SCORE), "metric": metric})
        minutes[metric] = asked("score", paper, of)["runtime"]
        assert asked("stability", paper, of)["runtime"] == minutes[metric]
    assert minutes["magnitude"] == START_S / 60 < minutes["cossim"] < minutes["gateprobe"] == minutes["gateprobe.mlp"] < minutes["taylor"]
    assert minutes["taylor"] < minutes["hessian"] < minutes["leave_one_out"] < minutes["sleb"]
    assert minutes["leave_one_out"] - 10 > 86 * 512 * 8.8e12 / 1.5e14 / 60 and minutes["sleb"] - 10 > 1857 * 512 * 8.8e12 / 1.5e14 / 60


def test_another_attempt_gets_more():
    paper = targets("paper")
    first, third = (asked("recover", paper, RECOVER, attempt) for attempt in (1, 3))
    assert third["mem_mb"] == pytest.approx(2 * first["mem_mb"], abs=2) and third["runtime"] == pytest.approx(3 * first["runtime"], abs=2)


def test_sizes_follow_from_a_configuration_upwards():
    """1,095,495 parameters and 1.3e8 operations of the embedded policy; 7.7e9 and 8.8e12 of the published one (`dtr cost`)."""
    for scale, parameters, flops in (("embedded", 1_095_495, 129_947_648), ("paper", 7.71e9, 8.80e12)):
        size = size_of_model(yaml.safe_load((ROOT / f"config/{scale}.yaml").read_text())["policies"]["openvla_oft"]["model"])
        assert parameters < size.parameters < 1.5 * parameters and flops < size.flops < 3 * flops
    assert size_of_model({}) == LARGEST


def test_whatever_computes_with_a_policy_asks_for_room_and_where_it_is_told_for_a_gpu_all_on_one_node():
    paper, embedded = targets("paper"), targets("embedded")
    wildcards = {"failures": FAILURES, "score": SCORE, "stability": SCORE, "rollout": ROLLOUT}
    for stage in ("recover", "score", "stability", "canary", "rollout", "latency", "failures", "failures_cut"):
        large, small = (asked(stage, of, wildcards.get(stage, ROLLOUT)) for of in (paper, embedded))
        assert large["gpu"] in (1, 4) and large["nodes"] == 1 and large["mem_mb"] > 30_000, stage
        assert set(small) == {"mem_mb", "runtime"} and small["mem_mb"] < 10_000, stage
    compressed = asked("compress", paper, RECOVER)
    assert compressed["mem_mb"] > 60_000 and "gpu" not in compressed


def test_every_rule_says_what_it_needs_or_runs_where_snakemake_runs():
    snakefile = (ROOT / "Snakefile").read_text()
    local = set(re.findall(r"^    (\w+),$", snakefile.split("\nlocalrules:\n")[1].split("\n\n")[0], re.MULTILINE))
    texts = [snakefile, *(path.read_text() for path in (ROOT / "rules").glob("*.smk"))]
    rules = {rule.split(":")[0]: rule for text in texts for rule in re.split(r"^rule ", text, flags=re.MULTILINE)[1:]}
    assert local < rules.keys() and {"recover", "table"} < rules.keys()
    assert {name for name, rule in rules.items() if "**resources_of(" in rule} == rules.keys() - local


def test_an_unknown_stage_is_said():
    with pytest.raises(UnknownName, match="did you mean 'recover'"):
        resources_of("recovr", targets("smoke"))


def test_the_slurm_profile_says_what_the_default_one_says():
    """Whichever is loaded takes the other's place: what makes a job run again must be the same."""
    default, slurm = (yaml.safe_load((ROOT / f"profiles/{name}/config.yaml").read_text()) for name in ("default", "slurm"))
    for key in default.keys() - {"cores", "resources"}:
        assert slurm[key] == default[key]


def test_a_device_that_does_not_work_is_named_at_once(monkeypatch):
    probe("cpu")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    for device in ("cuda", "cuda:7", "abacus"):
        with pytest.raises(MissingLibrary, match=f"--device {device} does not work on .*, CUDA_VISIBLE_DEVICES="):
            probe(device)
