"""`dtr parity` on the golden values of the official code, and on folders that are wrong in some way."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import golden_folder
import pytest
from golden_folder import change

from dtr.cli import run
from dtr.errors import BadCheckpoint, BadConfig, UnknownName
from dtr.hub import export
from dtr.parity import parity
from dtr.parity.golden import Golden
from dtr.parity.openvla_oft import load
from dtr.policies.checkpoint import import_weights
from dtr.policies.openvla_oft_keys import KEYS
from dtr.policies.registry import skeleton

GOLDEN = golden_folder.GOLDEN / "openvla_oft"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the golden folder to spoil."""
    return Path(shutil.copytree(GOLDEN, tmp_path / "golden"))


@pytest.mark.parametrize(
    ("file", "key"),
    [
        ("weights", "language_model.model.layers.2.self_attn.k_proj.weight"),
        ("proprio_projector", "module.fc2.bias"),
        ("outputs", "vision.featurizer.3.input"),
        ("drops", "mixed.loss"),
    ],
)
def test_a_perturbed_tensor_fails(folder: Path, file: str, key: str) -> None:
    change(folder / f"{file}.safetensors", key, 0.01)
    with pytest.raises(SystemExit) as stop:
        run(["parity", str(folder)])
    assert stop.value.code == 1


def test_a_dead_weight_does_not_matter(folder: Path) -> None:
    change(folder / "weights.safetensors", "vision_backbone.featurizer.norm.weight", 1.0)
    change(folder / "weights.safetensors", "vision_backbone.featurizer.blocks.3.attn.qkv.weight", 1.0)
    assert parity(folder).passed


def test_a_wrong_gate_and_a_nan_fail(folder: Path) -> None:
    gates = json.loads((folder / "gates.json").read_text())
    gates["values"]["vision.featurizer"]["3"][1] = 1e-12  # a dead gate is exactly 0
    (folder / "gates.json").write_text(json.dumps(gates))
    change(folder / "outputs.safetensors", "loss", float("nan"))
    assert {c.quantity for c in parity(folder).failures} == {"loss", "gate.vision.featurizer.3"}


def test_user_errors_are_one_sentence(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"model": "openvla_off"}))
    with pytest.raises(UnknownName, match="did you mean 'openvla_oft'"):
        parity(folder)
    assert run(["parity", str(folder)]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
    del config["language"]["num_blocks"]
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(BadConfig, match=r"language\.num_blocks"):
        parity(folder)
    with pytest.raises(BadCheckpoint, match=r"config\.json"):
        parity(folder / "nowhere")
    shutil.copy(GOLDEN / "config.json", folder)
    (folder / "weights.safetensors").write_bytes((GOLDEN / "weights.safetensors").read_bytes()[:-100])
    with pytest.raises(BadCheckpoint, match="does not read"):
        parity(folder)


def test_keys_are_mapped_both_ways_and_strictly() -> None:
    golden = Golden.read(GOLDEN)
    official = {part: golden.tensors(f"{part}.safetensors") for part in KEYS.parts}
    values = load(golden).config.to_dict()
    whole = skeleton("openvla_oft", values | {"unused": True})
    import_weights(whole, KEYS, official)
    back = export.official(whole, KEYS, consecutive=False)
    assert {p: set(t) for p, t in back.items()} == {p: set(t) for p, t in official.items()}
    assert all(t.equal(official[part][key]) for part, tensors in back.items() for key, t in tensors.items())

    slim = skeleton("openvla_oft", values)  # forgets what no action depends on, and nothing else
    import_weights(slim, KEYS, official)
    kept = {key for tensors in export.official(slim, KEYS, consecutive=False).values() for key in tensors}
    gone = {key for tensors in official.values() for key in tensors} - kept
    assert gone == {k for k in official["weights"] if "attn_pool" in k or "featurizer.norm" in k or "lm_head" in k}

    for key, message in (
        ("projector.fc7.extra", "is no key of this model"),
        ("language_model.model.layers.9.mlp.up_proj.weight", "absent"),
    ):
        with pytest.raises(BadCheckpoint, match=message):
            import_weights(slim, KEYS, official | {"weights": official["weights"] | {key: official["weights"]["projector.fc1.bias"]}})
    without = {key: t for key, t in official["weights"].items() if key != "projector.fc1.bias"}
    with pytest.raises(BadCheckpoint, match=r"projector\.fc\.0\.bias"):
        import_weights(slim, KEYS, official | {"weights": without})
