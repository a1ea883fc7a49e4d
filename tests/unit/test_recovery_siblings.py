"""Two arms that chose the same blocks share one training, to the byte; arms that did not, do not."""

from __future__ import annotations

from pathlib import Path

import pytest
import recovery_world as world
from test_recovery_verbs import checkpoint, recover, write

from dtr.cli import run
from dtr.policies.file import read_header
from dtr.provenance import read_json


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("siblings")
    write(folder / "data", world.data())
    write(folder / "other", world.data(seed=1))
    assert checkpoint(folder, "pretrained.safetensors", "state") == 0
    for cut in ("language-half", "language-keep-0", "language-keep-1"):
        words = ["--policy", str(folder / "pretrained.safetensors"), "--cut", cut, "--plan-out", str(folder / cut / "plan.json")]
        assert run(["drop", *words]) == 0
    assert arm(folder, "language-half") == 0
    return folder


def arm(folder: Path, cut: str, seed: str = "3", recipe: str = "four.recover", **changes: str) -> int:
    out = f"{cut}/{recipe}/seed{seed}/recovered.safetensors"
    (folder / f"state-{out}").mkdir(parents=True, exist_ok=True)
    return recover(folder, out, plan=str(folder / cut / "plan.json"), seed=seed, **changes)


def test_the_same_blocks_by_another_name_are_one_training(place: Path) -> None:
    path = place / "language-keep-0/four.recover/seed3/recovered.safetensors"
    assert arm(place, "language-keep-0") == 0
    alone, curve = path.read_bytes(), Path(f"{path}.losses.jsonl").read_bytes()
    assert "shared_with" not in read_json(f"{path}.run.json")
    path.unlink()
    Path(f"{path}.losses.jsonl").unlink()
    assert arm(place, "language-keep-0", siblings=str(place)) == 0
    assert path.read_bytes() == alone and Path(f"{path}.losses.jsonl").read_bytes() == curve
    assert read_json(f"{path}.run.json")["shared_with"]["path"].endswith("language-half/four.recover/seed3/recovered.safetensors")
    assert read_header(path)["plan"]["cut"] == "language-keep-0"


def test_other_blocks_another_seed_or_broken_files_share_nothing(place: Path) -> None:
    (place / "broken/four.recover/seed3").mkdir(parents=True)
    (place / "broken/four.recover/seed3/recovered.safetensors").write_bytes(b"no policy")
    for cut, seed in (("language-keep-1", "3"), ("language-keep-0", "4")):
        assert arm(place, cut, seed, siblings=str(place)) == 0
        assert "shared_with" not in read_json(place / f"{cut}/four.recover/seed{seed}/recovered.safetensors.run.json")
