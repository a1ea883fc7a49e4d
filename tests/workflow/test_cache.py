"""After `git clone` and `dvc pull`, Snakemake plans only what is missing, whatever the files' times. DVC, git and Snakemake are real."""

import os
import random
import shutil

import pytest
from world import ROOT, World, git

from dtr import cli
from dtr.provenance import read_json
from dtr.workflow import dvcfile, store
from dtr.workflow.adoption import CACHED_S

pytestmark = pytest.mark.slow
TABLE, SCORE = "results/table1.csv", "artifacts/smoke/openvla_oft/scores/four/gateprobe.json"
EVALUATION = {"rollout": 14, "success_cell": 21, "table": 1, "show": 1}
REPORT = (*(f"results/table{k}.csv" for k in (1, 2, 5, 7)), "results/report.html", "results/verdicts.csv")
EMPTY = "vars:\n- {scale: smoke}\nstages: {}\n"


@pytest.fixture(scope="module")
def origin(tmp_path_factory):
    """A world with everything made, put into its store and committed."""
    world = World.copy(tmp_path_factory.mktemp("origin")).fake_stages(tmp_path_factory.mktemp("programs"))
    (world.folder / "dvc.lock").unlink(missing_ok=True)
    (world.folder / "dvc.yaml").write_text(EMPTY)
    assert "up to date" in world.run("dtr", "store", "push", check=False)  # nothing is made yet
    world.snakemake("--", *REPORT, SCORE)
    said = world.run("dtr", "store", "push")
    assert "commit store/, dvc.yaml, dvc.lock and docs/coverage.md" in said
    git(world.folder, "init", "--quiet")
    git(world.folder, "add", "--all")
    git(world.folder, "commit", "--quiet", "--message", "world")
    return world


def cloned(origin, folder):
    """A shallow clone: nothing may rest on history."""
    git(folder, "clone", "--quiet", "--depth", "1", origin.folder.as_uri(), "clone")
    world = World(folder / "clone", origin.programs[:1])
    assert not (world.folder / "artifacts").exists() and (world.folder / ".git/shallow").exists()
    return world


@pytest.fixture(scope="module")
def pulled(origin, tmp_path_factory):
    """A clone that has pulled everything; nobody changes it."""
    world = cloned(origin, tmp_path_factory.mktemp("pulled"))
    world.run("dvc", "pull")
    return world


@pytest.fixture
def clone(pulled, tmp_path):
    """The same to be changed."""
    return World(shutil.copytree(pulled.folder, tmp_path / "clone", symlinks=True), pulled.programs[:1])


def shuffle_times(world, seed):
    dice = random.Random(seed)
    for path in [*(world.folder / "artifacts").rglob("*"), *(world.folder / "results").rglob("*")]:
        seconds = dice.choice([CACHED_S, 1, 4_000_000_000, dice.randrange(2_000_000_000)])
        os.utime(path, (seconds, seconds))


def test_a_pull_brings_everything_and_plans_nothing_whatever_the_times(clone):
    shuffle_times(clone, 0)
    assert clone.plan("--", *REPORT, SCORE) == {}


def test_after_a_pull_an_edit_reruns_exactly_what_depends_on_it(clone):
    shuffle_times(clone, 1)
    clone.edit("config/smoke.yaml", "settle_steps: 2", "settle_steps: 3")
    assert clone.plan("--", TABLE) == EVALUATION
    clone.edit("config/smoke.yaml", "settle_steps: 3", "settle_steps: 2")
    clone.edit("config/smoke.yaml", "ema: 0.5", "ema: 0.75")
    assert clone.plan("--", TABLE) == {"recover": 7, **EVALUATION}
    clone.edit("config/smoke.yaml", "ema: 0.75", "ema: 0.5")
    clone.edit("src/dtr/stages.py", '"rollout": Stage(1', '"rollout": Stage(2')
    assert clone.plan("--", TABLE) == EVALUATION
    clone.edit("src/dtr/stages.py", '"rollout": Stage(2', '"rollout": Stage(1')
    clone.edit("envs/lock.txt", "\nmujoco==", "\nmujoco==9")
    assert clone.plan("--", TABLE) == {
        "demonstrate": 3,
        "checkpoint": 1,
        "score": 1,
        "plan": 7,
        "cost": 7,
        "cost_cell": 14,
        "recover": 7,
        **EVALUATION,
    }
    clone.edit("envs/lock.txt", "\nmujoco==9", "\nmujoco==")
    clone.edit("envs/lock.txt", "\nruff==", "\nruff==9")
    assert clone.plan("--", TABLE) == {}


def test_after_a_pull_a_new_row_is_all_that_runs(clone):
    """Every input of a rule is cached: what is not (pictures, dropped policies) would be made, and all that reads it made again."""
    sheet = clone.folder / "config/experiments/table1.tsv"
    half = next(line for line in sheet.read_text().splitlines() if line.startswith("openvla_oft.half.language"))
    sheet.write_text(
        sheet.read_text() + half.replace("half.language", "keep.language").replace("language-half", "language-keep-0_2") + "\n"
    )
    row = {"plan": 1, "cost": 1, "cost_cell": 2, "recover": 1, "rollout": 2, "success_cell": 3, "table": 1, "show": 1}
    assert clone.plan("--", TABLE) == row
    assert clone.plan("--", SCORE.replace("gateprobe", "leave_one_out")) == {"score": 1}


def test_one_table_alone_is_pulled_and_plans_nothing(origin, tmp_path):
    clone = cloned(origin, tmp_path)
    clone.run("dtr", "store", "pull", "table1")
    assert clone.plan("--", TABLE) == {}
    assert not (clone.folder / "results/table5.csv").exists() and not [*(clone.folder / "artifacts").rglob("latency*.json")]
    clone.run("dvc", "pull", "--with-deps", "table5", "records")
    assert clone.plan("--", "results/table5.csv") == {}


def test_dvc_repro_does_what_snakemake_does(clone):
    clone.edit("config/smoke.yaml", "settle_steps: 2", "settle_steps: 3")
    clone.run("dvc", "repro", "table1")
    assert clone.plan("--", TABLE) == {}
    gone = "artifacts/smoke/openvla_oft/none/four.recover/seed0/rollouts/closed-n2/embedded_spatial.jsonl"
    before = (clone.folder / gone).read_bytes()
    (clone.folder / gone).unlink()
    clone.run("dvc", "repro", "--single-item", "rollouts@none-embedded_spatial")
    assert (clone.folder / gone).read_bytes() == before


def test_an_edit_before_the_pull_is_seen_too(origin, tmp_path):
    clone = cloned(origin, tmp_path)
    clone.edit("config/smoke.yaml", "settle_steps: 2", "settle_steps: 3")
    clone.run("dtr", "store", "pull")
    assert clone.plan("--", TABLE) == EVALUATION


def test_what_is_missing_is_made_or_pulled(clone):
    shuffle_times(clone, 2)
    gone = "artifacts/smoke/openvla_oft/none/four.recover/seed0/rollouts/closed-n2/embedded_spatial.jsonl"
    before = (clone.folder / gone).read_bytes()
    (clone.folder / gone).unlink()
    assert clone.plan("--", gone) == {"rollout": 1}
    clone.run("dtr", "store", "pull")
    assert (clone.folder / gone).read_bytes() == before
    assert clone.plan("--", TABLE) == {}


def test_what_was_made_or_edited_here_survives_a_pull(clone):
    made, edited = "artifacts/smoke/openvla_oft/none/cost.json", "artifacts/smoke/openvla_oft/language-half/plan.json"
    clone.edit("src/dtr/stages.py", '"cost": Stage(1', '"cost": Stage(2')
    clone.snakemake("--", made)
    (clone.folder / edited).write_text("mine")
    times = {name: (clone.folder / name).stat().st_mtime_ns for name in (made, edited)}
    clone.run("dtr", "store", "pull")
    assert {name: (clone.folder / name).stat().st_mtime_ns for name in times} == times
    assert (clone.folder / edited).read_text() == "mine"
    assert clone.plan("--", made) == {}


def test_a_newer_cache_replaces_the_older_one(origin, clone):
    assert clone.plan("--", TABLE) == {}
    origin.edit("config/smoke.yaml", "settle_steps: 2", "settle_steps: 4")
    origin.snakemake("--", *REPORT, SCORE)
    origin.run("dtr", "store", "push")
    git(origin.folder, "add", "--all")
    git(origin.folder, "commit", "--quiet", "--message", "newer")
    git(clone.folder, "pull", "--quiet")
    clone.run("dtr", "store", "pull")
    assert clone.plan("--", TABLE, SCORE) == {}


def test_make_table1_rolls_out_here_and_touches_nothing_cached(clone):
    make = ("make", "--assume-old=setup", "table1", "CONFIG=config/smoke.yaml")
    clone.run(*make, "TRIALS=1")
    records = [path for path in (clone.folder / "artifacts").rglob("*.jsonl") if "/rollouts/" in str(path)]
    times = {path: path.stat().st_mtime_ns for path in records}
    live = {path for path in times if "/closed-n1-live/" in str(path)}
    assert len(live) == 14
    assert {path for path, time in times.items() if time != CACHED_S * 10**9} == live
    assert sum("/closed-n2/" in str(path) for path in times) == 20
    assert "Nothing to be done" in clone.run(*make, "TRIALS=1")
    clone.run(*make, "FRESH=1")
    assert (clone.folder / "fresh" / TABLE).exists() and (
        clone.folder / "fresh/artifacts/smoke/openvla_oft/pretrained.safetensors"
    ).exists()
    assert "Nothing to be done" in clone.run(*make, "FRESH=1")  # so an interrupted one goes on
    assert {path: path.stat().st_mtime_ns for path in times} == times


def test_a_store_that_lacks_something_says_so(clone):
    shutil.rmtree(clone.folder / "store")
    assert "lacks" in clone.run("dtr", "store", "check", check=False)
    shutil.rmtree(clone.folder / "artifacts")
    shutil.rmtree(clone.folder / ".dvc/cache")
    said = clone.run("dtr", "store", "pull", check=False)
    assert said.count("error:") == 1 and "Traceback" not in said


def test_a_push_of_a_table_too_large_touches_nothing(clone, monkeypatch, capsys):
    monkeypatch.chdir(clone.folder)
    clone.snakemake("--", TABLE)
    before = snapshot(clone)
    monkeypatch.setattr(store, "late_files", lambda config, targets: [])
    monkeypatch.setattr(store, "LIMIT_MB", 1e-6)
    monkeypatch.setattr(store, "run_tool", lambda *words: pytest.fail(f"DVC was called: {words}"))
    assert cli.run(["store", "push", "--partial"]) == 2
    assert "than the 0 that a clone should carry of one table" in capsys.readouterr().err
    assert snapshot(clone) == before


def snapshot(world):
    """Every artifact's content and time, and what DVC was told."""
    files = [path for path in sorted((world.folder / "artifacts").rglob("*")) if path.is_file()]
    told = [(world.folder / name).read_bytes() for name in ("dvc.yaml", "dvc.lock")]
    return [(path, path.read_bytes(), path.stat().st_mtime_ns) for path in files], told


def test_a_table_half_made_can_be_cached(tmp_path, tmp_path_factory):
    world = World.copy(tmp_path).fake_stages(tmp_path_factory.mktemp("programs"))
    (world.folder / "dvc.lock").unlink(missing_ok=True)
    (world.folder / "dvc.yaml").write_text(EMPTY)
    demos = "artifacts/smoke/demos/embedded_pretrain"
    world.snakemake("--", demos)
    assert "error:" in world.run("dtr", "store", "push", check=False)
    assert "stages are not here" in world.run("dtr", "store", "push", "--partial")
    shutil.rmtree(world.folder / demos)
    shutil.rmtree(world.folder / ".snakemake")
    more = "artifacts/smoke/demos/embedded_spatial"
    world.snakemake("--", more)
    world.run("dtr", "store", "push", "--partial")  # here without the first ones, which stay cached
    assert set(read_json(world.folder / "artifacts/smoke/records.json")) == {demos, more}
    shutil.rmtree(world.folder / ".snakemake")
    shutil.rmtree(world.folder / "artifacts")
    world.run("dtr", "store", "pull")
    assert (world.folder / demos).is_dir() and world.plan("--", demos, more) == {}
    assert "demonstrate" in world.plan("--", TABLE)  # the suites that are not cached


@pytest.mark.parametrize(("fresh", "recomputes"), [("", False), ("0", False), ("1", True)])
def test_only_fresh_1_recomputes_everything(tmp_path, fresh, recomputes):
    shutil.copy2(ROOT / "Makefile", tmp_path)
    (tmp_path / "config").mkdir()
    (tmp_path / "config/embedded.yaml").touch()
    world = World(tmp_path).fake_stages(tmp_path)
    (tmp_path / "dtr").write_text("#!/bin/sh\n")
    said = world.run("make", "--assume-old=setup", "table1", f"FRESH={fresh}", "SNAKEMAKE=echo snakemake")
    assert ("--directory fresh" in said) == recomputes and ("results/live-n" in said) != recomputes


@pytest.mark.parametrize("action", ["pull", "push", "check"])
def test_outside_the_repository_is_one_sentence(tmp_path, monkeypatch, capsys, action):
    monkeypatch.chdir(tmp_path)
    assert cli.run(["store", action]) == 2
    said = capsys.readouterr()
    assert "change to the repository's own folder" in said.err and said.err.count("\n") == 1 and not said.out


def test_no_store_is_no_empty_store(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "dvc.yaml").touch()
    assert cli.run(["store", "check"]) == 2
    assert "git checkout -- store" in capsys.readouterr().err


@pytest.mark.skipif(not (ROOT / "dvc.lock").exists(), reason="nothing is cached yet")
def test_this_repository_s_own_cache_plans_nothing(tmp_path, monkeypatch):
    world = World.copy(tmp_path)
    shutil.copytree(ROOT / "store", tmp_path / "store")
    world.run("dtr", "store", "check")
    world.run("dtr", "store", "pull")
    shuffle_times(world, 3)
    monkeypatch.chdir(ROOT)
    targets = [target for stage in dvcfile.read_stages().values() for target in stage.targets]
    assert "Nothing to be done" in world.run("snakemake", "--dry-run", "--", *targets)
    for meta in world.folder.glob("artifacts/embedded/demos/*/meta.json"):
        counts = read_json(meta)["facts"]["expert"].values()
        solved, tried = (sum(count[name] for count in counts) for name in ("clean_successes", "clean_trials"))
        assert tried >= 40 and solved >= 0.95 * tried, f"the expert solves {solved} of {tried} in {meta.parent.name}"
