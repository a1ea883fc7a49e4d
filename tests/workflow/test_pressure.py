"""The control of language: which records it asks for, against whom every arm is held, and what is refused."""

import json
import os
import re
from pathlib import Path

import pytest
import yaml
from world import World

from dtr.errors import BadConfig, UnknownName
from dtr.workflow.pressure import Pressure
from dtr.workflow.targets import Targets

ROOT = Path(__file__).resolve().parents[2]
SETS = {
    "scene": {"suites": ["embedded_object"]},
    "instruction": {"suites": ["embedded_goal"]},
    "combinations": {"suites": ["embedded_compose"], "trials": 15},
    "held_out": {"suites": ["embedded_compose_held"]},
}
MORE = {
    "demos": {"embedded_compose": {"episodes": 30, "noise": 0.25, "seed": 0}},
    "data": {"five": ["embedded_spatial", "embedded_object", "embedded_goal", "embedded_long", "embedded_compose"]},
}
SHEET = "config/experiments/language_pressure.tsv"


def configured(sets=SETS, sheet=SHEET):
    """The embedded configuration as docs/language_pressure.md has it extended."""
    config = yaml.safe_load((ROOT / "config/embedded.yaml").read_text())
    config |= {part: config[part] | more for part, more in MORE.items()}
    return config | {"pressure": {"sheet": sheet, "sets": sets}}


@pytest.fixture(scope="module")
def pressure():
    return Pressure(Targets(configured(), str(ROOT)))


def test_the_arms_of_table_1_are_used_again(pressure):
    folder = "artifacts/embedded/openvla_oft/language-half/four.recover/seed0/rollouts/closed-n50"
    arm = next(arm for arm in pressure.arms if arm.row == "openvla_oft.half.language")
    assert pressure.episodes(arm, "instruction", "right") == [f"{folder}/embedded_goal.jsonl"]
    assert pressure.episodes(arm, "instruction", "right") == pressure.targets.episodes(arm, "goal", "")
    assert pressure.episodes(arm, "scene", "swapped") == [f"{folder}/embedded_object+swapped.jsonl"]
    trained = {path.split("/rollouts")[0] for path in pressure.files()}
    new = {folder for folder in trained if "/four.recover" not in folder or "keep-0" in folder}
    assert len(new) == 9, (
        "recoveries that this asks for beside Table 1's: one block, four of the data five, three retrained heads, one from scratch"
    )


def test_every_line_has_its_set_instruction_and_undropped_arm_of_the_same_data(pressure):
    played = list(pressure.played())
    assert len({(one["row"], one["set"], one["instruction"]) for one in played}) == len(played)
    for one in played:
        if "not_run" not in one:
            data = "four" if one["data"] == "all" else one["data"]  # nothing undropped is trained from scratch
            assert all(f"/none/{data}.recover/" in path for path in one["undropped"])
            assert [Path(path).name for path in one["episodes"]] == [Path(path).name for path in one["undropped"]]
            assert one["protocol"]["trials"] == (15 if one["set"] == "combinations" else 50)
    assert {one["set"] for one in played} == set(SETS) and json.loads(pressure.played_json()) == played
    assert {one["cut"] for one in played if one["set"] == "instruction"} >= {"none", "language-half", "language-ends", "language-keep-0"}


def test_drops_are_held_against_the_policies_of_their_depth_and_sets_against_each_other(pressure):
    said = {(one["row"], one["set"]): (one["against"], one.get("beyond")) for one in pressure.played()}
    name = "openvla_oft.{}".format
    assert said[name("half.language"), "scene"] == ([name("exit.half")], None)
    assert said[name("ends.language"), "instruction"] == ([name("exit.ends"), name("scratch.ends")], "scene")
    assert said[name("baseline"), "instruction"] == ([], None)
    assert (
        said[name("five.one.language"), "held_out"] == ([], "combinations") and said[name("five.one.language"), "combinations"][1] is None
    )


@pytest.mark.parametrize(
    ("rival", "error", "says"),
    [
        ("openvla_oft.exit.hafl", UnknownName, r"unknown row 'openvla_oft.exit.hafl'.*did you mean 'openvla_oft.exit.half'"),
        ("openvla_oft.half.language", BadConfig, "expected another arm of openvla_oft that plays some of scene,instruction"),
        ("openvla_oft.five.baseline", BadConfig, "got one of openvla_oft that plays combinations,held_out; correct its column against"),
    ],
)
def test_a_wrong_row_to_be_held_against_is_one_sentence(tmp_path, rival, error, says):
    text = (ROOT / SHEET).read_text()
    assert text.count("\topenvla_oft.exit.half\n") == 1
    (tmp_path / "sheet.tsv").write_text(text.replace("\topenvla_oft.exit.half\n", f"\t{rival}\n"))
    with pytest.raises(error, match=says):
        Pressure(Targets(configured(sheet=os.path.relpath(tmp_path / "sheet.tsv", ROOT)), str(ROOT)))


def test_a_policy_with_an_official_protocol_plays_it_on_fewer_states_too():
    config = configured()
    config["protocols"] = config["protocols"] | {"own": config["protocols"]["closed"]}
    config["policies"]["openvla_oft"]["protocols"] = {"closed": "own"}
    of = Pressure(Targets(config, str(ROOT)))
    assert {of.protocol(arm, name) for arm in of.arms for name in arm.played} == {"own-n15", "own-n50"}


def test_the_records_are_paths_that_the_rules_know(pressure):
    known = pressure.targets.constraints()
    for path in pressure.files():
        name = Path(path).stem
        assert re.fullmatch(rf"(?:{known['suite']})(?:{known['variant']})", name), name
        assert re.fullmatch(known["protocol"], path.split("/")[-2])


def test_the_new_suite_teaches_the_checkpoint_no_word_so_nothing_is_pretrained_again(pressure):
    assert pressure.targets.words() == Targets(yaml.safe_load((ROOT / "config/embedded.yaml").read_text()), str(ROOT)).words()


def test_without_it_in_the_configuration_there_is_nothing():
    plain = yaml.safe_load((ROOT / "config/paper.yaml").read_text())
    nothing = Pressure(Targets(plain, str(ROOT)))
    assert nothing.arms == nothing.files() == nothing.drawn() == [] and nothing.played_json() == "[]"


def test_a_wrong_set_suite_or_sheet_is_one_sentence(tmp_path):
    with pytest.raises(UnknownName, match=r"unknown suite 'embedded_gaol'.*did you mean 'embedded_goal'"):
        Pressure(Targets(configured({"scene": {"suites": ["embedded_gaol"]}}), str(ROOT)))
    with pytest.raises(UnknownName, match="unknown set of tasks 'scene'"):
        Pressure(Targets(configured({"scenes": {"suites": ["embedded_goal"]}}), str(ROOT)))
    with pytest.raises(BadConfig, match="plays nothing: name some of scene"):
        Pressure(Targets(configured(sheet="config/experiments/table1.tsv"), str(ROOT)))
    lines = (ROOT / SHEET).read_text().splitlines()
    kept = [line for line in lines if "\tnone\tfour\t" not in line]
    (tmp_path / "sheet.tsv").write_text("\n".join(kept) + "\n")
    alone = Pressure(Targets(configured(sheet=os.path.relpath(tmp_path / "sheet.tsv", ROOT)), str(ROOT)))
    with pytest.raises(BadConfig, match=r"with the cut none that plays scene .* got none to hold openvla_oft\.half\.language against"):
        alone.files()


def test_the_smoke_scale_has_a_tiny_sheet_of_its_own(tmp_path):
    planned = World.copy(tmp_path).plan("results/smoke/figures/language_pressure.png")
    assert planned == {
        "demonstrate": 4,
        "checkpoint": 1,
        "plan": 4,
        "recover": 5,
        "rollout": 15,
        "pressure": 1,
        "pressure_figure": 1,
    }
