"""A policy goes back under upstream's names, and `dtr import` of that gives the same weights."""

import json

import hub_world as world
import pytest
from safetensors import safe_open

from dtr.cli import run
from dtr.hub.export import export_policy
from dtr.policies.file import LoadedPolicy, load_policy, save_policy
from dtr.policies.openvla_oft_processor import OpenVLAProcessor
from dtr.policies.registry import build
from dtr.policies.tokenizer import WordTokenizer

WORDS = WordTokenizer(("bowl", "put"), first=6, unknown=5)
PROCESSOR = OpenVLAProcessor(WORDS, world.ACTIONS, world.PROPRIO, 16, 8, 7, prompt="{instruction}", text_tokens=70, pad=0, empty=3)


@pytest.fixture
def dropped(tmp_path):
    """A policy file without half of its language blocks, one vision block and 8 units of its head, but with unused weights."""
    policy = build("openvla_oft", {**world.CONFIG, "unused": True}, 5)
    policy.drop({"language": range(1, 32, 2), "vision.siglip": [3]})
    policy.narrow_head(range(16))
    save_policy(tmp_path / "dropped.safetensors", policy, PROCESSOR, {"stage": "test"})
    return tmp_path / "dropped.safetensors"


@pytest.mark.parametrize("numbers", ["original", "consecutive"])
def test_a_round_trip_keeps_every_bit(dropped, numbers, tmp_path, capsys):
    out, back = tmp_path / "official", tmp_path / "back.safetensors"
    assert run(["export", "--policy", str(dropped), "--out", str(out), *(["--consecutive"] if numbers == "consecutive" else [])]) == 0
    with safe_open(out / "model.safetensors", "pt") as file:
        layers = {int(key.split(".")[3]) for key in file.keys() if ".layers." in key}  # noqa: SIM118
        assert "language_model.lm_head.weight" in file.keys()  # noqa: SIM118
    assert layers == set(range(16) if numbers == "consecutive" else range(0, 32, 2))
    assert run(["import", "--config", str(out / "entry.json"), "--files", str(out), "--out", str(back)]) == 0
    a, b = load_policy(dropped), load_policy(back)
    assert a.processor == b.processor and a.policy.config == b.policy.config
    ours, theirs = a.policy.state_dict(), b.policy.state_dict()
    assert ours.keys() == theirs.keys() and all(ours[name].equal(theirs[name]) for name in ours)
    assert "official" in capsys.readouterr().out


def test_a_large_part_is_written_in_shards(tmp_path):
    policy = build("openvla_oft", world.CONFIG, 5)
    entry = export_policy(LoadedPolicy(policy, PROCESSOR, {}), tmp_path, shard_bytes=100_000)
    names = entry["hub"]["parts"]["weights"]
    assert len(names) > 3 and names[-1] == "model.safetensors.index.json" and entry["hub"]["role"] == "finetuned"
    index = json.loads((tmp_path / names[-1]).read_text())
    assert set(index["weight_map"].values()) == set(names[:-1])
    back = tmp_path / "back.safetensors"
    assert run(["import", "--config", str(tmp_path / "entry.json"), "--files", str(tmp_path), "--out", str(back)]) == 0
    theirs = load_policy(back).policy.state_dict()
    assert all(t.equal(theirs[name]) for name, t in policy.state_dict().items())
