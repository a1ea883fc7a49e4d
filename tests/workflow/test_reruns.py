"""What an edit reruns, exactly: a job too many costs hours at full size, a job too few is a wrong number.

The stages are stand-ins that only write files (world.py); Snakemake, the rules, the configuration and the versions are the real ones.
The tests share one world in which everything has been made.
"""

import os
import re
import resource

import pytest
import yaml
from world import World

pytestmark = pytest.mark.slow
TABLE = "results/table1.csv"
PLAN = "artifacts/smoke/openvla_oft/language-gateprobe-2/plan.json"
CELL = "results/smoke/cells/table1/openvla_oft.half.language.spatial.json"
EVALUATION = {"rollout": 14, "success_cell": 21, "table": 1, "show": 1}
RECOVERY = {"recover": 7, **EVALUATION}
COSTS = {"cost": 7, "cost_cell": 14}
SHOWN = {"table": 1, "show": 1}
ROW = {"cost_cell": 2, "success_cell": 3, **SHOWN}
SCORING = {"score": 1, "plan": 1}
POLICY = {"checkpoint": 1, "score": 1, "plan": 8, **COSTS, **RECOVERY}
EPISODES = "embedded_spatial: {episodes: "
REPORTED = "Drop Half,language,spatial,"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    world = World.copy(tmp_path_factory.mktemp("world")).fake_stages(tmp_path_factory.mktemp("programs"))
    expected = {"demonstrate": 3, "checkpoint": 1, "plan": 2, "recover": 2, "rollout": 2, "success_cell": 1}
    assert world.plan("--", CELL) == expected  # one cell alone
    world.snakemake("--", TABLE, PLAN)
    return world


@pytest.fixture
def world(made):
    """The world as it was made; what a test edits is put back."""
    names = ("config/smoke.yaml", "config/experiments/table1.tsv", "src/dtr/stages.py", "envs/lock.txt", "results/reported/table1.csv")
    kept = {name: (made.folder / name).read_bytes() for name in names}
    yield made
    for name, data in kept.items():
        made.put(name, data)


def test_nothing_changed_means_nothing_to_do(world):
    assert world.plan("--", TABLE, PLAN) == {}
    for path in [*(world.folder / "src").rglob("*.py"), *world.folder.glob("config/*"), *world.folder.glob("results/reported/*")]:
        path.touch()
    world.edit("rules/rollout.smk", "# Finished episodes", "# Episodes that are finished")
    world.edit("src/dtr/stages.py", '"""What a stage', '"""Again: what a stage')
    assert world.plan("--", TABLE, PLAN) == {}


def test_containers_and_a_cluster_rerun_nothing(world, tmp_path):
    (tmp_path / "apptainer").write_text("#!/bin/sh\necho apptainer version 1.4.5\n")
    (tmp_path / "apptainer").chmod(0o755)
    contained = World(world.folder, [tmp_path, *world.programs[:1]])
    assert contained.plan("--software-deployment-method", "apptainer", "--", TABLE, PLAN) == {}
    assert world.plan("--workflow-profile", "profiles/slurm", "--set-resources", "recover:mem_mb=9999", "--", TABLE, PLAN) == {}


@pytest.mark.parametrize(
    ("name", "old", "new", "expected"),
    [
        ("config/smoke.yaml", "settle_steps: 2", "settle_steps: 3", EVALUATION),
        ("config/smoke.yaml", "ema: 0.5", "ema: 0.75", RECOVERY),
        ("config/smoke.yaml", "samples: 4", "samples: 5", {**SCORING, **SHOWN}),
        ("config/smoke.yaml", f"{EPISODES}1", f"{EPISODES}2", {"demonstrate": 1, **SCORING, **RECOVERY}),
        ("config/smoke.yaml", "registers: 4", "registers: 2", POLICY),
        (
            "config/experiments/table1.tsv",
            "openvla_oft\tvision-ends",
            "openvla_oft\tvision-keep-0_1",
            {"plan": 1, "cost": 1, "recover": 1, "rollout": 2, **ROW},
        ),
        ("config/experiments/table1.tsv", "OpenVLA-OFT\tKeep 2\tvision", "OpenVLA-OFT\tKeep two\tvision", ROW),
        ("src/dtr/stages.py", '"rollout": Stage(1', '"rollout": Stage(2', EVALUATION),
        ("src/dtr/stages.py", '"table": Stage(', '"table": Stage(1', SHOWN),
        ("src/dtr/stages.py", '"cost": Stage(1', '"cost": Stage(2', {**COSTS, **SHOWN}),
        ("envs/lock.txt", "\nruff==", "\nruff==9", {}),
        ("envs/lock.txt", "\npillow==", "\npillow==9", POLICY),
        ("envs/lock.txt", "\ntorch==", "\ntorch==9", POLICY),
        ("results/reported/table1.csv", f"{REPORTED}99.0", f"{REPORTED}98.0", {"success_cell": 1, **SHOWN}),
    ],
)
def test_an_edit_reruns_exactly_what_depends_on_it(world, name, old, new, expected):
    world.edit(name, old, new)
    assert world.plan("--", TABLE, PLAN) == expected


def test_another_input_reruns_what_reads_it(world):
    policy = world.folder / "artifacts/smoke/openvla_oft/language-half/four.recover/seed0/recovered.safetensors"
    was, text = policy.stat(), policy.read_text()
    policy.write_text("other weights")
    assert world.plan("--", TABLE) == {"rollout": 2, "success_cell": 3, "table": 1, "show": 1}
    policy.write_text(text)
    os.utime(policy, ns=(was.st_atime_ns, was.st_mtime_ns))


def test_an_edited_suite_plays_its_canary_again(tmp_path_factory):
    world = World.copy(tmp_path_factory.mktemp("world")).fake_stages(tmp_path_factory.mktemp("programs"))
    arm = "artifacts/smoke/openvla_oft/none/four.recover/seed0"
    (world.folder / arm).mkdir(parents=True)
    (world.folder / arm / "recovered.safetensors").write_text("weights")
    alone = ("--allowed-rules", "canary", "--", f"{arm}/canary/closed-n2.json")
    world.snakemake(*alone)
    assert world.plan(*alone) == {}
    file = sorted((world.folder / "src/dtr/sim/embedded/bddl/embedded_object").glob("*.bddl"))[0]
    file.write_text(f"{file.read_text()}\n")
    assert world.plan(*alone) == {"canary": 1}


def test_a_typo_is_one_sentence(world):
    world.edit("config/smoke.yaml", "recipes:", "recipies:")
    said = world.snakemake("--dry-run", "--", TABLE, check=False)
    assert "did you mean 'recipes'" in said and "Traceback" not in said


def test_unknown_names_are_refused(world):
    said = world.snakemake("--dry-run", "--", "artifacts/smoke/openvla_oft/language-hlaf/plan.json", check=False)
    assert "did you mean" in said and "language-half" in said
    assert "MissingRule" in world.snakemake("--dry-run", "--", CELL.replace("spatial", "spacial"), check=False)


def test_the_paper_s_scale_plans(world):
    text = world.run("snakemake", "--configfile", "config/paper.yaml", "--dry-run", "--", TABLE)
    assert "fetch_policy" in text and re.search(r"^rollout +56$", text, re.MULTILINE)
    assert re.search(r"^check_data +1$", text, re.MULTILINE)


def test_a_dry_run_of_the_whole_paper_is_quick(tmp_path):
    """Every table, all suites, three seeds an arm: 7 s of a processor here, more beside the other worker's tests. A look costs nothing."""
    world = World.copy(tmp_path)
    for sheet in (tmp_path / "config/experiments").glob("table*.tsv"):
        sheet.write_text(re.sub(r"\t0\t(closed|plus)", r"\t0,1,2\t\1", sheet.read_text()))
    tables = yaml.safe_load((tmp_path / "config/paper.yaml").read_text())["tables"]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    asked = [f"results/{table}.csv" for table in tables]
    said = world.run("snakemake", "--configfile", "config/paper.yaml", "--dry-run", "--quiet", "rules", "--", *asked, "results/report.html")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert int(re.search(r"^total +(\d+)", said, re.MULTILINE).group(1)) > 1900
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 20


def test_an_estimate_of_what_nothing_makes_is_one_sentence(world):
    said = world.run("python", "-m", "dtr.cli", "estimate", "results/tabel1.csv", "--config", "config/smoke.yaml", check=False)
    assert "No rule to produce results/tabel1.csv" in said and "correct the target" in said and said.count("\n") == 1
    assert "nothing that takes longer" in world.run("python", "-m", "dtr.cli", "estimate", TABLE, "--config", "config/smoke.yaml")


def test_a_live_sample_is_apart_from_the_full_table(world):
    live = {"rollout": 14, "cost_cell": 14, "success_cell": 21, "table": 1, "show": 1}
    assert world.plan("--", "results/live-n1/table1.csv") == live
    assert world.plan("--", "results/live-n2/table1.csv") == live  # as many as the full table: still rolled out anew
    said = world.run("make", "--dry-run", "table1", "CONFIG=config/smoke.yaml", "TRIALS=1")
    assert "results/live-n1/table1.csv" in said and "dtr store pull" in said and "--compare" in said


def test_the_report_needs_what_it_shows_and_shares_what_is_there(made):
    """Tables 2, 5 and 7 take Table 1's policies and episodes; an arm that does not run is no job. The control of language brings 4 arms,
    and 5 that play under 3 instructions; 3 figures are the paper's own; a contact sheet is of cuts."""
    plan = made.plan("--", "results/report.html")
    assert (plan["recover"], plan["compress"], plan["latency"], plan["figure"], plan["failures"]) == (2 + 4, 2, 5, 5 + 3, 1)
    assert plan["failures_cut"] == 1
    assert plan["page"] == plan["show_page"] == plan["verdict"] == 1 and plan["table"] == 3
    assert "checkpoint" not in plan and plan["rollout"] == 6 + 5 * 3
