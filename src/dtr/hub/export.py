"""Verb `export`: a policy file -> files under upstream's names, one a part, from which `dtr import` gives the same weights back.

model.safetensors, or model-00001-of-00003.safetensors ... with model.safetensors.index.json
<part>.pt                     parts that upstream keeps apart, with the prefix that upstream gives their keys
dataset_statistics.json       normalisation under the key `exported`
entry.json                    what `dtr import --config` wants: class, model, processor, hub
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dtr.dropping.selection import brief
from dtr.errors import BadCheckpoint
from dtr.hub.kept import renumbered
from dtr.hub.processing import chosen_fields, conventions
from dtr.hub.statistics import write_statistics
from dtr.policies.base import Policy
from dtr.policies.checkpoint import KeyMap
from dtr.policies.file import LoadedPolicy, load_policy, shards_of, write_tensors
from dtr.policies.flow_policy import FlowPolicy
from dtr.policies.parts import PARTS
from dtr.policies.registry import beside
from dtr.provenance import atomic_path, write_json

SHARD_BYTES = 5 * 10**9
"""What transformers shards by."""
STATISTICS = "dataset_statistics.json"


def export_policy(loaded: LoadedPolicy, folder: Path, consecutive: bool = False, shard_bytes: int = SHARD_BYTES) -> dict[str, Any]:
    """Write the files of the module's text and return entry.json.

    `consecutive`: number the blocks that are left from 0 on, as upstream's own classes must have them; else by original index.
    BadCheckpoint for a policy that upstream's files cannot say.
    """
    policy = loaded.policy
    check_whole_blocks(policy)
    key_map: KeyMap = beside(policy.name, "_keys", "KEYS")
    files = {}
    for part, tensors in official(policy, key_map, consecutive).items():
        files[part] = write_part(folder / key_map.parts[part].file, tensors, shard_bytes)
    write_json(folder / STATISTICS, write_statistics(loaded.processor, "exported"))
    entry = entry_of(loaded, files)
    write_json(folder / "entry.json", entry)
    return entry


def check_whole_blocks(policy: Policy) -> None:
    """BadCheckpoint when a block lost its attention or its MLP alone: upstream's classes build whole blocks only."""
    for name, stack in policy.stacks().items():
        for part in PARTS:
            if stack.parted and (lost := tuple(i for i in stack.kept if i not in stack.having(part))):
                blocks = f"blocks {brief(lost)} of {name} lost their {part}"
                raise BadCheckpoint(f"upstream's files hold whole blocks only, but {blocks}: export a policy that was dropped by blocks.")


def official(policy: Policy, key_map: KeyMap, consecutive: bool) -> dict[str, dict[str, Tensor]]:
    """Part -> official key -> tensor, where it lies."""
    kept = {name: stack.kept for name, stack in policy.stacks().items()}
    if consecutive and isinstance(policy, FlowPolicy) and kept["language"] != kept["action"]:
        raise BadCheckpoint(
            f"layer i of {policy.name}'s action expert attends to layer i of its language model, so numbering anew what is left of each "
            "pairs other layers: export it without --consecutive."
        )
    numbers = {name: tuple(range(len(blocks))) for name, blocks in kept.items()} if consecutive else kept
    state = policy.state_dict()
    parts: dict[str, dict[str, Tensor]] = {part: {} for part in key_map.parts}
    for name, moved in renumbered(state, policy, kept, numbers).items():
        part, key = key_map.official(moved)
        parts[part][key] = state[name]
        parts[part] |= {alias: state[name].clone() for alias in key_map.aliases(part, key)}
    return parts


def write_part(path: Path, tensors: Mapping[str, Tensor], shard_bytes: int) -> list[str]:
    """Write one part, in shards when it is large: the names of its files."""
    whole = {key: t.detach().contiguous() for key, t in sorted(tensors.items())}
    if path.suffix == ".pt":
        with atomic_path(path) as temporary:
            torch.save({key: t.clone() for key, t in whole.items()}, temporary)  # a view would drag its whole file along
        return [path.name]
    groups, names = shards_of(whole, shard_bytes), [path.name]
    places: dict[str, str] = {}
    if len(groups) > 1:
        names = [f"{path.stem}-{k:05d}-of-{len(groups):05d}.safetensors" for k in range(1, len(groups) + 1)]
    for name, group in zip(names, groups, strict=True):
        with atomic_path(path.with_name(name)) as temporary:
            write_tensors(temporary, group, {"format": "pt"})
        places |= dict.fromkeys(group, name)
    if len(groups) > 1:
        index = path.with_name(f"{path.name}.index.json")
        write_json(index, {"metadata": {"total_size": sum(t.nbytes for t in whole.values())}, "weight_map": places})
        names.append(index.name)
    return names


def entry_of(loaded: LoadedPolicy, files: Mapping[str, list[str]]) -> dict[str, Any]:
    """The entry of `policies` that imports the exported files."""
    config, kept = whole_config(loaded.policy), {name: list(stack.kept) for name, stack in loaded.policy.stacks().items()}
    dropped = any(len(blocks) < stack.depth for blocks, stack in zip(kept.values(), loaded.policy.stacks().values(), strict=True))
    words = loaded.processor.tokenizer.to_dict()
    hub: dict[str, Any] = {
        "id": "local/exported",
        "revision": None,
        "role": "authors_recovered" if dropped else "finetuned",
        "parts": dict(files),
        "files": [STATISTICS],
        **conventions(loaded.policy.name, loaded.processor),
        "horizon": loaded.processor.chunk,
        "statistics": {"file": STATISTICS, "key": "exported"},
        "tokenizer": words if words["kind"] == "words" else {"id": words["source"], "revision": words["revision"]},
    } | ({"kept": kept} if dropped else {})
    return {"class": loaded.policy.name, "model": config, "processor": chosen_fields(loaded.processor), "hub": hub}


def whole_config(policy: Policy) -> dict[str, Any]:
    """The policy's configuration with every block in it: which are left is said by `kept`."""

    def without(value: Any) -> Any:
        return {k: without(v) for k, v in value.items() if k != "kept"} if isinstance(value, dict) else value

    config: dict[str, Any] = without(policy.config.to_dict())
    return config


def add_parser(verbs: Any) -> None:
    """Declare `dtr export`."""
    p = verbs.add_parser("export", help="write a policy back under upstream's names and files")
    p.add_argument("--policy", type=Path, required=True, help="policy file")
    p.add_argument("--consecutive", action="store_true", help="number the blocks that are left from 0 on (default: by original index)")
    p.add_argument("--out", type=Path, required=True, help="folder")
    p.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """The verb."""
    loaded = load_policy(args.policy, mapped=True)
    entry = export_policy(loaded, args.out, args.consecutive)
    names = [name for some in entry["hub"]["parts"].values() for name in some]
    print(f"{args.out}: {', '.join(names)}; `dtr import --config {args.out / 'entry.json'} --files {args.out}` reads them")
