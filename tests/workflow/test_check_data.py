"""Fetched demonstrations are looked at before anything is trained or scored on them; those that are made here are not."""

from pathlib import Path

import pytest
import yaml
from world import FAKE_STAGES, ROOT, World

from dtr.workflow import cached
from dtr.workflow.estimate import Estimator
from dtr.workflow.targets import Targets

MADE = "embedded_object: {episodes: 1, noise: 0.1, seed: 3000, checks: 0}"
FETCHED = "embedded_object: {hub: {id: a/b, revision: null, files: [meta/*]}}"
RECOVERED = "artifacts/smoke/openvla_oft/none/four.recover/seed0/recovered.safetensors"
SCORE = "artifacts/smoke/openvla_oft/scores/four/gateprobe.json"
CHECKED = "artifacts/smoke/checked/embedded_object.json"


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return World.copy(tmp_path_factory.mktemp("world")).fake_stages(tmp_path_factory.mktemp("programs"))


def test_training_and_scoring_wait_for_it_and_stop_where_it_fails(world):
    plain = world.plan("--", RECOVERED, SCORE)
    assert plain == {"demonstrate": 3, "checkpoint": 1, "plan": 1, "recover": 1, "score": 1}
    world.edit("config/smoke.yaml", MADE, FETCHED)
    wanted = plain | {"demonstrate": 2, "fetch_demonstrations": 1, "check_data": 1}
    assert world.plan("--", RECOVERED, SCORE) == wanted
    program = Path(world.programs[0])
    refusing = FAKE_STAGES.replace("verb=$1", '[ "$1" = check-data ] && echo "FAIL  orientation" && exit 2\nverb=$1', 1)
    (program / "dtr").write_text(refusing)
    assert "FAIL  orientation" in world.snakemake("--", RECOVERED, SCORE, check=False)
    assert not any((world.folder / path).exists() for path in (RECOVERED, SCORE, CHECKED))
    world.fake_stages(program)
    world.snakemake("--", RECOVERED, SCORE)
    command = (world.folder / CHECKED).read_text()
    assert command.startswith("check-data --data artifacts/smoke/demos/embedded_object --image-size 32 --pictures work/smoke/pictures")
    assert f"--suites embedded_spatial embedded_object --out {CHECKED}" in command
    assert world.plan("--", RECOVERED, SCORE) == {}


def test_only_what_is_fetched_is_looked_at_and_that_is_cached_and_estimated():
    of = {
        scale: Targets(yaml.safe_load((ROOT / f"config/{scale}.yaml").read_text()), str(ROOT)) for scale in ("smoke", "embedded", "paper")
    }
    for scale in ("smoke", "embedded"):
        assert [of[scale].checked(data) for data in of[scale].config["data"]] == [[]] * len(of[scale].config["data"])
        assert "checked" not in cached.collect(of[scale]).items
    assert of["paper"].checked("four") == ["artifacts/paper/checked/libero.json"]
    assert "artifacts/paper/checked/libero.json" in cached.collect(of["paper"]).used["table1"]
    job = Estimator(of["paper"], fresh=True).job("artifacts/paper/checked/libero.json")
    assert (job.stage, job.gpus) == ("check_data", 0) and job.basis.startswith("guess")
