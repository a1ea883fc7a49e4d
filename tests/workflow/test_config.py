"""A configuration or sheet that does not hold together is one sentence, before anything runs."""

import copy
import re
from collections import Counter
from pathlib import Path

import pytest
import yaml

from dtr.errors import BadConfig, DtrError, UnknownName
from dtr.policies.openvla_oft_config import FULL_SIZE
from dtr.workflow.config import check_config, read_sheet

ROOT = Path(__file__).resolve().parents[2]
SCALES = ("embedded", "smoke", "paper")
TABLE1 = ROOT / "config/experiments/table1.tsv"


def config_of(scale):
    return yaml.safe_load((ROOT / f"config/{scale}.yaml").read_text())


@pytest.mark.parametrize("scale", SCALES)
def test_the_configurations_hold(scale):
    config = config_of(scale)
    check_config(config)
    run = Counter(row.model for row in read_sheet(TABLE1, config) if row.runs(scale))
    assert run == ({"OpenVLA-OFT": 7, "pi0.5": 7} if scale != "smoke" else {"OpenVLA-OFT": 7})


def test_a_scale_may_recover_a_row_by_another_recipe_than_its_sheet_says():
    config, plain = config_of("paper"), read_sheet(TABLE1, config_of("paper"))
    special = config["tables"]["table1"]["recipes"]
    found = {arm.row: arm.recipe for arm in read_sheet(TABLE1, config, special)}
    assert {arm.row for arm in plain if found[arm.row] != arm.recipe} == {"pi05.ends.language", "openvla_oft.ends.action"}
    matched, long = (config["recipes"][found[row]] for row in ("pi05.ends.language", "openvla_oft.ends.action"))
    assert (matched["batch"], matched["matched_batch"]) == (64, 32) and long == config["recipes"]["recover"] | {"steps": 100_000}
    with pytest.raises(UnknownName, match=r"did you mean 'pi05\.ends\.language'.*tables\.table1\.recipes names it"):
        read_sheet(TABLE1, config, {"pi05.end.language": "flow_matched"})
    with pytest.raises(UnknownName, match="did you mean 'flow_matched'"):
        read_sheet(TABLE1, config, {"pi05.ends.language": "flow_matchd"})


def test_the_paper_scale_is_the_released_model():
    policy = config_of("paper")["policies"]["openvla_oft"]
    assert_stated(policy["model"], FULL_SIZE.to_dict(), "model")


def assert_stated(stated, released, where):
    """Every field that is stated has the released model's value."""
    for name, value in stated.items():
        if isinstance(value, dict):
            assert_stated(value, released[name], f"{where}.{name}")
        else:
            assert value == released[name], f"{where}.{name}"


def test_gpus_must_be_there_and_share_the_shards():
    config = config_of("paper")
    config["recipes"]["recover"] |= {"shards": 2}
    with pytest.raises(BadConfig, match="openvla_oft takes 4 GPUs, recipe recover has 2 shards: set a multiple of 4"):
        read_sheet(TABLE1, config)
    config["device"] = "cpu"
    with pytest.raises(BadConfig, match=r"policies\.openvla_oft\.gpus is 4, but device is no GPU"):
        check_config(config)


def break_key(config):
    config["recipies"] = config.pop("recipes")


def break_demo(config):
    config["demos"]["embedded_spatial"] = {"episodes": 0, "noise": 0.1, "seed": 1}


def break_mixture(config):
    config["data"]["four"][0] = "embedded_spacial"


def break_recipe(config):
    config["policies"]["openvla_oft"]["pretraining"]["recipe"] = "pretrian"


def break_recipe_field(config):
    config["recipes"]["recover"]["stepz"] = 3


def break_protocol(config):
    config["protocols"]["closed"]["trails"] = 5


def break_samples(config):
    config["calibrations"]["four"]["samples"] = 1  # has no standard error


def break_calibration(config):
    config["policies"]["openvla_oft"]["calibration"] = "for"


def break_picture(config):
    config["policies"]["openvla_oft"]["model"]["image_sise"] = config["policies"]["openvla_oft"]["model"].pop("image_size")


@pytest.mark.parametrize(
    ("break_it", "says"),
    [
        (break_key, "recipies.*did you mean 'recipes'"),
        (break_demo, "demos.embedded_spatial"),
        (break_mixture, "'embedded_spacial'.*did you mean .*embedded_spatial"),
        (break_recipe, "'pretrian'.*did you mean 'pretrain'"),
        (break_recipe_field, "recipes.recover.*stepz.*did you mean 'steps'"),
        (break_protocol, "protocols.closed.*trails|trails.*did you mean 'trials'"),
        (break_samples, "calibrations.four.samples must be a whole number from 2 on, got 1: correct it"),
        (break_picture, "policies.openvla_oft.model must say image_size"),
        (break_calibration, "'for'.*did you mean 'four'"),
    ],
)
def test_a_typo_is_one_sentence_that_names_it(break_it, says):
    config = copy.deepcopy(config_of("embedded"))
    break_it(config)
    with pytest.raises(DtrError) as caught:
        check_config(config)
    assert re.search(says, str(caught.value)), str(caught.value)
    assert "\n" not in str(caught.value)


HEADER = "row\tmodel\tsetting\tcomponent\tpolicy\tcut\tdata\trecipe\tseeds\tprotocol\n"
GOOD = "a.b\tM\tS\tlanguage\topenvla_oft\tlanguage-half\tfour\trecover\t0,1\tclosed\n"


@pytest.mark.parametrize(
    ("rows", "kind", "says"),
    [
        (GOOD.replace("language-half", "language-hlaf"), UnknownName, "line 2.*did you mean"),
        (GOOD.replace("openvla_oft", "openvla"), UnknownName, "openvla_oft"),
        (GOOD.replace("0,1", "zero"), BadConfig, "seeds"),
        (GOOD + GOOD, BadConfig, "'a.b' is there twice"),
        ("", BadConfig, "at least one row"),
    ],
)
def test_a_bad_sheet_is_one_sentence(tmp_path, rows, kind, says):
    (tmp_path / "sheet.tsv").write_text(HEADER + rows)
    with pytest.raises(kind, match=says):
        read_sheet(tmp_path / "sheet.tsv", config_of("embedded"))


def test_a_missing_sheet_is_named(tmp_path):
    with pytest.raises(BadConfig, match=r"none\.tsv"):
        read_sheet(tmp_path / "none.tsv", config_of("embedded"))


def test_an_arm_that_runs_needs_its_baseline_and_one_that_does_not_needs_no_policy(tmp_path):
    header, elsewhere = HEADER.replace("protocol\n", "protocol\tscales\n"), GOOD.replace("a.b", "c.d").replace("openvla_oft", "pi06")
    here = GOOD.replace("\n", "\tembedded\n")
    (tmp_path / "sheet.tsv").write_text(header + here + elsewhere.replace("\n", "\tpaper\n"))
    arms = read_sheet(tmp_path / "sheet.tsv", config_of("embedded"))
    assert [arm.runs("embedded") for arm in arms] == [True, False]
    (tmp_path / "sheet.tsv").write_text(header + here.replace("embedded", "paper") + here.replace("a.b", "e.f"))
    with pytest.raises(BadConfig, match=r"baseline a.b does not"):
        read_sheet(tmp_path / "sheet.tsv", config_of("embedded"))


def test_a_sheet_that_is_no_text_is_named(tmp_path):
    (tmp_path / "sheet.tsv").write_bytes((HEADER + GOOD).encode() + b"\xff\xfe")
    with pytest.raises(BadConfig, match=r"sheet\.tsv, but it cannot be read .*UTF-8"):
        read_sheet(tmp_path / "sheet.tsv", config_of("embedded"))


def test_seeds_are_a_list(tmp_path):
    (tmp_path / "sheet.tsv").write_text(HEADER + GOOD)
    assert read_sheet(tmp_path / "sheet.tsv", config_of("embedded"))[0].seeds == (0, 1)
