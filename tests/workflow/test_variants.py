"""Columns of variants in the graph: one job an arm and column, one file a suite and variant, each a target of its own."""

import pytest
from world import World

TABLE = "results/smoke/table7.csv"
ARM = "artifacts/smoke/openvla_oft/none/four.recover/seed0/rollouts/closed-n2"
LINE = "  table7: config/experiments/table7.tsv\n"
SHOWN = "  table7: {sheet: config/experiments/table7.tsv, columns: [size, camera, noise, average]}\n"
VARIANTS = "\nvariants:\n  camera: [camera-1, camera-5]\n  noise: [noise-2]\n"
JOBS = {"rollout_camera": 2, "rollout_noise": 2}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Table 7 with two columns of variants, made by stages that only write files."""
    world = World.copy(tmp_path_factory.mktemp("made")).fake_stages(tmp_path_factory.mktemp("programs"))
    world.edit("config/smoke.yaml", LINE, SHOWN + VARIANTS)
    plan = world.plan("--", TABLE)
    assert {rule: n for rule, n in plan.items() if rule.startswith("rollout")} == JOBS
    world.snakemake("--", TABLE)
    return world


def test_one_job_makes_the_files_of_a_column_and_nothing_runs_twice(made):
    labels = [f"{suite}+{variant}" for variant in ("camera-1", "camera-5") for suite in ("embedded_spatial", "embedded_object")]
    commands = {(made.folder / ARM / f"{label}.jsonl").read_text() for label in labels}
    assert len(commands) == 1
    (command,) = commands
    assert f"--suite {' '.join(labels)} --protocol" in command
    assert f"--out {' '.join(f'{ARM}/{label}.jsonl' for label in labels)}" in command
    assert made.plan("--", TABLE) == {}


def test_one_file_is_a_target_and_what_no_column_shows_is_a_job_of_its_own(made):
    assert made.plan("--", f"{ARM}/embedded_object+camera-1.jsonl") == {}
    assert made.plan("--", f"{ARM.replace('-n2', '-n1-live')}/embedded_object+camera-1.jsonl") == {"rollout_camera": 1}
    assert made.plan("--", f"{ARM}/embedded_object+light-2.jsonl", f"{ARM}/embedded_spatial.jsonl") == {"rollout": 2}


def test_another_variant_of_a_column_plays_that_column_again(made):
    made.edit("config/smoke.yaml", "[noise-2]", "[noise-2, noise-4]")
    plan = made.plan("--", TABLE)
    made.edit("config/smoke.yaml", "[noise-2, noise-4]", "[noise-2]")
    assert plan == {"rollout_noise": 2, "success_cell": 4, "table": 1}
