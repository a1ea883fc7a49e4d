"""Policy files: equal bytes, what is refused, shards."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from narrow_oft import batch, oft, processor
from safetensors.torch import load_file, save_file

from dtr.errors import BadCheckpoint
from dtr.policies.file import load_policy, read_header, save_policy


@pytest.fixture
def file(tmp_path: Path) -> Path:
    save_policy(tmp_path / "policy.safetensors", oft(), processor(), {"data": "abc"})
    return tmp_path / "policy.safetensors"


def test_round_trip_gives_equal_bytes_and_actions(file: Path, tmp_path: Path) -> None:
    loaded = load_policy(file)
    assert torch.equal(loaded.policy.act(batch()), oft().act(batch()))
    assert loaded.processor == processor()
    assert loaded.header["provenance"] == {"data": "abc"} and loaded.header["plan"] is None
    save_policy(tmp_path / "again.safetensors", loaded.policy, loaded.processor, {"data": "abc"})
    assert (tmp_path / "again.safetensors").read_bytes() == file.read_bytes()
    assert all(p.requires_grad for p in loaded.policy.parameters())


def test_a_dropped_policy_makes_a_smaller_file_that_needs_no_plan(file: Path, tmp_path: Path) -> None:
    policy = load_policy(file).policy
    policy.drop({"language": [0, 1], "vision.siglip": [3]})
    policy.narrow_head(range(8))
    save_policy(tmp_path / "small.safetensors", policy, processor(), {})
    assert (tmp_path / "small.safetensors").stat().st_size < 0.7 * file.stat().st_size
    again = load_policy(tmp_path / "small.safetensors").policy
    assert again.stacks()["language"].kept == (2,)
    assert torch.equal(again.act(batch()), policy.act(batch()))


def test_shards(tmp_path: Path) -> None:
    path = tmp_path / "big.safetensors"
    save_policy(path, oft(), processor(), {}, shard_bytes=40_000)
    shards = sorted(p.name for p in tmp_path.iterdir() if p != path)
    assert len(shards) >= 2 and shards[0].startswith("big-00002-of-")
    assert torch.equal(load_policy(path).policy.act(batch()), oft().act(batch()))
    (tmp_path / shards[0]).unlink()
    with pytest.raises(BadCheckpoint, match="missing or not the one"):
        load_policy(path)


def truncate(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-1000])


def foreign(file: Path) -> None:
    save_file({"x": torch.ones(2)}, file)


def text(file: Path) -> None:
    file.write_text("not a checkpoint")


def edit(file: Path, change: Callable[[dict[str, torch.Tensor]], None]) -> None:
    header = read_header(file)
    tensors = {name: t.clone() for name, t in load_file(file).items()}
    change(tensors)
    save_file(tensors, file, metadata={"dtr": json.dumps(header)})


def wrong_shape(file: Path) -> None:
    edit(file, lambda t: t.update({"projector.fc.0.bias": torch.ones(3)}))


def missing(file: Path) -> None:
    edit(file, lambda t: t.__delitem__("projector.fc.0.bias"))


def surplus(file: Path) -> None:
    edit(file, lambda t: t.update({"language.stack.blocks.9.q.weight": torch.ones(3)}))


def newer(file: Path) -> None:
    save_file(load_file(file), file, metadata={"dtr": json.dumps(read_header(file) | {"format": 99})})


def unknown_policy(file: Path) -> None:
    save_file(load_file(file), file, metadata={"dtr": json.dumps(read_header(file) | {"policy": "rt2"})})


def without(key: str) -> Callable[[Path], None]:
    def spoil(file: Path) -> None:
        header = {name: value for name, value in read_header(file).items() if name != key}
        save_file(load_file(file), file, metadata={"dtr": json.dumps(header)})

    return spoil


@pytest.mark.parametrize("key", ["shards", "provenance", "processor", "config", "policy"])
def test_a_header_that_lacks_something_names_it(key: str, file: Path) -> None:
    without(key)(file)
    with pytest.raises(BadCheckpoint, match=f"the header of .* lacks {key}: fetch or make the file again"):
        load_policy(file)


@pytest.mark.parametrize("spoil", [truncate, foreign, text, wrong_shape, missing, surplus, newer, unknown_policy, Path.unlink])
def test_a_bad_file_is_one_sentence(spoil: Callable[[Path], None], file: Path) -> None:
    spoil(file)
    with pytest.raises(BadCheckpoint) as error:
        load_policy(file)
    message = str(error.value)
    assert "\n" not in message and ":" in message and file.name in message


def test_equal_policies_give_equal_bytes_whatever_the_order_of_provenance(tmp_path: Path) -> None:
    for name, provenance in (("a", {"x": 1, "y": 2}), ("b", {"y": 2, "x": 1})):
        save_policy(tmp_path / name, oft(), processor(), provenance)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
