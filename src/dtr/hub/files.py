"""Official weight files as tensors that stay on the disk: safetensors, whole or in shards with an index, and torch's `.pt`.

Nothing is read before it is used: the tensors are views of memory-mapped files, so a 7 B checkpoint takes no memory until it is written.
"""

from __future__ import annotations

import json
import pickle
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from dtr.errors import BadCheckpoint
from dtr.hub.manifest import matching
from dtr.provenance import read_json

INDEX = ".index.json"
SHARD = re.compile(r"(.+)-(\d{5})-of-(\d{5})\.safetensors")


def open_parts(folder: Path, parts: Mapping[str, Sequence[str]]) -> dict[str, dict[str, Tensor]]:
    """Part -> official key -> tensor, from the files of `folder` that the patterns of each part name. BadCheckpoint says what is wrong."""
    names = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    opened = {}
    for part, patterns in parts.items():
        found = sorted({name for pattern in patterns for name in matching(names, pattern)})
        if not found:
            raise BadCheckpoint(f"{folder} has no file {' or '.join(patterns)} for {part}: fetch it with `dtr fetch`, or correct its name.")
        opened[part] = open_part([folder / name for name in found])
    return opened


def open_part(paths: Sequence[Path]) -> dict[str, Tensor]:
    """Official key -> tensor of one part. BadCheckpoint when a file is truncated, a shard is missing, or a key is there twice."""
    indices = [path for path in paths if path.name.endswith(INDEX)]
    tensors: dict[str, Tensor] = {}
    homes: dict[str, str] = {}
    for path in (path for path in paths if path not in indices):
        for key, tensor in open_file(path).items():
            if key in tensors:
                raise BadCheckpoint(f"{key!r} is in {homes[key]} and in {path.name}: give each weight once.")
            tensors[key], homes[key] = tensor, path.name
    for index in indices:
        check_index(index, homes)
    check_shards(paths)
    return tensors


def check_index(index: Path, homes: Mapping[str, str]) -> None:
    """BadCheckpoint unless the index of a sharded checkpoint and its shards (key -> file) agree."""
    try:
        promised: dict[str, str] = dict(read_json(index)["weight_map"])
    except (ValueError, KeyError, TypeError) as error:
        raise BadCheckpoint(f"{index} is no index of shards ({error}): fetch it again.") from error
    for key in sorted(promised.keys() | homes.keys()):
        if promised.get(key) != homes.get(key):
            want, have = promised.get(key, "no shard"), homes.get(key, "none of those here")
            raise BadCheckpoint(f"{index.name} has {key!r} in {want}, it is in {have}: fetch the missing shard, or the index again.")


def check_shards(paths: Sequence[Path]) -> None:
    """BadCheckpoint when one of `x-00001-of-00003.safetensors` and its like is missing."""
    for match in (match for path in paths if (match := SHARD.fullmatch(path.name))):
        stem, _, total = match.groups()
        there = {path.name for path in paths}
        missing = [name for k in range(1, int(total) + 1) if (name := f"{stem}-{k:05d}-of-{total}.safetensors") not in there]
        if missing:
            raise BadCheckpoint(f"shard {missing[0]} is missing: fetch it with `dtr fetch`.")


def open_file(path: Path) -> dict[str, Tensor]:
    """Official key -> tensor of one file."""
    try:
        if path.suffix == ".safetensors":
            with safe_open(path, "pt") as file:
                return {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (not a dict)
        values = torch.load(path, map_location="cpu", mmap=True, weights_only=True)
    except (SafetensorError, OSError, RuntimeError, EOFError, pickle.UnpicklingError, json.JSONDecodeError) as error:
        reason = str(error).split("\n", 1)[0][:160]
        raise BadCheckpoint(f"{path} is truncated or no file of weights ({reason}): fetch it again.") from error
    if not isinstance(values, Mapping) or not all(isinstance(value, Tensor) for value in values.values()):
        raise BadCheckpoint(f"{path} must hold tensors by name and nothing else: extract the model's state_dict into a file of its own.")
    return {str(key): value for key, value in values.items()}
