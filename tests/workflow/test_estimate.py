"""What a target costs: measured rates before stated ones before guesses, only of what is missing, and the page of coverage."""

import json
from pathlib import Path

import pytest
import yaml
from world import ROOT

from dtr.dropping.cut import METRICS
from dtr.provenance import write_json
from dtr.workflow import coverage, estimate, paths
from dtr.workflow.bill import left_out, summed, text
from dtr.workflow.cached import collect
from dtr.workflow.estimate import Estimator, matches
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


def test_the_paper_s_scale_goes_by_blocks():
    of = targets("paper")
    arm = "artifacts/paper/openvla_oft/{}/four.recover/seed0/recovered.safetensors"
    whole, half = (Estimator(of).job(arm.format(cut)) for cut in ("none", "language-half"))
    assert half.seconds == pytest.approx(0.546 * whole.seconds, rel=1e-3) and half.kept_mb == pytest.approx(0.58 * whole.kept_mb, rel=1e-3)
    assert whole.gpus == 4 and whole.basis.startswith("guess")
    assert summed([whole])["gpu_hours"] == pytest.approx(4 * summed([whole])["hours"])
    plan = {"parameters": {"left": 1e9}, "flops": {"left": 3e12}}
    write_json(paths.PLAN.format(scale="paper", policy="openvla_oft", cut="language-half"), plan)
    assert (
        Estimator(of).job(arm.format("language-half")).kept_mb == 4000
        and Estimator(of, fresh=True).job(arm.format("language-half")) == half
    )


def test_all_that_drops_nine_blocks_costs_the_same_and_table_3_is_the_sum():
    of = targets("paper")
    arm = "artifacts/paper/pi05/language-{}-9/four.flow_recover/seed0/recovered.safetensors"
    jobs = [Estimator(of).job(arm.format(metric)) for metric in METRICS]
    assert len({(job.seconds, job.kept_mb) for job in jobs}) == 1 and summed(jobs[:1])["gpu_hours"] == pytest.approx(24 * 0.611, rel=1e-3)
    trainings = [job for job in Estimator(of).jobs(collect(of).used["table3"]) if job.stage == "recover"]
    left = (0.611, 0.465, 0.270, 0.221)  # of 18 blocks 9, 12, 16 and 17 go, of which one is dead
    assert len(trainings) == 41 and summed(trainings)["gpu_hours"] == pytest.approx(24 * (1 + 10 * sum(left)), rel=2e-3)


@pytest.mark.parametrize("policy", ["openvla_oft", "pi05", "gigabrain0", "lingbot_vla"])
def test_every_half_of_table_7_costs_less_than_its_baseline(policy):
    of = targets("paper")
    whole, half = (Estimator(of).job(of.recovered(of.arm("table7", f"{policy}.{row}"))) for row in ("baseline", "half.language"))
    assert 0.5 < half.seconds / whole.seconds < 0.8 and 0.5 < half.kept_mb / whole.kept_mb < 0.8


def test_scoring_costs_what_the_metric_takes_and_stability_as_much():
    of, score = targets("paper"), "artifacts/paper/pi05/scores/four/{}.json"
    stated = Estimator(of).job(score.format("gateprobe"))
    assert stated.seconds == pytest.approx(24.9) and stated.basis.startswith("the paper") and stated.gpus == 1
    for metric, forwards in {"cossim": 1, "taylor": 3, "hessian": 9, "leave_one_out": 64, "sleb": 378 + 171 + 171}.items():
        job = Estimator(of).job(score.format(metric))
        assert job.seconds == pytest.approx(24.9 * forwards / 2) and job.basis.startswith("guess") and job.gpus == 1
        again = Estimator(of).job(score.format(f"{metric}.stability"))
        assert (again.stage, again.seconds, again.basis) == ("stability", job.seconds, job.basis)
    assert Estimator(of).job(score.format("magnitude")).seconds == 60
    assert Estimator(of).job(score.format("gateprobe").replace("pi05", "openvla_oft")).basis.startswith("guess")


def test_the_text_adds_up_and_names_its_guesses():
    jobs = Estimator(targets("paper")).jobs([f"artifacts/paper/pi05/none/four.flow_recover/seed{k}/recovered.safetensors" for k in (0, 1)])
    said = text(jobs, files=5)
    assert "recover          2" in said and "3 more files" in said and "Guessed, not measured: recover." in said
    assert summed(jobs)["hours"] == pytest.approx(2 * summed(jobs)["longest_hours"])
    assert "in memory" in said and text([], files=3).startswith("nothing that takes longer")


def test_rows_that_this_scale_does_not_run_are_said():
    small = targets("embedded")
    said = left_out(small, ["results/table3.csv", "results/embedded/table1.csv", "results/verdicts.csv"])
    assert said == ["table3: 16 of its 41 rows are not run at the scale embedded and cost nothing above (docs/coverage.md says why).\n"]


def test_only_what_snakemake_would_make_is_counted(monkeypatch, capsys):
    (Path("config")).mkdir()
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(estimate, "late_files", lambda config, asked: [f"{HALF}/recovered.safetensors", "results/embedded/table1.csv"])
    estimate.run(estimate.argparse.Namespace(config="config/embedded.yaml", targets=["results/table1.csv"]))
    said = capsys.readouterr().out
    assert "recover          1" in said and "rollout" not in said and "1 more files" in said


def test_the_page_of_coverage_is_up_to_date(monkeypatch):
    monkeypatch.chdir(ROOT)
    assert coverage.page() == coverage.PAGE.read_text(), "run `dtr coverage`"


def test_what_no_rule_makes_has_a_price_too(monkeypatch):
    monkeypatch.chdir(ROOT)
    said = coverage.elsewhere(targets("paper"), Path("config/experiments/robotwin.tsv"))
    # 24 GPU-hours, and 51,848 of 30,000 steps with 61 % of the FLOPs
    assert "2 trainings, about 49 GPU-hours" in said and "400 episodes, guessed at 60 s each: about 7 GPU-hours" in said


def test_coverage_says_run_only_of_what_is_cached():
    of = targets("embedded")
    assert coverage.here(of, "table1", set()) == "planned: 14 of 14 rows, none of them run"
    rows = {path for arm in of.running("table1") for path in coverage.behind(of, "table1", arm.row)}
    assert coverage.here(of, "table1", rows) == "planned: 14 of 14 rows, 14 of them run"
    assert coverage.here(of, "table1", rows | {"results/embedded/table1.csv"}) == "run: 14 of 14 rows"
    assert coverage.here(of, "table9", rows) == coverage.cost(of, "table9") == "not planned"
