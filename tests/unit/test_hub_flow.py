"""The three flow policies' official files: imported with their processors, dropped, asked for actions, exported and imported again."""

from __future__ import annotations

import json
from pathlib import Path

import hub_flow_world as world
import numpy as np
import pytest
import torch

from dtr.cli import run
from dtr.errors import BadCheckpoint, BadConfig, DtrError
from dtr.hub import export
from dtr.hub.importing import import_policy, released
from dtr.policies.base import Observation
from dtr.policies.file import LoadedPolicy, load_policy
from dtr.policies.registry import beside, skeleton

NAMES = sorted(world.SHAPES)
LAYER = "paligemma_with_expert.paligemma.model.language_model.layers.{i}."
KEPT_OF_A_LAYER = ("input_layernorm", "k_proj", "v_proj")


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    world.write_tokenizer("some/words")


def seen(level: float) -> Observation:
    """A frame of 64 pixels, larger than the policy's."""
    pixels = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), dtype=np.uint8)
    return Observation(pixels, np.full(8, level, np.float32), "put the bowl")


def act(loaded: LoadedPolicy) -> np.ndarray:
    """Actions of two frames."""
    return loaded.processor.actions(loaded.policy.act(loaded.processor.inputs([seen(0.2), seen(0.7)])))


@pytest.mark.parametrize("name", NAMES)
def test_names_and_shapes_at_full_depth_are_those_written_by_hand(name: str) -> None:
    parts = export.official(skeleton(name, world.config(name)), beside(name, "_keys", "KEYS"), consecutive=False)
    assert {key: tuple(tensor.shape) for key, tensor in parts["weights"].items()} == world.SHAPES[name]()


@pytest.mark.parametrize("name", NAMES)
def test_from_official_files_to_a_dropped_policy_and_back(name: str) -> None:
    folder = world.write(name, Path("official"), world.tensors(name))
    Path("entry.json").write_text(json.dumps(world.entry(name)))
    assert run(["import", "--config", "entry.json", "--files", str(folder), "--out", "whole.safetensors"]) == 0
    whole = load_policy("whole.safetensors")
    batch = whole.processor.inputs([seen(0.2)])
    assert batch["image_mask"].tolist() == [[True, True, False]] and batch["pixel_values"].shape == (1, 3, 3, world.S, world.S)
    assert batch["pixel_values"][0, 2].eq(0.0 if name == "lingbot_vla" else -1.0).all()
    assert ("state" in batch) == (name == "lingbot_vla") and ("embodiment" in batch) == (name == "gigabrain0")
    actions = act(whole)
    assert actions.shape == (2, 4, 7) and np.isfinite(actions).all() and np.abs(actions[0] - actions[1]).max() > 0
    plan = ["drop", "--policy", "whole.safetensors", "--cut", "language-half", "--plan-out", "plan.json", "--out", "half.safetensors"]
    assert run(plan) == 0
    half = load_policy("half.safetensors")
    assert len(half.policy.stacks()["language"].kept) == world.DEPTHS[name][1] // 2
    assert run(["export", "--policy", "half.safetensors", "--out", "again"]) == 0
    assert run(["import", "--config", "again/entry.json", "--files", "again", "--out", "back.safetensors"]) == 0
    back = load_policy("back.safetensors")
    assert back.processor == half.processor and back.policy.config == half.policy.config
    assert back.header["plan"]["digest"] == half.header["plan"]["digest"]
    np.testing.assert_array_equal(act(back), act(half))


@pytest.mark.parametrize(("prefix", "shards"), [("model.", 1), ("module.", 3), ("module.model.", 1)])
def test_prefixes_shards_and_tied_words_give_the_same_pi05(prefix: str, shards: int) -> None:
    weights = world.tensors("pi05")
    plain = import_policy(world.entry("pi05"), world.write("pi05", Path("plain"), weights)).policy.state_dict()
    vlm = "paligemma_with_expert.paligemma"
    weights[f"{vlm}.model.language_model.embed_tokens.weight"] = weights.pop(f"{vlm}.lm_head.weight")
    tower = f"{vlm}.model.vision_tower."
    weights = {key.replace(f"{tower}vision_model.", tower) if prefix == "module." else key: t for key, t in weights.items()}
    other = import_policy(world.entry("pi05"), world.write("pi05", Path("other"), weights, prefix, shards)).policy.state_dict()
    assert plain.keys() == other.keys() and all(plain[key].equal(other[key]) for key in plain)


def test_authors_recovered_pi05_says_itself_which_blocks_are_left() -> None:
    weights = world.dropped(world.tensors("pi05"), (3, 4, 17), LAYER, KEPT_OF_A_LAYER)
    weights = {key: t for key, t in weights.items() if ".gemma_expert.model.layers.4." not in key}  # and block 4 of the expert
    found = import_policy(world.entry("pi05", role="authors_recovered"), world.write("pi05", Path("files"), weights))
    left = {name: stack.kept for name, stack in found.policy.stacks().items()}
    assert left["language"] == tuple(i for i in range(18) if i not in (3, 4, 17)) and len(left["action"]) == 17
    assert found.plan is not None and "language.sources.4.k.weight" not in found.policy.state_dict()  # was there, and nobody reads it
    with pytest.raises(BadCheckpoint, match="role finetuned but lacks blocks 3-4, 17 of language"):
        import_policy(world.entry("pi05"), Path("files"))
    whole_layer = world.dropped(world.tensors("pi05"), (3,), LAYER, ())
    with pytest.raises(BadCheckpoint, match=r"language.sources.3.* is absent"):
        import_policy(world.entry("pi05", role="authors_recovered"), world.write("pi05", Path("less"), whole_layer))


def test_layers_numbered_anew_are_paired_by_kept() -> None:
    """Both streams lost the same layers, so the files number what is left from 0 on; keys and values follow their blocks."""
    loaded = import_policy(world.entry("pi05"), world.write("pi05", Path("files"), world.tensors("pi05")))
    loaded.policy.drop({"language": [1, 5, 9], "action": [1, 5, 9]})
    half = LoadedPolicy(loaded.policy, loaded.processor, {})
    entry = export.export_policy(half, Path("anew"), consecutive=True)
    back = import_policy(entry, Path("anew"))
    assert back.policy.config == half.policy.config
    np.testing.assert_array_equal(act(LoadedPolicy(back.policy, back.processor, {})), act(half))
    loaded.policy.drop({"language": [0]})
    with pytest.raises(BadCheckpoint, match="pairs other layers: export it without --consecutive"):
        export.export_policy(half, Path("no"), consecutive=True)


@pytest.mark.parametrize(
    ("name", "change", "processor", "says"),
    [
        ("gigabrain0", {}, {"embodiment": 3}, "action layers for 3 robots, got embodiment 3: say processor.embodiment, 0 to 2"),
        ("pi05", {}, {"embodiment": 0}, "this policy knows one robot only"),
        ("pi05", {"horizon": 10}, {}, "horizon of 10, the model has 4"),
        ("pi05", {}, {"padded_dim": 32}, "processor.padded_dim follows from the model"),
        ("pi05", {}, {"grippers": "sign"}, "`processor` has a field that the processor has not"),
        ("pi05", {}, {"gripper": "signs"}, "did you mean 'sign'"),
        ("pi05", {}, {"image_path": "openpie"}, "unknown image path 'openpie': did you mean 'openpi'"),
    ],
)
def test_what_cannot_be_meant_is_refused(name: str, change: dict, processor: dict, says: str) -> None:
    folder = world.write(name, Path("files"), {"x": torch.zeros(1)})
    with pytest.raises(DtrError, match=says):
        import_policy(world.entry(name, processor, **change), folder)


def test_what_the_files_state_of_themselves_wins() -> None:
    folder = world.write("lingbot_vla", Path("files"), {"x": torch.zeros(1)})
    (folder / "lingbotvla_cli.yaml").write_text("data: {norm_type: bounds_99_woclip}\ntrain: {chunk_size: 4}\n")
    with pytest.raises(BadConfig, match="states bounds_99_woclip for norm_type, which is q99, the manifest says meanstd"):
        import_policy(world.entry("lingbot_vla"), folder)
    (folder / "lingbotvla_cli.yaml").write_text("train: {chunk_size: 50}\n")
    with pytest.raises(BadConfig, match="states chunk_size 50, the manifest says a horizon of 4"):
        import_policy(world.entry("lingbot_vla"), folder)
    (folder / "lingbotvla_cli.yaml").unlink()
    (folder / "config.json").write_text(json.dumps({"normalization_mapping": {"ACTION": "MIN_MAX"}}))
    with pytest.raises(BadConfig, match="states MIN_MAX for ACTION, which is none of q99, meanstd"):
        import_policy(world.entry("lingbot_vla"), folder)


def test_the_released_configuration_takes_the_manifest_s_horizon() -> None:
    assert released("pi05", 50).chunk == 50 and released("openvla_oft", 50).chunk == 8
