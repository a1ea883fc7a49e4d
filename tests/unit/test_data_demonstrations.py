"""Raw demonstrations: what is written is what is read, and everything else is refused in one sentence."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest

from dtr.data.demonstrations import RESOLUTION, TaskDemonstrations, demonstrations_sha256, read_demonstrations, write_demonstrations
from dtr.errors import BadDemonstrations, DiskFull

SCHEMA = json.loads((Path(__file__).parents[2] / "schemas/demos.schema.json").read_text())


def task(**changes: Any) -> TaskDemonstrations:
    """Two episodes of 3 and 2 steps."""
    rng = np.random.default_rng(0)
    arrays = {
        "qpos": rng.normal(size=(5, 11)),
        "state": rng.normal(size=(5, 8)),
        "actions": rng.uniform(-1, 1, (5, 7)),
        "episode": np.array([0, 0, 0, 1, 1]),
        "seed": np.array([70, 81]),
    }
    return TaskDemonstrations("lift_it", "lift it", 0, **{**arrays, **changes})


def nan_at_step_3(width: int) -> np.ndarray:
    array = np.zeros((5, width))
    array[3, 1] = np.nan
    return array


def test_written_and_read_demonstrations_agree_to_the_grid(tmp_path: Path) -> None:
    write_demonstrations(tmp_path, "suite", [task()], {"noise": 0.3})
    (read,) = read_demonstrations(tmp_path)
    assert np.abs(read.qpos - task().qpos).max() <= RESOLUTION / 2 + 1e-7
    assert all(np.array_equal(a, b) for a, b in zip(read.arrays().values(), task().on_grid().arrays().values(), strict=True))
    assert [(s.start, s.stop) for s in read.split()] == [(0, 3), (3, 5)]
    meta = json.loads((tmp_path / "meta.json").read_text())
    jsonschema.validate(meta, SCHEMA)
    assert meta["facts"] == {"noise": 0.3}


def test_writing_what_was_read_changes_no_byte(tmp_path: Path) -> None:
    write_demonstrations(tmp_path / "a", "suite", [task()], {})
    write_demonstrations(tmp_path / "b", "suite", read_demonstrations(tmp_path / "a"), {})
    for name in ("meta.json", "lift_it.npz"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    assert demonstrations_sha256(tmp_path / "a") == demonstrations_sha256(tmp_path / "b")


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"qpos": nan_at_step_3(11)}, "qpos must be finite, got NaN or infinity at step 3"),
        ({"actions": nan_at_step_3(7)}, "actions must be finite"),
        ({"actions": np.full((5, 7), 1.5)}, r"actions must lie in \[-1, 1\], got 1.5"),
        ({"state": np.zeros((5, 9))}, r"state must be \(5, 8\), got \(5, 9\)"),
        ({"actions": np.zeros((4, 7))}, r"actions must be \(5, 7\), got \(4, 7\)"),
        ({"episode": np.array([0, 0, 2, 2, 2])}, "episode numbers must be 0..1"),
        ({"episode": np.array([0, 1, 0, 1, 1])}, "ascending"),
    ],
)
def test_wrong_arrays_are_refused(changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(BadDemonstrations, match=sentence):
        task(**changes)


def test_a_truncated_archive_is_refused(tmp_path: Path) -> None:
    write_demonstrations(tmp_path, "suite", [task()], {})
    path = tmp_path / "lift_it.npz"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(BadDemonstrations, match=r"must be a whole archive"):
        read_demonstrations(tmp_path)


def test_an_archive_with_a_flipped_byte_is_refused_wherever_it_flips(tmp_path: Path) -> None:
    """In the compressed numbers, in the archive's own headers, in its checksums."""
    write_demonstrations(tmp_path, "suite", [task()], {})
    path = tmp_path / "lift_it.npz"
    good, whole, refused = path.read_bytes(), task().on_grid().sha256(), 0
    for k in range(0, len(good), 3):
        path.write_bytes(good[:k] + bytes([good[k] ^ 0x2D]) + good[k + 1 :])
        try:
            assert read_demonstrations(tmp_path)[0].sha256() == whole  # a time or an attribute of the archive flipped
        except BadDemonstrations as error:
            refused += "must be a whole archive" in str(error) or "must hash to" in str(error)
    assert refused > len(good) / 3 / 2


def test_a_changed_archive_is_refused(tmp_path: Path) -> None:
    write_demonstrations(tmp_path, "suite", [task()], {})
    other = task(seed=np.array([70, 82]))
    np.savez(tmp_path / "lift_it.npz", **other.arrays())  # type: ignore[arg-type]
    with pytest.raises(BadDemonstrations, match=r"must hash to the value in meta\.json"):
        read_demonstrations(tmp_path)


TASKS = '{"format": 1, "suite": "s", "tasks": %s}'


@pytest.mark.parametrize(
    "text", [None, "{", '{"format": 99}', "[]", TASKS % "[]", TASKS % "[[]]", TASKS % '[{"name": "x", "sha256": "0"}]']
)
def test_a_folder_without_a_readable_meta_file_is_refused(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / "meta.json").write_text(text)
    with pytest.raises(BadDemonstrations, match=r"got none: run"):
        read_demonstrations(tmp_path)


def test_a_full_disk_leaves_no_half_written_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(DiskFull, match=r"no room on the disk"):
        write_demonstrations(tmp_path, "suite", [task()], {})
    assert list(tmp_path.iterdir()) == []
