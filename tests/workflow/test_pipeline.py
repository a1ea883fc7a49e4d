"""The whole pipeline at the smoke scale in a fresh checkout: one cell alone, then everything, then what an edit reruns, then the cache.

The tests share one world and run in order; what they plan is compared exactly, because a job too many costs hours at full size.
"""

import csv
import json
import os
import random
import shutil
from pathlib import Path

import pytest
from world import ROOT, World, git

from dtr.workflow.adoption import CACHED_S

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]
CELL = "results/smoke/cells/table1/openvla_oft.half.language.spatial.json"
TABLE = "results/table1.csv"
SCORE = "artifacts/smoke/openvla_oft/language-gateprobe-2/plan.json"
EVALUATION = {"rollout": 14, "success_cell": 21, "table": 1, "show": 1}
RECOVERY = {"recover": 7, **EVALUATION}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return World.copy(tmp_path_factory.mktemp("world"))


@pytest.fixture
def edited(world):
    """Files that a test edits, put back afterwards."""
    kept = {
        name: (world.folder / name).read_bytes()
        for name in ("config/smoke.yaml", "src/dtr/stages.py", "envs/lock.txt", "results/reported/table1.csv")
    }
    yield world
    for name, data in kept.items():
        (world.folder / name).write_bytes(data)


def test_one_cell_is_made_alone(world):
    expected = {"demonstrate": 3, "render": 3, "checkpoint": 1, "drop": 2, "recover": 2, "rollout": 2, "success_cell": 1}
    assert world.plan("--", CELL) == expected
    world.snakemake("--", CELL)
    cell = json.loads((world.folder / CELL).read_text())
    assert cell["episodes"] == 2 and 0 <= cell["value"] <= 1
    assert world.plan("--", CELL) == {}


def test_the_rest_is_made_without_doing_anything_twice(world):
    plan = world.plan("--", TABLE, SCORE)
    assert plan == {
        "score": 1,
        "drop": 6,
        "cost": 7,
        "recover": 5,
        "rollout": 12,
        "cost_cell": 14,
        "success_cell": 20,
        "table": 1,
        "show": 1,
    }
    world.snakemake("--", TABLE, SCORE)
    with open(world.folder / TABLE, newline="") as file:
        lines = list(csv.DictReader(file))
    assert lines[0]["row"] == "openvla_oft.baseline" and len(lines) == 7
    assert {line["scale"] for line in lines} == {"smoke"}


def test_nothing_changed_means_nothing_to_do(world):
    assert world.plan("--", TABLE, SCORE) == {}
    for path in (world.folder / "src").rglob("*.py"):
        path.touch()
    world.edit("rules/rollout.smk", "# Finished episodes", "# Episodes that are finished")
    assert world.plan("--", TABLE, SCORE) == {}


@pytest.mark.parametrize(
    ("name", "old", "new", "expected"),
    [
        ("config/smoke.yaml", "settle_steps: 2", "settle_steps: 3", EVALUATION),
        ("config/smoke.yaml", "ema: 0.5", "ema: 0.75", RECOVERY),
        ("config/smoke.yaml", "samples: 4", "samples: 5", {"score": 1, "drop": 1}),
        ("config/smoke.yaml", "seed: 2000", "seed: 2001", {"demonstrate": 1, "render": 1, "score": 1, "drop": 1, **RECOVERY}),
        ("src/dtr/stages.py", '"rollout": Stage(1', '"rollout": Stage(2', EVALUATION),
        ("src/dtr/stages.py", '"table": Stage(1', '"table": Stage(2', {"table": 1, "show": 1}),
        ("src/dtr/stages.py", '"cost": Stage(1', '"cost": Stage(2', {"cost": 7, "cost_cell": 14, "table": 1, "show": 1}),
        ("envs/lock.txt", "\nruff==", "\nruff==9", {}),
        (
            "envs/lock.txt",
            "\npillow==",
            "\npillow==9",
            {"render": 3, "checkpoint": 1, "score": 1, "drop": 8, "cost": 7, "cost_cell": 14, **RECOVERY},
        ),
        (
            "results/reported/table1.csv",
            "Drop Half,language,spatial,99.0",
            "Drop Half,language,spatial,98.0",
            {"success_cell": 1, "table": 1, "show": 1},
        ),
    ],
)
def test_an_edit_reruns_exactly_what_depends_on_it(edited, name, old, new, expected):
    edited.edit(name, old, new)
    assert edited.plan("--", TABLE, SCORE) == expected


def test_another_input_reruns_what_reads_it(world):
    policy = world.folder / "artifacts/smoke/openvla_oft/language-half/four.recover/seed0/recovered.safetensors"
    was = policy.stat()
    world.run("touch", str(policy))
    # Snakemake compares contents of small files, so a touch alone is not a change of a policy that is small
    assert world.plan("--", TABLE) in ({}, {"rollout": 2, "success_cell": 3, "table": 1, "show": 1})
    os.utime(policy, ns=(was.st_atime_ns, was.st_mtime_ns))


def test_a_typo_is_one_sentence(edited):
    edited.edit("config/smoke.yaml", "recipes:", "recipies:")
    said = edited.snakemake("--dry-run", "--", TABLE, check=False)
    assert "did you mean 'recipes'" in said and "Traceback" not in said


def test_an_unknown_cut_or_cell_is_refused(world):
    said = world.snakemake("--dry-run", "--", "artifacts/smoke/openvla_oft/language-hlaf/plan.json", check=False)
    assert "did you mean" in said and "language-half" in said
    assert "MissingRule" in world.snakemake("--dry-run", "--", CELL.replace("spatial", "spacial"), check=False)


@pytest.fixture(scope="module")
def clone(world, tmp_path_factory):
    """The world's results, put into the store, committed, and cloned."""
    world.edit("dvc.yaml", "scale: embedded", "scale: smoke")
    world.edit("dvc.yaml", "trials: 50", "trials: 2")
    world.edit(
        "dvc.yaml",
        "suites: [embedded_spatial, embedded_object, embedded_goal, embedded_long]",
        "suites: [embedded_spatial, embedded_object]",
    )
    world.snakemake("--", "artifacts/smoke/openvla_oft/scores/four/gateprobe.json")
    world.run("dtr", "store", "push")
    git(world.folder, "init", "--quiet")
    git(world.folder, "add", "--all")
    git(world.folder, "commit", "--quiet", "--message", "world")
    folder = tmp_path_factory.mktemp("clone") / "clone"
    git(world.folder, "clone", "--quiet", str(world.folder), str(folder))
    return World(folder)


def test_a_pull_brings_everything_and_plans_nothing_whatever_the_times(clone):
    assert not (clone.folder / "artifacts").exists()
    clone.run("dvc", "pull")
    dice = random.Random(0)
    for path in [*(clone.folder / "artifacts").rglob("*"), *(clone.folder / "results").rglob("*")]:
        seconds = dice.choice([CACHED_S, 1, 4_000_000_000, dice.randrange(2_000_000_000)])
        os.utime(path, (seconds, seconds))
    assert clone.plan("--", TABLE, "artifacts/smoke/openvla_oft/scores/four/gateprobe.json") == {}
    assert not (clone.folder / "artifacts/smoke/rendered").exists()  # derived, not cached, not needed


def test_after_a_pull_an_edit_still_reruns_exactly_what_depends_on_it(clone):
    clone.edit("config/smoke.yaml", "settle_steps: 2", "settle_steps: 3")
    assert clone.plan("--", TABLE) == EVALUATION
    clone.edit("config/smoke.yaml", "settle_steps: 3", "settle_steps: 2")
    clone.edit("config/smoke.yaml", "ema: 0.5", "ema: 0.75")
    assert clone.plan("--", TABLE) == {"render": 2, "drop": 7, **RECOVERY}  # what recovery reads is made again, it was not cached
    clone.edit("config/smoke.yaml", "ema: 0.75", "ema: 0.5")
    assert clone.plan("--", TABLE) == {}


def test_only_what_is_missing_is_pulled_or_made(clone):
    gone = clone.folder / "artifacts/smoke/openvla_oft/none/four.recover/seed0/rollouts/closed-n2/embedded_spatial.jsonl"
    bytes_before = gone.read_bytes()
    gone.unlink()
    assert clone.plan("--", str(gone.relative_to(clone.folder))) == {"rollout": 1}
    clone.run("dtr", "store", "pull")
    assert gone.read_bytes() == bytes_before
    assert clone.plan("--", TABLE) == {}


def test_what_was_made_here_survives_a_pull(clone):
    plan = clone.folder / "artifacts/smoke/openvla_oft/none/cost.json"
    clone.edit("src/dtr/stages.py", '"cost": Stage(1', '"cost": Stage(2')
    clone.snakemake("--", "artifacts/smoke/openvla_oft/none/cost.json")
    made = plan.stat().st_mtime_ns
    clone.run("dtr", "store", "pull")
    assert plan.stat().st_mtime_ns == made
    assert clone.plan("--", "artifacts/smoke/openvla_oft/none/cost.json") == {}


def test_a_live_sample_touches_no_cached_record(clone):
    expected = {"rollout": 14, "cost_cell": 14, "success_cell": 21, "table": 1, "show": 1}
    live = "results/live-n1/table1.csv"
    planned = clone.plan("--", live)
    assert {rule: count for rule, count in planned.items() if rule in expected} == expected
    assert not {"recover", "checkpoint", "demonstrate"} & set(planned)
    said = clone.run("make", "--dry-run", "table1", "CONFIG=config/smoke.yaml", "TRIALS=1")
    assert "results/live-n1/table1.csv" in said and "dtr store pull" in said
    rollouts = list((clone.folder / "artifacts").rglob("closed-n2/*.jsonl"))
    before = {path: path.stat().st_mtime_ns for path in rollouts}
    clone.snakemake("--", "results/smoke/live-n1/cells/table1/openvla_oft.half.language.spatial.json")
    assert {path: path.stat().st_mtime_ns for path in rollouts} == before


@pytest.mark.skipif(not (ROOT / "dvc.lock").exists(), reason="nothing is cached yet")
def test_this_repository_s_own_cache_plans_nothing(tmp_path):
    clone = World.copy(tmp_path)
    shutil.copytree(ROOT / "store", tmp_path / "store")
    clone.run("dtr", "store", "check")
    clone.run("dvc", "pull")
    assert "Nothing to be done" in clone.run("snakemake", "--dry-run", "--", TABLE)
    assert Path(tmp_path / TABLE).exists()
