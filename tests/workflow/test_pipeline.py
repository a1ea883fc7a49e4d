"""The whole pipeline with its real stages, at the smoke scale, in a fresh checkout: one cell alone, then everything, then nothing."""

import csv
import json
from collections import Counter

import pytest
from world import World

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]
CELL = "results/smoke/cells/table1/openvla_oft.half.language.spatial.json"
TABLE = "results/table1.csv"
PLAN = "artifacts/smoke/openvla_oft/language-gateprobe-2/plan.json"


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return World.copy(tmp_path_factory.mktemp("world"))


def test_one_cell_is_made_alone(world):
    world.snakemake("--", CELL)
    cell = json.loads((world.folder / CELL).read_text())
    assert cell["episodes"] == 2 and 0 <= cell["value"] <= 1 and cell["interval"]["low"] <= cell["value"] <= cell["interval"]["high"]
    assert {part["role"] for part in cell["ancestry"]} == {"episodes", "baseline"}
    assert not (world.folder / TABLE).exists()


def test_the_rest_is_made_and_then_there_is_nothing_to_do(world):
    plan = world.plan("--", TABLE, PLAN)
    assert plan == {
        "score": 1,
        "plan": 6,
        "cost": 7,
        "recover": 5,
        "rollout": 12,
        "cost_cell": 14,
        "success_cell": 20,
        "table": 1,
        "show": 1,
    }
    world.snakemake("--", TABLE, PLAN)
    with open(world.folder / TABLE, newline="") as file:
        lines = list(csv.DictReader(file))
    assert lines[0]["row"] == "openvla_oft.baseline"
    assert Counter((line["model"], line["status"]) for line in lines) == {("OpenVLA-OFT", "run"): 7, ("pi0.5", "not run"): 7}
    assert {line["scale"] for line in lines} == {"smoke"}
    assert "openvla_oft" in world.run("dtr", "table", "--show", TABLE)
    assert world.plan("--", TABLE, PLAN) == {}


def test_snakemake_s_own_report_has_the_pictures_and_their_captions(world):
    figure = "results/smoke/figures/costs.png"
    world.snakemake("--", figure)
    world.snakemake("--report", "report.html", "--", figure)
    assert "bounds what dropping it can save" in (world.folder / "report.html").read_text()


def test_a_finished_policy_says_what_it_came_from(world):
    from dtr.policies.file import read_header

    folder = world.folder / "artifacts/smoke/openvla_oft/language-half"
    header = read_header(folder / "four.recover/seed0/recovered.safetensors")
    assert header["plan"]["digest"] == json.loads((folder / "plan.json").read_text())["digest"]
    assert header["plan"]["cut"] == "language-half" and header["provenance"]["recipe"]["steps"] == 4
