"""The processor of a published checkpoint: its tokenizer, prompt and normalisation, from the manifest and the files beside the weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from dtr.data.lerobot import NAMES, read_info
from dtr.errors import BadCheckpoint, BadConfig, BadDemonstrations, unknown
from dtr.hub.manifest import Manifest
from dtr.policies.bounds import Bounds
from dtr.policies.openvla_oft_processor import OpenVLAProcessor
from dtr.policies.processor import Processor
from dtr.policies.tokenizer import PretrainedTokenizer, Tokenizer, read_tokenizer
from dtr.provenance import read_json
from dtr.recovery.batches import bounds

LEROBOT_KINDS = {"QUANTILES": "q99", "MEAN_STD": "meanstd"}
DERIVED = ("tokenizer", "actions_bounds", "proprio_bounds", "image_size", "chunk", "action_dim")
"""Fields of the processor that follow from something else; an entry's `processor` may give the others."""


def make_processor(entry: Mapping[str, Any], manifest: Manifest, config: Any, folder: Path, data: Sequence[Path]) -> Processor:
    """The processor of an entry of `policies`; `folder`: its files, `data`: demonstrations, for a base. BadConfig or BadCheckpoint."""
    if entry["class"] != "openvla_oft":
        raise BadConfig(f"no processor is written for {entry['class']} yet: its weights can be read, a policy file cannot be made.")
    if manifest.horizon != config.chunk:
        raise BadConfig(f"the manifest says a horizon of {manifest.horizon}, the model has {config.chunk}: correct one of them.")
    check_stated(manifest, folder)
    actions, proprio = measured(data) if "data" in manifest.statistics else read_statistics(manifest, folder)
    for what, found, wanted in (("action", actions, config.action_dim), ("state", proprio, config.proprio_dim)):
        if len(found.mask) != wanted:
            raise BadCheckpoint(f"the statistics have {len(found.mask)} {what} numbers, the model {wanted}: name the right data set's.")
    chosen: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in entry.get("processor", {}).items()
    }
    if wrong := sorted(set(chosen) & set(DERIVED)):
        raise BadConfig(f"processor.{wrong[0]} follows from the model or the checkpoint: leave it away.")
    try:
        return OpenVLAProcessor(tokenizer(manifest), actions, proprio, config.image_size, config.chunk, config.action_dim, **chosen)
    except TypeError as error:
        raise BadConfig(f"`processor` has a field that the processor has not ({error}): correct the configuration.") from error


def tokenizer(manifest: Manifest) -> Tokenizer:
    """The manifest's tokenizer, by default the checkpoint's own."""
    if "kind" in manifest.tokenizer:
        return read_tokenizer(manifest.tokenizer)
    source = manifest.sources[-1]
    return PretrainedTokenizer(source.id, source.pinned())


def read_statistics(manifest: Manifest, folder: Path) -> tuple[Bounds, Bounds]:
    """Bounds of actions and state from a `dataset_statistics.json`. BadCheckpoint when they are not there or not finite."""
    path, key = folder / manifest.statistics["file"], manifest.statistics["key"]
    try:
        values = read_json(path)
    except (OSError, ValueError) as error:
        raise BadCheckpoint(f"expected statistics in {path} ({error}): fetch them, or name their file.") from error
    if key not in values:
        raise unknown("data set", key, values, f"{path} has the statistics of others.")
    return _bounds(values[key], "action", path), _bounds(values[key], "proprio", path)


def _bounds(values: Mapping[str, Any], what: str, path: Path) -> Bounds:
    try:
        numbers = values[what]
        found = Bounds(tuple(numbers["q01"]), tuple(numbers["q99"]), tuple(numbers.get("mask", [True] * len(numbers["q01"]))))
    except (KeyError, TypeError) as error:
        raise BadCheckpoint(
            f"{path} gives no q01 and q99 of {what} ({error}): it is normalised in another way, or is another file."
        ) from error
    if not np.isfinite([*found.q01, *found.q99]).all():
        raise BadCheckpoint(f"the statistics of {what} in {path} must be finite, got {found}: fetch the file again.")
    return found


def write_statistics(processor: Processor, key: str) -> dict[str, Any]:
    """The value of a `dataset_statistics.json` with the processor's bounds under `key`."""
    return {key: {"action": processor.actions_bounds.to_dict(), "proprio": processor.proprio_bounds.to_dict()}}


def check_stated(manifest: Manifest, folder: Path) -> None:
    """BadConfig when the checkpoint's own config.json states another normalisation than the manifest (lerobot's policies state it)."""
    path = folder / "config.json"
    mapping = read_json(path).get("normalization_mapping", {}) if path.exists() else {}
    for what in ("ACTION", "STATE"):
        stated = LEROBOT_KINDS.get(mapping.get(what, ""), manifest.normalisation)
        if stated != manifest.normalisation:
            raise BadConfig(
                f"{path} states {mapping[what]} for {what}, which is {stated}, the manifest says {manifest.normalisation}: correct it."
            )


def measured(folders: Sequence[Path]) -> tuple[Bounds, Bounds]:
    """Bounds of actions and state over all frames of LeRobot data sets, pictures unread. The gripper's command stays as it is."""
    if not folders:
        raise BadConfig("the manifest measures its statistics on demonstrations: name them with --data.")
    columns = [numbers(folder) for folder in folders]
    actions, state = (bounds(np.concatenate([pair[k] for pair in columns])) for k in (0, 1))
    return Bounds(actions.q01, actions.q99, (*actions.mask[:-1], False)), state


def numbers(folder: Path) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Actions (N, A) and state (N, S) of a LeRobot v3 data set. BadDemonstrations when they are not there."""
    features = read_info(folder)["features"]
    try:
        names = [next(name for name in NAMES[role] if name in features) for role in ("actions", "state")]
        tables = [pq.read_table(path, columns=names) for path in sorted(folder.glob("data/chunk-*/file-*.parquet"))]
        table = pa.concat_tables(tables)
        found = [np.asarray(table[name].combine_chunks().flatten(), np.float32).reshape(len(table), -1) for name in names]
    except (OSError, StopIteration, ValueError, pa.ArrowException) as error:
        raise BadDemonstrations(f"{folder} has no readable actions and states ({error}): fetch it again.") from error
    return found[0], found[1]
