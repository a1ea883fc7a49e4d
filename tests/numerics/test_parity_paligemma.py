"""`dtr parity` on the golden values of pi0.5 and GigaBrain-0, and their official keys."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from golden_folder import GOLDEN
from safetensors.torch import load_file, save_file

from dtr.cli import run
from dtr.errors import BadCheckpoint, BadConfig
from dtr.hub import export
from dtr.parity import gigabrain0, parity, pi05
from dtr.parity.golden import Golden
from dtr.policies.checkpoint import KeyMap, import_weights
from dtr.policies.gigabrain0_keys import KEYS as GIGABRAIN0_KEYS
from dtr.policies.pi05_keys import KEYS as PI05_KEYS
from dtr.policies.registry import skeleton

POLICIES = {"pi05": (pi05, PI05_KEYS), "gigabrain0": (gigabrain0, GIGABRAIN0_KEYS)}
VLM = "paligemma_with_expert.paligemma"


def test_what_is_wrong_fails(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(GOLDEN / "pi05", tmp_path / "golden"))
    weights, outputs = (load_file(folder / f"{name}.safetensors") for name in ("weights", "outputs"))
    weights[f"{VLM}.model.language_model.layers.3.mlp.up_proj.weight"][0] += 1.0  # dead: only its own output moves
    weights[f"{VLM}.model.language_model.layers.3.self_attn.k_proj.weight"][0] += 0.01  # alive
    outputs["vision.2.input"][0, 0, 0, 0] += 0.01
    save_file(weights, folder / "weights.safetensors")
    save_file(outputs, folder / "outputs.safetensors")
    off = {c.quantity for c in parity(folder).failures}
    assert {"vision.2.input", "language.output", "loss", "actions", "action.output"} <= off
    assert not {"vision.1.input", "language.3.input", "action.3.input", "gate.language.3"} & off


def test_a_dead_weight_does_not_matter(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(GOLDEN / "gigabrain0", tmp_path / "golden"))
    weights = load_file(folder / "weights.safetensors")
    for name in ("self_attn.q_proj.0", "mlps.0.up_proj", "post_attention_layernorms.0"):
        weights[f"paligemma_with_expert.layers.3.{name}.weight"] += 1.0
    save_file(weights, folder / "weights.safetensors")
    assert {c.quantity for c in parity(folder).failures} == {"language.output", "language.final", "language_logits"}


@pytest.mark.parametrize("name", POLICIES)
def test_keys_are_mapped_both_ways_and_strictly(name: str) -> None:
    adapter, keys = POLICIES[name]
    golden = Golden.read(GOLDEN / name)
    official, values = golden.tensors("weights.safetensors"), adapter.config(golden).to_dict()
    whole = skeleton(name, values)
    import_weights(whole, keys, {"weights": official})
    back = export.official(whole, keys, consecutive=False)["weights"]
    assert set(back) == set(official) and all(tensor.equal(official[key]) for key, tensor in back.items())

    slim = skeleton(name, values | {"unused": False})
    import_weights(slim, keys, {"weights": official})
    gone = {key for key in official if key not in export.official(slim, keys, consecutive=False)["weights"]}
    dead = ("language_model.norm.weight", "gemma_expert.lm_head.weight", "expert.norms.0.weight")
    assert gone == {key for key in official if key.endswith(dead)}

    some = official["time_mlp_in.bias"]
    for key, message in (("time_mlp_in.scale", "is no key of this model"), ("state_proj.bias", "is no key of this model")):
        with pytest.raises(BadCheckpoint, match=message):
            import_weights(slim, keys, {"weights": official | {key: some}})
    with pytest.raises(BadCheckpoint, match=r"time_in\.bias"):
        import_weights(slim, keys, {"weights": {key: tensor for key, tensor in official.items() if key != "time_mlp_in.bias"}})


def test_tied_weights_come_under_either_name() -> None:
    golden = Golden.read(GOLDEN / "pi05")
    official, values = golden.tensors("weights.safetensors"), pi05.config(golden).to_dict()
    head, table = f"{VLM}.lm_head.weight", f"{VLM}.model.language_model.embed_tokens.weight"
    for weights in (
        {table if key == head else key: tensor for key, tensor in official.items()},
        official | {table: official[head].clone()},
    ):
        policy = skeleton("pi05", values)
        import_weights(policy, PI05_KEYS, {"weights": weights})
        assert policy.state_dict()["language.embedding.weight"].equal(official[head])
    with pytest.raises(BadCheckpoint, match="are one weight and differ"):
        import_weights(skeleton("pi05", values), PI05_KEYS, {"weights": official | {table: official[head] + 1}})
    policy = skeleton("pi05", values)
    lerobot = KeyMap({"weights": replace(PI05_KEYS.parts["weights"], prefix="model.")})
    import_weights(policy, lerobot, {"weights": {f"model.{key}": tensor for key, tensor in official.items()}})
    assert set(export.official(policy, lerobot, consecutive=False)["weights"]) == {f"model.{key}" for key in official}


def test_foreign_flags_are_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = Path(shutil.copytree(GOLDEN / "gigabrain0", tmp_path / "golden"))
    config = json.loads((folder / "config.json").read_text())
    config["language"]["attention_softcap"] = 50.0
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(BadConfig, match="attention_softcap"):
        parity(folder)
    assert run(["parity", str(folder)]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
