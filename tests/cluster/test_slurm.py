"""The same targets on a real Slurm cluster of one node, which the tests bring up and take down. Root and Debian's packages only.

One run has its real stages; where something breaks, stand-ins that only write files (world.py) make the same graph in seconds.
"""

import csv
import re
import signal
from collections import Counter

import pytest
from slurm import cluster
from toy import REAL, Toy, arm, saved_step

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]
TABLE, PLAN = "results/table1.csv", "artifacts/smoke/openvla_oft/{cut}/plan.json"
ONCE = '[ -e "$seen/{name}" ] || { touch "$seen/{name}"; {what}; }'


@pytest.fixture(scope="module")
def slurm():
    with cluster() as running:
        yield running


@pytest.fixture(scope="module")
def prepared(slurm, tmp_path_factory):
    """A checkout in which stand-ins have made everything up to the plans, here and not on the cluster."""
    toy = Toy.copy(tmp_path_factory.mktemp("checkout")).clone(tmp_path_factory.mktemp("prepared"))
    demos = (f"artifacts/smoke/demos/embedded_{name}" for name in ("spatial", "object"))
    toy.snakemake("--", *demos, *(PLAN.format(cut=cut) for cut in ("none", "language-half", "vision-half")))
    return toy


@pytest.fixture(scope="module")
def made(slurm, tmp_path_factory):
    """Table 1 at the smoke scale, one episode a suite, made on the cluster by the real stages; `jobs`: those that it took."""
    toy = Toy.copy(tmp_path_factory.mktemp("made"))
    toy.edit("config/smoke.yaml", "trials: 2", "trials: 1")
    before = len(slurm.jobs())
    toy.slurm("--set-threads", "rollout=2", "demonstrate=2", "--", TABLE)
    toy.jobs = slurm.jobs()[before:]
    return toy


def memory_mb(job):
    return int(job["MinMemoryNode"].removesuffix("M"))


def ran_s(job):
    hours, minutes, seconds = map(int, job["RunTime"].split(":"))
    return 3600 * hours + 60 * minutes + seconds


def states(jobs):
    return [job["JobState"] for job in jobs]


def test_a_failure_and_a_time_limit_are_tried_again_with_more(slurm, prepared, tmp_path):
    fails = ONCE.replace("{name}", "failed").replace("{what}", "echo out of memory; exit 1")
    hangs = '[ "$(squeue --noheader --jobs="$SLURM_JOB_ID" --format=%l)" != 1:00 ] || sleep 1000'
    toy = prepared.clone(tmp_path, f'case "$*" in *language-half/plan*) {fails} ;; *vision-half/plan*) {hangs} ;; esac')
    before = len(slurm.jobs())
    runtime = "recover:runtime=30 * attempt if wildcards.cut == 'language-half' else 1 if attempt == 1 else 40"  # minutes
    toy.slurm("--set-resources", runtime, "--", arm("language-half"), arm("vision-half"))
    failed, hung = ([job for job in slurm.jobs()[before:] if cut in job["Comment"]] for cut in ("language-half", "vision-half"))
    assert states(failed) == ["FAILED", "COMPLETED"] and memory_mb(failed[1]) > memory_mb(failed[0])
    assert [job["TimeLimit"] for job in failed] == ["00:30:00", "01:00:00"]
    assert states(hung) == ["TIMEOUT", "COMPLETED"] and [job["TimeLimit"] for job in hung] == ["00:01:00", "00:40:00"]


def test_more_gpus_than_there_are_is_said(prepared, tmp_path):
    toy = prepared.clone(tmp_path)
    asked = ("--resources", "gpu=9", "--set-resources", "recover:gpu=9", "--restart-times", "0", "--", arm("none"))
    said = toy.slurm(*asked, check=False)
    assert "Requested node configuration is not available" in said and "--gpus=9" in said
    assert not (toy.folder / arm("none")).exists()


def test_a_node_whose_gpu_does_not_work_fails_its_job_at_once(slurm, prepared, tmp_path):
    toy = prepared.clone(tmp_path, f"case $1 in recover) {REAL} ;; esac")
    toy.edit("config/smoke.yaml", "image_size: 32\n\nsuites", "image_size: 32\ndevice: cuda\n\nsuites")
    said = toy.slurm("--rerun-triggers", "mtime", "--restart-times", "0", "--", arm("none"), check=False)
    job = slurm.jobs()[-1]
    assert job["TresPerJob"] == "gres:gpu:1" and job["JobState"] == "FAILED"
    assert ran_s(job) < 120, "it said so after more than Snakemake's start and imports take, on a busy machine too"
    assert "does not work on" in said and "CUDA_VISIBLE_DEVICES=" in said and "Traceback" not in said


def test_after_kill_9_the_same_command_ends_the_orphans_and_goes_on(slurm, prepared, tmp_path):
    toy = prepared.clone(tmp_path, ONCE.replace("{name}", "waited").replace("{what}", "sleep 1000"))
    before = len(slurm.jobs())
    first = toy.start("--", arm("none"))
    slurm.wait(lambda: [job for job in slurm.jobs()[before:] if job["JobState"] == "RUNNING"] and (tmp_path / "waited").exists(), "job")
    first.send_signal(signal.SIGKILL)
    first.wait()
    assert states(slurm.jobs()[before:]) == ["RUNNING"]
    said = toy.slurm("--", arm("none"))
    orphan, second = slurm.jobs()[before:]
    assert f"ending 1 Slurm jobs that a killed run left: {orphan['JobId']}" in said
    assert orphan["JobState"] == "CANCELLED" and second["JobState"] == "COMPLETED"
    assert orphan["EndTime"] <= second["StartTime"]
    assert toy.plan("--", arm("none")) == {}


def test_table_1_end_to_end(made):
    with open(made.folder / TABLE, newline="") as file:
        lines = list(csv.DictReader(file))
    assert lines[0]["row"] == "openvla_oft.baseline" and Counter(line["model"] for line in lines) == {"OpenVLA-OFT": 7, "pi0.5": 7}
    assert made.plan("--", TABLE) == {}  # and nothing is left to do here either
    assert set(states(made.jobs)) == {"COMPLETED"}
    counts = Counter(re.match("rule_[a-z]+", job["Comment"])[0] for job in made.jobs)  # cells and tables: where Snakemake runs
    assert counts == {f"rule_{rule}": n for rule, n in {"demonstrate": 3, "checkpoint": 1, "plan": 7, "recover": 7}.items()} | {
        "rule_score": 1,  # the table says which dropped blocks were dead
        "rule_costs": 1,  # all in one job
        "rule_rollouts": 7,  # both suites of a policy in one job
    }
    asked = {job["Comment"][:8]: memory_mb(job) for job in made.jobs}
    assert asked["rule_rec"] > asked["rule_pla"]
    assert not any("gpu" in job["TRES"] for job in made.jobs)


def test_a_cancelled_recovery_goes_on_and_ends_in_the_same_bytes(slurm, made, tmp_path_factory):
    target = arm("language-half")
    slow = [f'case $1 in recover) cp -r work "$seen/$SLURM_JOB_ID"; {REAL} --save-every 0.2 ;; *) {REAL} ;; esac']
    alone, interrupted = (made.clone(tmp_path_factory.mktemp(name), *slow) for name in ("alone", "interrupted"))
    for toy in (alone, interrupted):
        toy.edit("config/smoke.yaml", "recover: {steps: 4", "recover: {steps: 300")
    before = len(slurm.jobs())
    running = interrupted.start("--", target)
    step = slurm.wait(lambda: saved_step(interrupted.folder / "work"), "saved state")
    first = slurm.of("recover", "language-half")[-1]["JobId"]
    assert 0 < step < 300
    slurm.cancel(first)
    assert running.wait(1200) == 0, interrupted.background()
    jobs = slurm.jobs()[before:]
    assert states(jobs) == ["CANCELLED", "COMPLETED"]
    assert step <= saved_step(interrupted.folder.parent / jobs[1]["JobId"]) < 300  # what the second job found
    alone.snakemake("--", target)
    assert (interrupted.folder / target).read_bytes() == (alone.folder / target).read_bytes()
    assert (interrupted.folder / target).read_bytes() != (made.folder / target).read_bytes()
