"""Score every block of a policy on a calibration set: the verb `score`.

    score(B) = mean over calibration samples of metric(B, x),   standard error = s / sqrt(n)

The frames are drawn without replacement by `seed`; every metric has the same signature and sees the same frames.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dtr.cost import config_digest
from dtr.data.dataset import Dataset
from dtr.data.pictures import add_data_arguments, read_data
from dtr.dropping.cut import METRICS
from dtr.dropping.drop import check_header
from dtr.dropping.scores import BlockScore, Score, write_score
from dtr.errors import BadConfig, BadDemonstrations, unknown
from dtr.importance.gateprobe import gateprobe
from dtr.importance.leave_one_out import loss_changes
from dtr.policies.base import Batch, Policy
from dtr.policies.device import probe
from dtr.policies.file import LoadedPolicy, load_policy
from dtr.policies.precision import lower
from dtr.policies.settings import PRECISIONS
from dtr.progress import Progress
from dtr.provenance import sha256_file, write_run_record
from dtr.records import validate
from dtr.recovery.batches import Batches, check

Metric = Callable[[Policy, Batch, Iterable[str] | None], Mapping[str, Tensor]]
"""(policy, batch of B samples, components or None) -> block name -> (B,) importance of the block for each sample."""

FUNCTIONS: Mapping[str, Metric] = {"gateprobe": gateprobe, "leave_one_out": loss_changes}


def calibration_rows(data: Dataset, samples: int, seed: int) -> NDArray[np.int64]:
    """The frames to score on: `samples` different rows of `data`, ascending. Raises BadDemonstrations when there are too few."""
    if samples < 2:
        raise BadConfig(f"expected at least 2 calibration samples (one has no standard error), got {samples}; ask for 64 or more.")
    if samples > len(data):
        raise BadDemonstrations(f"expected {samples} calibration frames, but the data has {len(data)}; record more or ask for fewer.")
    return np.sort(np.random.default_rng(seed).permutation(len(data))[:samples])


def score_blocks(
    policy: Policy, stream: Iterable[Batch], metric: str, samples: int, components: Iterable[str] | None = None
) -> dict[str, BlockScore]:
    """Mean and standard error of a metric over a stream of batches with `samples` samples in all. Raises UnknownName."""
    if metric not in FUNCTIONS:
        raise unknown("metric", metric, METRICS)
    components = None if components is None else list(components)
    collected: dict[str, list[Tensor]] = {}
    with Progress(f"score {metric}", samples, "sample") as progress:
        for batch in stream:
            for name, values in FUNCTIONS[metric](policy, batch, components).items():
                collected.setdefault(name, []).append(values)
            progress.update(len(batch["actions"]))
    dead = policy.dead
    return {name: block_score(torch.cat(parts), name in dead) for name, parts in collected.items()}


def block_score(values: Tensor, dead: bool) -> BlockScore:
    """Mean and standard error of (n,) samples, n > 1."""
    return BlockScore(values.mean().item(), values.std().item() / len(values) ** 0.5, dead)


def score(
    loaded: LoadedPolicy,
    data: Dataset,
    metric: str,
    samples: int,
    seed: int,
    names: Iterable[str],
    weights: str,
    batch: int = 8,
    precision: str | None = None,
) -> Score:
    """The score record of a policy. names: what the data sets are called; weights: SHA-256 of the policy's file."""
    policy, rows = lower(loaded.policy, precision), calibration_rows(data, samples, seed)
    check(data, loaded.processor, policy.config.images)
    source = Batches(data, loaded.processor)
    stream = (source.batch(rows[first : first + batch], policy.device) for first in range(0, samples, batch))
    blocks = score_blocks(policy, stream, metric, samples)
    return Score(metric, policy.name, config_digest(policy), weights, tuple(names), data.sha256, samples, seed, blocks, precision)


def add_parser(verbs: Any) -> None:
    """Declare `dtr score`."""
    p = verbs.add_parser("score", help="how important every block of a policy is")
    p.add_argument("--policy", type=Path, required=True, help="policy file")
    add_data_arguments(p)
    p.add_argument("--metric", default="gateprobe", help=f"one of {', '.join(METRICS)}")
    p.add_argument("--samples", type=int, default=512, help="calibration frames (the paper: 64 batches of 8)")
    p.add_argument("--seed", type=int, default=0, help="chooses the frames")
    p.add_argument("--batch", type=int, default=8, help="frames at a time: memory only, scores do not depend on it beyond rounding")
    p.add_argument("--processes", type=int, default=1, help="simulators at a time, where pictures have to be rendered (default 1)")
    p.add_argument("--device", default="cpu", help="cpu or cuda")
    p.add_argument("--precision", choices=PRECISIONS, help="ask the policy in bfloat16 (default: float32)")
    p.add_argument("--out", type=Path, required=True, help="score file")
    p.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Load, score, write."""
    started = time.time()
    if args.metric not in FUNCTIONS:
        raise unknown("metric", args.metric, METRICS)
    probe(args.device)
    loaded = load_policy(args.policy, args.device)
    check_header(loaded.header, args.policy)
    data = read_data(args.data, args.image_size or loaded.processor.image_size, args.pictures, args.processes)
    names = [folder.name for folder in args.data]
    record = score(loaded, data, args.metric, args.samples, args.seed, names, sha256_file(args.policy), args.batch, args.precision)
    validate(record.to_json(), "score", args.out)
    write_score(args.out, record)
    write_run_record(args.out, started)
