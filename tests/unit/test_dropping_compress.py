"""What recovery is compared with: 2:4 weights by hand, int8 by how far it may be off, and a cut that nobody trained."""

from __future__ import annotations

from pathlib import Path

import cut_world
import pytest
import torch

from dtr.cli import run
from dtr.errors import MissingLibrary
from dtr.latency import stored_bytes
from dtr.policies.compression import executed, kernels_of, mask24
from dtr.policies.file import load_policy, read_header, save_policy


@pytest.fixture
def place(tmp_path: Path) -> Path:
    save_policy(tmp_path / "whole.safetensors", cut_world.policy(), cut_world.PROCESSOR, {"stage": "test"})
    for cut in ("none", "language-half"):
        assert (
            run(["drop", "--policy", str(tmp_path / "whole.safetensors"), "--cut", cut, "--plan-out", str(tmp_path / f"{cut}.json")]) == 0
        )
    return tmp_path


def compress(place: Path, method: str, cut: str = "none", policy: str = "whole.safetensors") -> int:
    words = ["--policy", str(place / policy), "--plan", str(place / f"{cut}.json"), "--method", method]
    return run(["compress", *words, "--out", str(place / f"{method}.safetensors")])


def test_two_of_four_by_hand() -> None:
    weight = torch.tensor([[1.0, -3.0, 2.0, 0.5, 4.0, 4.0, 4.0, 4.0, 9.0]])
    assert mask24(weight).tolist() == [[0, 1, 1, 0, 1, 1, 0, 0, 1]]  # equal ones: the first; what is no whole group stays


def test_two_of_four_in_the_file(place: Path) -> None:
    assert compress(place, "sparse24") == 0
    layers = [m for m in load_policy(place / "sparse24.safetensors").policy.modules() if isinstance(m, torch.nn.Linear)]
    groups = [layer.weight[:, : layer.in_features // 4 * 4].reshape(-1, 4) for layer in layers]
    assert all(((g != 0).sum(1) <= 2).all() for g in groups)


def test_zero_shot_keeps_the_weights_of_what_stays(place: Path) -> None:
    assert compress(place, "zero_shot", "language-half") == 0
    before, after = (load_policy(place / f"{name}.safetensors").policy.state_dict() for name in ("whole", "zero_shot"))
    assert set(after) < set(before) and all(torch.equal(after[name], before[name]) for name in after)
    assert read_header(place / "zero_shot.safetensors")["plan"]["cut"] == "language-half"


def test_int8_runs_as_int8_and_answers_nearly_the_same(place: Path) -> None:
    assert compress(place, "int8") == 0
    loaded = load_policy(place / "int8.safetensors")
    assert kernels_of(loaded.header) == "int8"
    policy, batch = executed(loaded.policy, "int8"), cut_world.batch()
    with torch.no_grad():
        exact, rough = loaded.policy.act(batch), policy.act(batch)
    assert 0 < (exact - rough).abs().max() < 0.25 * exact.abs().max()
    assert stored_bytes(policy) < 0.6 * stored_bytes(loaded.policy)


def test_a_dropped_policy_is_refused(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert compress(place, "zero_shot", "language-half") == 0
    assert compress(place, "int8", policy="zero_shot.safetensors") == 2
    assert "recovered policy of the cut 'none'" in capsys.readouterr().err


@pytest.mark.skipif(torch.cuda.is_available(), reason="there are such kernels")
def test_what_a_cpu_lacks_is_one_sentence() -> None:
    with pytest.raises(MissingLibrary, match="need a GPU"):
        executed(cut_world.policy(), "sparse24")
