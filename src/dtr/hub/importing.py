"""Verb `import`: official files -> a policy file of ours, with its processor, and the plan that its missing blocks amount to.

    keys -> our names -> blocks that are there -> skeleton without the others -> weights, still on the disk -> policy file

A weight is read when it is written, so the whole import holds no copy of the model in memory. Nothing is guessed: a role that does not
fit the keys, a block too few, a key too many, another normalisation are refused.
"""

from __future__ import annotations

import argparse
import dataclasses
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dtr.cost import text_length
from dtr.dropping.plan import resolve
from dtr.dropping.selection import brief
from dtr.errors import BadCheckpoint, BadConfig
from dtr.hub.fetch import RECORD, have_all, recorded
from dtr.hub.files import open_parts
from dtr.hub.kept import Blocks, blocks_in, renumbered, settle
from dtr.hub.manifest import Manifest, add_entry_arguments, matching, read_entry, read_manifest
from dtr.hub.processing import make_processor
from dtr.policies.base import Policy
from dtr.policies.checkpoint import KeyMap, Parts, check_tied, translate, wanted
from dtr.policies.file import fill, save_policy
from dtr.policies.flow_config import FlowPolicyConfig
from dtr.policies.processor import Processor
from dtr.policies.registry import beside, skeleton
from dtr.provenance import sha256_file, write_run_record


@dataclass(frozen=True)
class Imported:
    """A policy whose weights still lie in the official files, its processor, its plan (None: whole) and where it came from."""

    policy: Policy
    processor: Processor
    plan: Mapping[str, Any] | None
    provenance: Mapping[str, Any]


def import_policy(entry: Mapping[str, Any], folder: Path, data: Sequence[Path] = ()) -> Imported:
    """The policy of an entry of `policies`, from the official files in `folder`. `data`: demonstrations, for statistics of a base.

    BadConfig, BadCheckpoint or UnknownName in one sentence for whatever does not fit.
    """
    manifest = read_manifest(entry["class"], entry["hub"])
    key_map: KeyMap = beside(entry["class"], "_keys", "KEYS")
    config = entry.get("model") or released(entry["class"], manifest.horizon)
    whole = skeleton(entry["class"], config)
    processor = make_processor(entry, manifest, whole.config, folder, data)
    check_parts(manifest, key_map)
    parts = open_parts(folder, manifest.parts)
    check_tied(key_map, parts)
    policy, kept = load_weights(skeleton(entry["class"], config), key_map, parts, manifest)
    plan = plan_of(whole, kept, processor)
    provenance = {
        "stage": "import",
        "hub": {"id": manifest.source.id, "revision": manifest.source.revision, "role": manifest.role},
        "conventions": {"prompt": manifest.prompt, "normalisation": manifest.normalisation, "horizon": manifest.horizon},
        "fresh": dict(manifest.fresh),
        "files": hashes(manifest, folder),
    }
    return Imported(policy, processor, plan, provenance)


def released(name: str, horizon: int) -> Any:
    """The configuration of the released model; a flow policy's weights do not depend on its horizon, so it is the manifest's."""
    full = beside(name, "_config", "FULL_SIZE")
    return dataclasses.replace(full, chunk=horizon) if isinstance(full, FlowPolicyConfig) else full


def check_parts(manifest: Manifest, key_map: KeyMap) -> None:
    """BadConfig unless every part of the key map is published or, for a base, fresh."""
    have = {*manifest.parts, *manifest.fresh.get("parts", ())}
    if extra := sorted(have - set(key_map.parts)):
        raise BadConfig(f"{manifest.source.id}: the model has no part {extra[0]!r}, only {', '.join(key_map.parts)}: correct the manifest.")
    if missing := sorted(set(key_map.parts) - have):
        remedy = "name its files, or list it in `fresh`: it is then initialised here, and recovery has to train it"
        raise BadConfig(
            f"{manifest.source.id} is of role {manifest.role} and its manifest has no {missing[0]}: "
            f"{remedy if manifest.role == 'base' else 'name its files'}."
        )


def load_weights(policy: Policy, key_map: KeyMap, parts: Parts, manifest: Manifest) -> tuple[Policy, Blocks]:
    """The skeleton `policy` without the blocks that the files lack, filled; and the blocks that are left. Raises BadCheckpoint."""
    found, fresh = translate(key_map, parts), set(manifest.fresh.get("parts", ()))
    new = {name for name in policy.state_dict() if key_map.official(name)[0] in fresh}
    numbered = blocks_in([*found, *new], policy)
    check_role(manifest, policy, numbered)
    kept = settle(numbered, policy, manifest.kept)
    moved = renumbered(found, policy, numbered, kept)
    policy.drop({name: set(stack.kept) - set(kept[name]) for name, stack in policy.stacks().items()})
    places = wanted(policy, {moved[name]: where for name, where in found.items()})
    tensors = {name: parts[part][key] for name, (part, key) in places.items()}
    if new:
        tensors |= drawn(policy, new, manifest.fresh["seed"], common_dtype(tensors))
    fill(policy, tensors, manifest.source.id)
    return policy.eval(), kept


def check_role(manifest: Manifest, policy: Policy, found: Blocks) -> None:
    """BadCheckpoint when the blocks that are there are not those of the role."""
    gone = {name: tuple(sorted(set(stack.kept) - set(found[name]))) for name, stack in policy.stacks().items()}
    missing = next(((name, blocks) for name, blocks in gone.items() if blocks), None)
    if manifest.role == "authors_recovered":
        if missing is None and not manifest.kept:
            raise BadCheckpoint(
                f"{manifest.source.id} lacks no block, so it is not authors_recovered: say finetuned, or `kept` with all blocks."
            )
    elif missing is not None:
        raise BadCheckpoint(
            f"{manifest.source.id} is of role {manifest.role} but lacks blocks {brief(missing[1])} of {missing[0]}: "
            "fetch all its files, or say authors_recovered."
        )


def drawn(policy: Policy, names: set[str], seed: int, dtype: torch.dtype) -> dict[str, Tensor]:
    """Initial weights of `names`, as a policy built from `seed` has them; the rest of the skeleton stays on `meta`."""
    empty = {name: torch.empty(t.shape) for name, t in policy.state_dict().items() if name in names}
    policy.load_state_dict(empty, strict=False, assign=True)
    policy.reset_parameters(seed)
    return {name: t.detach().to(dtype) for name, t in policy.state_dict().items() if name in names}


def common_dtype(tensors: Mapping[str, Tensor]) -> torch.dtype:
    """The type that most numbers have."""
    numbers: Counter[torch.dtype] = Counter()
    for tensor in tensors.values():
        numbers[tensor.dtype] += tensor.numel()
    return numbers.most_common(1)[0][0] if numbers else torch.float32


def plan_of(whole: Policy, kept: Blocks, processor: Processor) -> Mapping[str, Any] | None:
    """The plan that leaves these blocks, as `dtr drop` would have written it; None when nothing is missing."""
    cut = "+".join(f"{name}-keep-{'_'.join(map(str, kept[name]))}" for name, stack in whole.stacks().items() if kept[name] != stack.kept)
    return resolve(cut, whole, {}, text_length(processor)).to_json() if cut else None


def hashes(manifest: Manifest, folder: Path) -> dict[str, str]:
    """SHA-256 of every file that the weights and statistics come from."""
    known = recorded(folder)
    names = known or [str(path.relative_to(folder)) for path in sorted(folder.rglob("*")) if path.is_file()]
    patterns = [*(p for some in manifest.parts.values() for p in some), *filter(None, [manifest.statistics.get("file")])]
    used = sorted({name for pattern in patterns for name in matching(names, pattern)})
    return {name: known[name]["sha256"] if name in known else sha256_file(folder / name) for name in used}


def files_of(manifest: Manifest, store: Path) -> Path:
    """The folder that `dtr fetch` filled. BadCheckpoint when it did not, or not to the end."""
    folder = manifest.source.folder(store)
    if not (folder / RECORD).exists() or not have_all(folder, recorded(folder)):
        raise BadCheckpoint(f"expected the files of {manifest.source.id} in {folder}: run `dtr fetch` with the same arguments first.")
    return folder


def add_parser(verbs: Any) -> None:
    """Declare `dtr import`."""
    p = verbs.add_parser("import", help="make a policy file of published weights")
    add_entry_arguments(p)
    p.add_argument("--files", type=Path, help="take the official files from this folder instead, whatever revision they are")
    p.add_argument("--data", type=Path, nargs="+", default=[], help="LeRobot data sets, for a base whose statistics are measured on them")
    p.add_argument("--out", type=Path, required=True, help="policy file")
    p.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """The verb."""
    started, entry = time.time(), read_entry(args.config, args.name)
    if "class" not in entry or "hub" not in entry:
        raise BadConfig("dtr import expects an entry of `policies` with `hub`: name one that is published.")
    manifest = read_manifest(entry["class"], entry["hub"])
    imported = import_policy(entry, args.files or files_of(manifest, args.store), args.data)
    save_policy(args.out, imported.policy, imported.processor, imported.provenance, imported.plan)
    write_run_record(args.out, started)
    left = f"; kept {imported.plan['cut']}" if imported.plan else ""
    new = f"; {' and '.join(manifest.fresh['parts'])} freshly initialised from seed {manifest.fresh['seed']}" if manifest.fresh else ""
    print(f"{args.out}: {manifest.role} {manifest.source.id}, {imported.policy.parameter_count:,} parameters{left}{new}")
