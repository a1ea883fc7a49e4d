"""Verb `stability`: the kept set of one metric under resampling of its calibration samples, and under calibration on other data.

Scores again, with the arguments of `dtr score` (seconds to minutes), because a score file holds means and no samples; then
`dtr.importance.resampling`.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

from dtr.dropping.cut import METRICS
from dtr.dropping.scores import read_score
from dtr.errors import BadConfig
from dtr.importance.resampling import overlaps, stability, summary
from dtr.importance.score import add_scoring_arguments, asked, scored_by
from dtr.provenance import write_json, write_run_record
from dtr.records import validate


def add_parser(verbs: Any) -> None:
    """Declare `dtr stability`."""
    p = verbs.add_parser("stability", help="how sure it is which blocks a metric takes")
    p.add_argument("--metric", default="gateprobe", help=f"one of {', '.join(METRICS)}, or of parts: gateprobe.mlp")
    add_scoring_arguments(p)
    p.add_argument("--out", type=Path, required=True, help="stability file")
    p.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Score, draw anew, compare, write."""
    started = time.time()
    others = [read_score(path) for path in args.against]
    metrics, granularities = asked([args.metric], None)
    if len(metrics) > 1:
        raise BadConfig(f"dtr stability expects one metric, got {args.metric}: name one, and run it again for the next.")
    (one,) = scored_by(args, metrics, granularities)
    levels = stability(one.record, one.values, args.levels, args.resamples)
    against = [overlaps(one.record, other, args.levels) for other in others]
    record = {key: value for key, value in one.record.to_json().items() if key not in ("blocks", "order")}
    drawn = {"resamples": args.resamples if len(next(iter(one.values.values()))) > 1 else 0}
    compared = [[level.to_json() for level in found] for found in against]
    record |= drawn | {"levels": [level.to_json() for level in levels], "against": [level for found in compared for level in found]}
    validate(record, "stability", args.out)
    write_json(args.out, record)
    write_run_record(args.out, started)
    for found in (levels, *against):
        print(summary(one.record, found))
