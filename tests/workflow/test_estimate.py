"""What a target costs: measured rates before stated ones before guesses, only of what is missing, and the page of coverage."""

import json
from pathlib import Path

import pytest
import yaml
from world import ROOT

from dtr.cost import PROMPT_TOKENS, of_config
from dtr.policies.registry import beside
from dtr.provenance import write_json
from dtr.workflow import coverage, estimate, paths, rates
from dtr.workflow.cached import collect
from dtr.workflow.estimate import Estimator, matches, summed, text
from dtr.workflow.resources import training_s
from dtr.workflow.targets import Targets

ARM = "artifacts/embedded/openvla_oft/{cut}/four.recover/seed0"
HALF = ARM.format(cut="language-half")


def targets(scale, **changes):
    return Targets(yaml.safe_load((ROOT / f"config/{scale}.yaml").read_text()) | changes, str(ROOT))


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def record(path, seconds, *argv, **facts):
    write_json(f"{path}.run.json", {"argv": list(argv), "wall_s": seconds} | facts)


def recovered(cut, seconds, steps, **facts):
    recipe = json.dumps({"steps": steps, "batch": 32})
    record(f"{ARM.format(cut=cut)}/recovered.safetensors", seconds, "recover", "--recipe", recipe, **facts)


@pytest.mark.parametrize("scale", ["embedded", "smoke", "paper"])
def test_every_cached_file_belongs_to_a_stage(scale):
    of = targets(scale)
    files = {path for table in of.sheets for path in collect(of).used[table]}
    jobs = Estimator(of).jobs(files)
    assert len(jobs) == len(files) and all(job.seconds > 0 and job.basis for job in jobs)
    assert matches("results/embedded/table1.csv") is None and matches(of.cells("table1", "")[0]) is None


def test_training_goes_by_measured_operations_and_guesses_say_so():
    of = targets("embedded")
    size = Estimator(of).size("openvla_oft")
    guessed = Estimator(of).job(f"{HALF}/recovered.safetensors")
    assert guessed.basis == "measured on two other cores" and guessed.gpus == 0
    for cut, seconds in (("none", 100.0), ("vision-half", 300.0), ("vision-ends", 900.0)):
        recovered(cut, seconds, 1000)
    recovered("language-ends", 0.5, 1000, shared_with={"path": "x"})  # took another arm's weights
    job = Estimator(of).job(f"{HALF}/recovered.safetensors")
    rate = training_s({"steps": 1000, "batch": 32}, size, size, 1.0) / 300
    assert job.seconds == pytest.approx(training_s(of.config["recipes"]["recover"], size, size, rate))
    assert job.basis == "measured: 3 of this policy's runs at this scale"
    assert Estimator(of, fresh=True).job(f"{HALF}/recovered.safetensors") == guessed
    assert "other policies'" in Estimator(of).job("artifacts/embedded/pi05/none/four.flow_recover/seed0/recovered.safetensors").basis


def test_what_was_measured_on_several_gpus_is_a_rate_of_each():
    of = targets("paper")
    arm = "artifacts/paper/openvla_oft/none/four.recover/seed{}/recovered.safetensors"
    recipe = json.dumps(of.config["recipes"]["recover"])
    record(arm.format(0), 3600.0, "recover", "--recipe", recipe, "--gpus", "4")
    job = Estimator(of).job(arm.format(1))
    assert job.gpus == 4 and "measured: 1 of this policy's" in job.basis
    assert job.seconds == pytest.approx(3600.0), "the same training on as many GPUs takes as long"


def test_a_training_that_was_resumed_or_started_by_hand_is_no_rate():
    of = targets("embedded")
    recovered("none", 100.0, 1000)
    alone = Estimator(of).job(f"{HALF}/recovered.safetensors")
    recovered("vision-half", 1.0, 1000, resumed_at=990)
    recovered("language-ends", 1.0, 1000, resumed_at=990)
    record(f"{ARM.format(cut='vision-ends')}/recovered.safetensors", 1.0, "recover", "--recipe", "recipe.json")
    record(f"{ARM.format(cut='action-ends')}/recovered.safetensors", 1.0, "recover", "--recipe=recipe.json")
    assert Estimator(of).job(f"{HALF}/recovered.safetensors") == alone


def test_a_plan_halves_the_time_and_the_file():
    of = targets("embedded")
    whole = Estimator(of).job(f"{HALF}/recovered.safetensors")
    size = Estimator(of).size("openvla_oft")
    plan = {"parameters": {"left": size.parameters / 4}, "flops": {"left": size.flops / 2}}
    write_json(paths.PLAN.format(scale="embedded", policy="openvla_oft", cut="language-half"), plan)
    left = Estimator(of).job(f"{HALF}/recovered.safetensors")
    assert left.seconds == pytest.approx(whole.seconds / 2) and left.kept_mb == pytest.approx(whole.kept_mb / 4)


def test_rollouts_go_by_episodes_that_were_really_played():
    of = targets("embedded")
    path = f"{HALF}/rollouts/closed-n50/embedded_long.jsonl"
    assert Estimator(of).job(path).seconds == pytest.approx(200 / (7584 / 3600))
    record(path, 100.0, "rollout", played=200)
    record(path.replace("long", "goal"), 1.0, "rollout", played=0)  # resumed when all had been played
    assert Estimator(of).job(path).seconds == pytest.approx(100.0)


def test_the_paper_s_scale_uses_what_the_paper_says():
    of = targets("paper")
    gateprobe = Estimator(of).job("artifacts/paper/pi05/scores/four/gateprobe.json")
    assert gateprobe.seconds == pytest.approx(24.9) and "the paper" in gateprobe.basis and gateprobe.gpus == 1
    arm = "artifacts/paper/openvla_oft/{}/four.recover/seed0/recovered.safetensors"
    whole, half = (Estimator(of).job(arm.format(cut)) for cut in ("none", "language-half"))
    assert half.seconds == pytest.approx(0.55 * whole.seconds) and half.kept_mb == pytest.approx(0.555 * whole.kept_mb)
    assert whole.gpus == 4 and whole.basis.startswith("guess")
    assert summed([whole])["gpu_hours"] == pytest.approx(4 * summed([whole])["hours"])


def test_the_text_adds_up_and_names_its_guesses():
    jobs = Estimator(targets("paper")).jobs([f"artifacts/paper/pi05/none/four.flow_recover/seed{k}/recovered.safetensors" for k in (0, 1)])
    said = text(jobs, files=5)
    assert "recover          2" in said and "3 more files" in said and "Guessed, not measured: recover." in said
    assert summed(jobs)["hours"] == pytest.approx(2 * summed(jobs)["longest_hours"])
    assert "in memory" in said and text([], files=3).startswith("nothing that takes longer")


def test_only_what_snakemake_would_make_is_counted(monkeypatch, capsys):
    (Path("config")).mkdir()
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(estimate, "late_files", lambda config, asked: [f"{HALF}/recovered.safetensors", "results/embedded/table1.csv"])
    estimate.run(estimate.argparse.Namespace(config="config/embedded.yaml", targets=["results/table1.csv"]))
    said = capsys.readouterr().out
    assert "recover          1" in said and "rollout" not in said and "1 more files" in said


def test_published_sizes_are_those_that_are_counted():
    config = beside("pi05", "_config", "FULL_SIZE")
    cost = of_config("pi05", config, config.text_length(PROMPT_TOKENS))
    assert rates.FULL_SIZE["pi05"].parameters == pytest.approx(cost.parameters.total, rel=0.01)
    assert rates.FULL_SIZE["pi05"].flops == pytest.approx(cost.flops.total, rel=0.01)


def test_the_page_of_coverage_is_up_to_date(monkeypatch):
    monkeypatch.chdir(ROOT)
    assert coverage.page() == coverage.PAGE.read_text(), "run `dtr coverage`"


def test_coverage_says_run_only_of_what_is_cached():
    of = targets("embedded")
    assert coverage.here(of, "table1", set()) == "planned: 14 of 14 rows, none of them run"
    rows = {path for arm in of.running("table1") for path in coverage.behind(of, "table1", arm.row)}
    assert coverage.here(of, "table1", rows) == "planned: 14 of 14 rows, 14 of them run"
    assert coverage.here(of, "table1", rows | {"results/embedded/table1.csv"}) == "run: 14 of 14 rows"
    assert coverage.here(of, "table9", rows) == coverage.cost(of, "table9") == "not planned"
