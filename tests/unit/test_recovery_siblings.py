"""Two arms that chose the same blocks share one training, to the byte; arms that did not, do not."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import recovery_world as world
from test_recovery_verbs import checkpoint, recover, write

from dtr.cli import run
from dtr.data.pictures import Known
from dtr.lenders import lenders, origin
from dtr.policies.file import read_header
from dtr.provenance import machine, read_json, sha256_file, write_json
from dtr.recovery import recover as recover_verb
from dtr.recovery.siblings import find_sibling
from dtr.stages import STAGES, Stage


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("siblings")
    write(folder / "data", world.data())
    write(folder / "other", world.data(seed=1))
    assert checkpoint(folder, "pretrained.safetensors", "state") == 0
    for cut in ("language-half", "language-keep-0", "language-keep-1"):
        words = ["--policy", str(folder / "pretrained.safetensors"), "--cut", cut, "--plan-out", str(folder / cut / "plan.json")]
        assert run(["drop", *words]) == 0
    assert arm(folder, "language-half") == arm(folder, "language-keep-0") == 0
    return folder


def arm(folder: Path, cut: str, seed: str = "3", recipe: str = "four.recover", **changes: str) -> int:
    out = f"{cut}/{recipe}/seed{seed}/recovered.safetensors"
    (folder / f"state-{out}").mkdir(parents=True, exist_ok=True)
    return recover(folder, out, plan=str(folder / cut / "plan.json"), seed=seed, **changes)


def forget(policy: Path) -> None:
    for suffix in ("", ".losses.jsonl", ".run.json"):
        Path(f"{policy}{suffix}").unlink()


def behind_header(policy: Path) -> bytes:
    data = policy.read_bytes()
    return data[8 + int.from_bytes(data[:8], "little") :]


def test_the_same_blocks_by_another_name_are_one_training(place: Path) -> None:
    path = place / "language-keep-0/four.recover/seed3/recovered.safetensors"
    alone, weights, curve = read_header(path), behind_header(path), Path(f"{path}.losses.jsonl").read_bytes()
    assert "shared_with" not in read_json(f"{path}.run.json")
    forget(path)
    assert arm(place, "language-keep-0", siblings=str(place)) == 0
    assert behind_header(path) == weights and Path(f"{path}.losses.jsonl").read_bytes() == curve
    assert read_header(path) | {"plan": None} == alone | {"plan": None}
    lender = place / "language-half/four.recover/seed3/recovered.safetensors"
    assert path.read_bytes() == lender.read_bytes(), "one object in any cache"
    assert read_json(f"{path}.run.json")["shared_with"] == {"path": str(lender), "sha256": sha256_file(path)}
    assert read_header(path)["plan"]["cut"] == "language-half", "the plan under which it was trained"


def test_who_trained_lends_before_who_took(place: Path, tmp_path: Path) -> None:
    own = place / "language-half/four.recover/seed3/recovered.safetensors"
    arms = [tmp_path / cut / own.relative_to(own.parents[2]) for cut in ("a", "b", "c")]
    for path in arms:
        path.parent.mkdir(parents=True)
        shutil.copyfile(own, path)
        write_json(f"{path}.run.json", machine() | ({} if path == arms[1] else {"shared_with": origin(own)}))
    header = read_header(own)
    asked = (tmp_path, arms[2], header["provenance"], header["plan"])
    assert find_sibling(*asked) == arms[1]
    arms[1].unlink()
    assert find_sibling(*asked) == arms[0]
    assert origin(arms[0]) == origin(own) == {"path": str(own), "sha256": sha256_file(own)}, "where it was made"
    arms[0].write_bytes(b"another")
    assert origin(arms[0]) == {"path": str(arms[0]), "sha256": sha256_file(arms[0])}


def test_nobody_lends_what_another_version_made(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = place / "language-half/four.recover/seed3/recovered.safetensors"
    path = tmp_path / own.name
    shutil.copyfile(own, path)
    for record, lent in [
        (machine(), True),
        (machine() | {"stage_version": 1}, True),
        (machine() | {"stage_version": 2}, False),
        (machine() | {"versions": machine()["versions"] | {"torch": "0.4"}}, False),
        (machine() | {"versions": machine()["versions"] | {"mujoco": "0.4"}}, True),
        ({}, False),
        ({"versions": "torch"}, False),
    ]:
        write_json(f"{path}.run.json", record)
        assert lenders([path], "recover") == [path] * lent, record
    write_json(f"{path}.run.json", machine())
    with monkeypatch.context() as patch:
        patch.setitem(STAGES, "recover", Stage(2, STAGES["recover"].packages))
        assert not lenders([path], "recover")
    for broken in (b'{"versions"', b"[]", b"\xff"):
        Path(f"{path}.run.json").write_bytes(broken)
        assert not lenders([path], "recover")
    Path(f"{path}.run.json").unlink()
    assert not lenders([path], "recover")


def test_a_note_about_other_data_trains_on_these(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = place / "language-keep-0/four.recover/seed3/recovered.safetensors"
    monkeypatch.setattr(recover_verb, "known", lambda folders, image_size, aside: Known("other", 1))
    forget(path)
    assert arm(place, "language-keep-0", siblings=str(place)) == 0
    assert read_json(f"{path}.run.json")["frames"] == 54 and "shared_with" in read_json(f"{path}.run.json"), "found after reading"


def test_the_pictures_are_read_once_to_know_which_data_they_are(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = place / "language-keep-0/four.recover/seed3/recovered.safetensors"
    before = Known(read_header(path)["provenance"]["data"], 54)
    monkeypatch.setattr(recover_verb, "known", lambda folders, image_size, aside: before)
    monkeypatch.setattr(recover_verb, "read_data", lambda *args: pytest.fail("the pictures were read again"))
    forget(path)
    assert arm(place, "language-keep-0", siblings=str(place)) == 0
    assert read_json(f"{path}.run.json")["frames"] == 54


def test_other_blocks_another_seed_or_broken_files_share_nothing(place: Path) -> None:
    (place / "broken/four.recover/seed3").mkdir(parents=True)
    (place / "broken/four.recover/seed3/recovered.safetensors").write_bytes(b"no policy")
    for cut, seed in (("language-keep-1", "3"), ("language-keep-0", "4")):
        assert arm(place, cut, seed, siblings=str(place)) == 0
        assert "shared_with" not in read_json(place / f"{cut}/four.recover/seed{seed}/recovered.safetensors.run.json")
