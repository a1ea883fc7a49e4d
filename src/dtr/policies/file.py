"""Policy files: one safetensors file that describes itself, in shards above a size.

Header metadata: {"dtr": canonical JSON of {format, policy, config, processor, plan, provenance, shards}}. Tensors bear our own names with
the original block indices. Nothing in a file depends on when or where it was written: equal inputs give equal bytes.
Shards: `path` holds the header and the first tensors; `<stem>-00002-of-00003.safetensors` and so on lie beside it and are named, with
their SHA-256, in the header.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from dtr.errors import BadCheckpoint, DtrError, PlanMismatch
from dtr.policies.base import Policy
from dtr.policies.processor import Processor, read_processor
from dtr.policies.registry import skeleton
from dtr.provenance import atomic_path, canonical_json, digest, sha256_file

FORMAT = 1
SHARD_BYTES = 10 * 2**30
REQUIRED = {"policy": str, "config": dict, "processor": dict, "provenance": dict, "shards": dict}
"""What every header holds, beside its format."""


@dataclass(frozen=True)
class LoadedPolicy:
    """A policy with its processor and the header of its file."""

    policy: Policy
    processor: Processor
    header: Mapping[str, Any]


def save_policy(
    path: str | Path,
    policy: Policy,
    processor: Processor,
    provenance: Mapping[str, Any],
    plan: Mapping[str, Any] | None = None,
    shard_bytes: int = SHARD_BYTES,
    stored: str | None = None,
) -> None:
    """Write a policy, atomically. `provenance`: hashes of what it came from; `plan`: the plan it was dropped by, None when whole;
    `stored`: the type of its weights in the file, "bfloat16" say; None for the type that they have.
    """
    path, dtype = Path(path), getattr(torch, stored) if stored else None
    groups = shards_of({name: t.detach().to("cpu", dtype).contiguous() for name, t in sorted(policy.state_dict().items())}, shard_bytes)
    shards = {}
    for k, tensors in enumerate(groups[1:], start=2):
        shard = path.with_name(f"{path.stem}-{k:05d}-of-{len(groups):05d}.safetensors")
        with atomic_path(shard) as temporary:
            write_tensors(temporary, tensors)
        shards[shard.name] = sha256_file(shard)
    header = {
        "format": FORMAT,
        "policy": policy.name,
        "config": policy.config.to_dict(),
        "processor": processor.to_dict(),
        "plan": plan,
        "provenance": dict(provenance),
        "shards": shards,
    }
    with atomic_path(path) as temporary:
        write_tensors(temporary, groups[0], {"dtr": canonical_json(header)})


def write_tensors(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str] | None = None) -> None:
    """`save_file` of safetensors, whose words about the operating system become the OSError that they mean: a full disk, say."""
    try:
        save_file(tensors, path, metadata=metadata)
    except SafetensorError as error:
        number = re.search(r"\(os error (\d+)\)", str(error))
        if number is None:
            raise
        raise OSError(int(number[1]), str(error), str(path)) from error


def shards_of(tensors: dict[str, Tensor], limit: int) -> list[dict[str, Tensor]]:
    """The tensors in order, in groups of at most `limit` bytes (a larger tensor stands alone)."""
    groups: list[dict[str, Tensor]] = [{}]
    size = 0
    for name, tensor in tensors.items():
        if groups[-1] and size + tensor.nbytes > limit:
            groups.append({})
            size = 0
        groups[-1][name] = tensor
        size += tensor.nbytes
    return groups


def read_header(path: str | Path) -> dict[str, Any]:
    """What a policy file says of itself, without its weights.

    BadCheckpoint when it is none, truncated, or of a newer format; PlanMismatch when its plan leaves another policy than it holds.
    """
    try:
        with safe_open(path, "pt") as file:
            text = (file.metadata() or {}).get("dtr")
    except (SafetensorError, OSError) as error:
        raise _unreadable(path, error) from error
    if text is None:
        raise BadCheckpoint(f"{path} is a safetensors file but no policy of this project: import it first, or name the right file.")
    try:
        header: dict[str, Any] = json.loads(text)
        format_ = header["format"]
    except (ValueError, KeyError, TypeError) as error:
        raise BadCheckpoint(f"the header of {path} does not read ({error}): fetch or make the file again.") from error
    if format_ != FORMAT:
        raise BadCheckpoint(f"{path} has format {format_}, this version reads format {FORMAT}: use the version that wrote it.")
    if missing := [key for key in REQUIRED if not isinstance(header.get(key), REQUIRED[key])]:
        raise BadCheckpoint(f"the header of {path} lacks {', '.join(missing)}: fetch or make the file again.")
    plan, have = header.get("plan"), digest({"policy": header.get("policy"), "config": header.get("config")})
    if isinstance(plan, dict) and plan.get("digest") != have:
        raise PlanMismatch(f"{path} carries a plan that leaves {plan.get('digest')}, but its configuration is {have}; drop it again.")
    return header


def load_skeleton(path: str | Path) -> LoadedPolicy:
    """A policy from its file's header alone: its tensors are on the `meta` device, no weight is read. BadCheckpoint as `load_policy`."""
    header = read_header(path)
    try:
        policy, processor = skeleton(header["policy"], header["config"]), read_processor(header["processor"])
        processor.fits(policy.config)
        return LoadedPolicy(policy, processor, header)
    except (DtrError, KeyError, TypeError) as error:
        raise BadCheckpoint(f"the header of {path} describes no policy that this version knows ({error}): make the file again.") from error


def load_policy(path: str | Path, device: str | torch.device = "cpu", mapped: bool = False) -> LoadedPolicy:
    """A policy from its file. BadCheckpoint when the file is truncated, foreign, or contradicts its own configuration.

    Weights are float32, also where the file holds a shorter type. `mapped`: they stay on the disk as they are and are read where they
    are used, for those who only write them elsewhere.
    """
    path, empty = Path(path), load_skeleton(path)
    tensors = _tensors(path, mapped)
    for name, sha256 in empty.header["shards"].items():
        shard = path.with_name(name)
        if not shard.exists() or sha256_file(shard) != sha256:
            raise BadCheckpoint(f"shard {shard} is missing or not the one that {path.name} was written with: fetch both again.")
        tensors |= _tensors(shard, mapped)
    fill(empty.policy, tensors, str(path))
    return LoadedPolicy(empty.policy.to(device, None if mapped else torch.float32), empty.processor, empty.header)


def fill(policy: Policy, tensors: Mapping[str, Tensor], source: str) -> None:
    """Give a skeleton its weights; BadCheckpoint when a name is missing or left over or a shape differs."""
    wanted = {name: tuple(p.shape) for name, p in policy.state_dict().items()}
    for name in sorted(wanted.keys() | tensors.keys()):
        want, have = wanted.get(name), tuple(tensors[name].shape) if name in tensors else None
        if want != have:
            raise BadCheckpoint(f"{source}: {name} should be {want or 'absent'} and is {have or 'absent'}: name weights of this model.")
    frozen = {name for name, p in policy.named_parameters() if not p.requires_grad}
    policy.load_state_dict(dict(tensors), assign=True)
    for name, parameter in policy.named_parameters():
        parameter.requires_grad_(name not in frozen)


def _tensors(path: Path, mapped: bool) -> dict[str, Tensor]:
    """All tensors of a file; cloned, because memory-mapped ones may be unaligned, which selects other CPU kernels and other last bits."""
    try:
        with safe_open(path, "pt") as file:
            found = ((name, file.get_tensor(name)) for name in file.keys())  # noqa: SIM118 (not a dict)
            return {name: tensor if mapped else tensor.clone() for name, tensor in found}
    except (SafetensorError, OSError) as error:
        raise _unreadable(path, error) from error


def _unreadable(path: str | Path, error: Exception) -> BadCheckpoint:
    if not Path(path).exists():
        return BadCheckpoint(f"there is no policy file {path}: name one that exists, or make it first.")
    return BadCheckpoint(f"{path} is truncated or no safetensors file ({error}): fetch or make it again.")
