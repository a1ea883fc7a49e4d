"""The numbers that a checkpoint's actions and state were normalised by: from upstream's own file, or measured on demonstrations.

    {data set: {action, proprio}}                 OpenVLA's dataset_statistics.json, and ours      `key`: the data set
    {"norm_stats": {state, actions}}              openpi's norm_stats.json; GigaBrain's and LingBot's, of other names
    {observation.state, action}                   lerobot's meta/stats.json
    observation.state.q01, action.q01, ...        the safetensors file of a lerobot policy's normaliser

Actions of the environment lie in [-1, 1] (`dtr.policies.processor`), so statistics that leave it are of something else: lingbot-vla's
libero.json holds those of action minus state.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from dtr.data.lerobot import NAMES, layout_of
from dtr.errors import BadCheckpoint, BadConfig, BadDemonstrations, unknown
from dtr.policies.bounds import Statistics
from dtr.policies.processor import Processor
from dtr.provenance import read_json
from dtr.recovery.batches import statistics

FEATURES = {"action": ("action", "actions"), "state": ("proprio", "observation.state", "state")}
"""What is normalised -> its names in the files above."""
Pair = tuple[Statistics, Statistics]
"""Of actions and of the state."""
TOLERANCE = 1e-3


def read_statistics_file(path: Path, key: str | None, kind: type[Statistics], sizes: tuple[int, int]) -> Pair:
    """Statistics of this kind of so many action and state numbers. BadCheckpoint or UnknownName when the file does not hold them."""
    values = tables(path)
    if key is not None:
        if key not in values:
            raise unknown("data set", key, values, f"{path} has the statistics of others.")
        values = values[key]
    values = values.get("norm_stats", values) if isinstance(values, Mapping) else {}
    actions, state = (of_table(values, what, kind, path, size) for what, size in zip(FEATURES, sizes, strict=True))
    check_range(actions, path)
    return actions, state


def tables(path: Path) -> dict[str, Any]:
    """What a file of statistics holds. BadCheckpoint when it does not read."""
    try:
        if path.suffix != ".safetensors":
            return dict(read_json(path))
        found: dict[str, dict[str, Any]] = {}
        with safe_open(path, "np") as file:
            for name in file.keys():  # noqa: SIM118 (not a dict)
                feature, _, number = name.rpartition(".")
                found.setdefault(feature, {})[number] = file.get_tensor(name).ravel().tolist()
        return dict(found)
    except (OSError, ValueError, TypeError, SafetensorError) as error:
        raise BadCheckpoint(f"expected statistics in {path} ({error}): fetch them, or name their file.") from error


def of_table(values: Mapping[str, Any], what: str, kind: type[Statistics], path: Path, size: int) -> Statistics:
    """Statistics of `what` with `size` numbers; upstream may have padded them with dimensions that never move."""
    a, b = kind.numbers
    try:
        numbers = next(values[name] for name in FEATURES[what] if name in values)
        found = kind(tuple(numbers[a]), tuple(numbers[b]), tuple(numbers.get("mask", [True] * len(numbers[a]))))
    except (StopIteration, KeyError, TypeError, AttributeError) as error:
        missing = f"no {what}" if isinstance(error, StopIteration) else str(error)
        raise BadCheckpoint(
            f"{path} gives no {a} and {b} of {what} ({missing}): it is normalised in another way, or is another file."
        ) from error
    if not found.finite:
        raise BadCheckpoint(f"the statistics of {what} in {path} must be finite, got {found}: fetch the file again.")
    if len(found.mask) > size and not any(spread(found)[size:]):
        found = found.first(size)
    if len(found.mask) != size:
        raise BadCheckpoint(f"the statistics have {len(found.mask)} {what} numbers, the model {size}: name the right data set's.")
    return found


def spread(numbers: Statistics) -> NDArray[np.float64]:
    """(D,) q99 - q01, or the standard deviation."""
    a, b = (np.array(getattr(numbers, name)) for name in numbers.numbers)
    return b - a if numbers.kind == "q99" else b


def check_range(actions: Statistics, path: Path) -> None:
    """BadCheckpoint when these cannot be actions of the environment."""
    outside = [max(map(abs, getattr(actions, name))) for name in actions.numbers]
    if max(outside) > 1 + TOLERANCE:
        raise BadCheckpoint(
            f"{path} has statistics of actions up to {max(outside):.3g}, but actions lie in [-1, 1]: they are of another quantity "
            "(lingbot-vla's libero.json: action minus state); measure them on demonstrations (`statistics: {data: ...}`)."
        )


def measured(folders: Sequence[Path], kind: type[Statistics]) -> Pair:
    """Of all frames of LeRobot data sets, pictures unread. The gripper's command stays as it is."""
    if not folders:
        raise BadConfig("the manifest measures its statistics on demonstrations: name them with --data.")
    columns = [numbers(folder) for folder in folders]
    actions, state = (np.concatenate([pair[k] for pair in columns]) for k in (0, 1))
    return statistics(actions, state, kind)


def numbers(folder: Path) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Actions (N, A) and state (N, S) of a LeRobot data set, v3 or v2.1. BadDemonstrations when they are not there."""
    layout = layout_of(folder)
    features = layout.info["features"]
    try:
        names = [next(name for name in NAMES[role] if name in features) for role in ("actions", "state")]
        tables = [pq.read_table(path, columns=names) for path in layout.data_files()]
        table = pa.concat_tables(tables)
        found = [np.asarray(table[name].combine_chunks().flatten(), np.float32).reshape(len(table), -1) for name in names]
    except (OSError, StopIteration, ValueError, pa.ArrowException) as error:
        raise BadDemonstrations(f"{folder} has no readable actions and states ({error}): fetch it again.") from error
    return found[0], found[1]


def write_statistics(processor: Processor, key: str) -> dict[str, Any]:
    """The value of a `dataset_statistics.json` with the processor's statistics under `key`."""
    return {key: {"action": processor.actions_bounds.to_dict(), "proprio": processor.proprio_bounds.to_dict()}}
