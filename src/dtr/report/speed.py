"""Numbers of a table that are no rates: what recovery took, and how fast and how large the policy is beside the undropped one.

batch, steps      of recovery, from the policy file's header
action_speedup    time of one chunk of actions, undropped / this one; both measured in one run on one machine (dtr latency)
step_ratio        mean control steps of an episode, this one / baseline; a failure counts with all steps that it was given
task_speedup      action_speedup / step_ratio                                                                      (paper, Table 5)
memory_gib        most memory of a GPU in use; on a CPU the weights and the tensors that are alive at a time
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dtr.errors import BadConfig, BadRecord
from dtr.provenance import read_json, sha256_file
from dtr.report.outcomes import machine_of, read_run, telling
from dtr.rollout.episode import read_episodes
from dtr.rollout.protocol import Protocol

NEEDS = {
    "batch": ("policy",),
    "steps": ("policy",),
    "action_speedup": ("latency",),
    "memory_gib": ("latency",),
    "step_ratio": ("episodes", "baseline", "protocol"),
    "task_speedup": ("episodes", "baseline", "protocol", "latency"),
}
"""Column -> the arguments of `dtr cell` that it is computed from."""
MEASURED = tuple(NEEDS)


def measured_cell(args: argparse.Namespace) -> dict[str, Any]:
    """The part of a cell that one of these columns is. Raises BadConfig without its arguments, BadRecord for what does not read."""
    lacking = [name for name in NEEDS[args.column] if not getattr(args, name)]
    if lacking:
        raise BadConfig(f"the column {args.column} needs --{' and --'.join(lacking)}.")
    value, files = 1.0, []
    if args.column in ("batch", "steps"):
        value, files = of_recovery(args.policy, args.column), [("policy", args.policy)]
    if args.column == "memory_gib":
        value, files = memory_gib(last(read_latency(args.latency))), [("latency", args.latency)]
    if args.column in ("action_speedup", "task_speedup"):
        value, files = last(read_latency(args.latency))["speedup"], [("latency", args.latency)]
    machines = [read_latency(args.latency)["machine"]] if args.latency else []
    if args.column in ("step_ratio", "task_speedup"):
        ratio = step_ratio(args.episodes, args.baseline, Protocol.read(args.protocol))
        value = ratio if args.column == "step_ratio" else value / ratio
        files += [("episodes", path) for path in args.episodes]
        files += [("baseline", path) for path in args.baseline if path not in args.episodes]
        machines += [machine for path in args.episodes if (machine := machine_of(path))]
    kept = [telling(machine) for machine in machines]
    ancestry = [{"role": role, "path": str(path), "sha256": sha256_file(path)} for role, path in files]
    return {
        "quantity": args.column,
        "value": value,
        "ancestry": ancestry,
        "machines": [machine for i, machine in enumerate(kept) if machine not in kept[:i]],
    }


def of_recovery(path: Path, field: str) -> float:
    """`batch` or `steps` of the recipe that a policy was recovered by."""
    from dtr.policies.file import read_header

    recipe = (read_header(path).get("provenance") or {}).get("recipe")
    if recipe is None:
        raise BadRecord(f"{path} was not recovered by a recipe, so it has no {field}: leave the column out of this table.")
    return float(recipe[field])


def step_ratio(episodes: Sequence[Path], baseline: Sequence[Path], protocol: Protocol) -> float:
    """Mean steps of the arm's episodes over those of the baseline's, both whole and under one protocol."""
    return mean_steps(episodes, protocol) / mean_steps(baseline, protocol)


def mean_steps(paths: Sequence[Path], protocol: Protocol) -> float:
    """Mean control steps of all episodes; `read_run` refuses errors and gaps."""
    for path in paths:
        read_run(path, protocol)
    steps = [episode.steps for path in paths for episode in read_episodes(path)]
    return sum(steps) / len(steps)


def read_latency(path: Path) -> dict[str, Any]:
    """A record of `dtr latency`."""
    try:
        record = dict(read_json(path))
        _ = [row["speedup"] for row in record["cuts"].values()], record["machine"]
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise BadRecord(
            f"expected measured times at {path}, but they cannot be read ({error!r}); write them with `dtr latency`."
        ) from error
    return record


def last(record: Mapping[str, Any]) -> Mapping[str, Any]:
    """The policy that a record was made for: the undropped one stands beside it, and alone only where it is the one."""
    label = next((label for label in record["cuts"] if label != "none"), "none")
    row: Mapping[str, Any] = record["cuts"][label]
    return row


def memory_gib(row: Mapping[str, Any]) -> float:
    """What was in use at most; in a record without it (a CPU's, of an older version) the weights."""
    return float(row["peak_gib"] if row["peak_gib"] is not None else row["weights_gib"])
