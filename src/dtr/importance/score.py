"""Score every block of a policy on a calibration set: the verb `score`.

    score(B) = mean over calibration samples of metric(B, x),   standard error = s / sqrt(n)

The frames are drawn without replacement by `seed`; every metric has the same signature and sees the same frames and the same noise. Several
metrics and granularities are scored in one command, and what one forward and backward can give at once is computed at once. Which blocks
a cut would take, and how sure that is, is said on the screen (`dtr.importance.resampling`); `dtr stability` writes it to a file.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from dtr.cost import config_digest
from dtr.data.dataset import Dataset
from dtr.data.pictures import add_data_arguments, read_data
from dtr.dropping.cut import METRICS, scored
from dtr.dropping.drop import check_header
from dtr.dropping.scores import BlockScore, Score, read_score, write_score
from dtr.errors import BadConfig, unknown
from dtr.importance.calibration import Values, drawn
from dtr.importance.metrics import TOGETHER, check_metric, evaluate
from dtr.importance.resampling import overlaps, stability, summary
from dtr.policies.device import probe
from dtr.policies.file import LoadedPolicy, load_policy
from dtr.policies.parts import GRANULARITIES
from dtr.policies.precision import lower
from dtr.policies.settings import PRECISIONS
from dtr.provenance import sha256_file, write_run_record
from dtr.records import validate


@dataclass(frozen=True)
class Scored:
    """A record, and the values behind it: block -> (n,), or (n, spans)."""

    record: Score
    values: Values


def block_score(values: Tensor, dead: bool) -> BlockScore:
    """Mean and standard error of (n,) values, or of the first of (n, spans) with the means of all. One value alone has no error: 0."""
    first, spans = (values, ()) if values.dim() == 1 else (values[:, 0], tuple(values.mean(dim=0).tolist()))
    error = first.std().item() / len(first) ** 0.5 if len(first) > 1 else 0.0
    return BlockScore(first.mean().item(), error, dead, spans)


def score(
    loaded: LoadedPolicy,
    data: Dataset,
    metrics: Collection[str],
    granularities: Collection[str],
    samples: int,
    seed: int,
    names: Iterable[str],
    weights: str,
    batch: int = 8,
    precision: str | None = None,
) -> list[Scored]:
    """One record a metric and granularity. names: what the data sets are called; weights: SHA-256 of the policy's file."""
    policy = lower(loaded.policy, precision)
    calibration = drawn(policy, loaded.processor, data, samples, seed, batch)
    dead, origin, names, found = policy.dead, config_digest(policy), tuple(names), []
    for metric, values in evaluate(policy, calibration, metrics, None, granularities).items():
        for granularity in granularities:
            mine = {name: values[name] for name in policy.gates(granularity)}
            blocks = {block_of(name, granularity): block_score(value, name in dead) for name, value in mine.items()}
            record = Score(
                metric=scored(metric, granularity),
                policy=policy.name,
                source=origin,
                weights=weights,
                calibration=names,
                data=data.sha256,
                samples=samples,
                seed=seed,
                blocks=blocks,
                precision=precision,
            )
            found.append(Scored(record, {block_of(name, granularity): value for name, value in mine.items()}))
    return found


def block_of(gate: str, granularity: str) -> str:
    """`language.7` for its part `language.7.mlp`."""
    return gate if granularity == "block" else gate.removesuffix(f".{granularity}")


def asked(metrics: Sequence[str], granularities: Sequence[str] | None) -> tuple[list[str], list[str]]:
    """Metrics and granularities as the command line names them: `all`, and `gateprobe.mlp` for one of parts. Raises UnknownName."""
    named, parts = list[str](), list(granularities or [])
    for word in metrics:
        metric, _, part = word.partition(".")
        named += TOGETHER if metric == "all" else (metric,)
        parts += [part] if part else []
        check_metric(named[-1])
    chosen = list(dict.fromkeys(parts)) or ["block"]
    for granularity in chosen:
        if granularity not in GRANULARITIES:
            raise unknown("granularity", granularity, GRANULARITIES)
    return list(dict.fromkeys(named)), chosen


def add_scoring_arguments(p: argparse.ArgumentParser) -> None:
    """What `score` and `stability` have in common."""
    p.add_argument("--policy", type=Path, required=True, help="policy file")
    add_data_arguments(p)
    p.add_argument("--samples", type=int, default=512, help="calibration frames (the paper: 64 batches of 8)")
    p.add_argument("--seed", type=int, default=0, help="chooses the frames, and the noise that flow matching adds to each")
    p.add_argument("--batch", type=int, default=8, help="frames at a time: memory only, but for igia, which makes one step of each")
    p.add_argument("--processes", type=int, default=1, help="simulators at a time, where pictures have to be rendered (default 1)")
    p.add_argument("--device", default="cpu", help="cpu or cuda")
    p.add_argument("--precision", choices=PRECISIONS, help="ask the policy in bfloat16 (default: float32)")
    p.add_argument("--against", type=Path, nargs="*", default=[], help="scores of the same policy on other data: how much the cuts overlap")
    p.add_argument("--levels", type=int, nargs="*", help="drop levels that are looked at (default: 1/2, 2/3, all but 2, all but 1)")
    p.add_argument("--resamples", type=int, default=1000, help="bootstrap draws of the samples (default 1000)")


def add_parser(verbs: Any) -> None:
    """Declare `dtr score`."""
    p = verbs.add_parser("score", help="how important every block of a policy is")
    p.add_argument("--metric", nargs="+", default=["gateprobe"], help=f"of {', '.join(METRICS)}; all: {', '.join(TOGETHER)}, in one pass")
    p.add_argument("--granularity", nargs="+", help=f"of {', '.join(GRANULARITIES)} (default block)")
    add_scoring_arguments(p)
    p.add_argument(
        "--out", type=Path, required=True, help="score file; of several scores the folder, <metric>.json and <metric>.<part>.json"
    )
    p.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Load, score, write."""
    started = time.time()
    probe(args.device)
    found = scored_by(args, *asked(args.metric, args.granularity))
    several = len(args.metric) > 1 or "all" in args.metric or len(args.granularity or [0]) > 1
    others = [read_score(path) for path in args.against]
    for one in found:
        out = args.out / f"{one.record.metric}.json" if several else args.out
        validate(one.record.to_json(), "score", out)
        write_score(out, one.record)
        print(summary(one.record, stability(one.record, one.values, args.levels, args.resamples)))
    for other in others:
        for one in (one for one in found if one.record.metric == other.metric):
            print(summary(one.record, overlaps(one.record, other, args.levels)))
    write_run_record(args.out, started)


def scored_by(args: argparse.Namespace, metrics: Collection[str], granularities: Collection[str]) -> list[Scored]:
    """The scores that the arguments ask for."""
    if args.resamples < 1 or min(args.levels or [1]) < 1:
        raise BadConfig(f"--resamples and --levels must be at least 1, got {args.resamples} and {args.levels}: correct them.")
    loaded = load_policy(args.policy, args.device)
    check_header(loaded.header, args.policy)
    data = read_data(args.data, args.image_size or loaded.processor.image_size, args.pictures, args.processes)
    names = [folder.name for folder in args.data]
    weights = sha256_file(args.policy)
    return score(loaded, data, metrics, granularities, args.samples, args.seed, names, weights, args.batch, args.precision)
