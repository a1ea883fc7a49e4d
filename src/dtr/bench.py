"""Verb `bench`: how fast the hot paths are against plain references, and how far batch sizes agree; one JSON file a benchmark.

Claims about speed depend on the machine, so a file names it; ours and the reference alternate within one run, so that a
machine that gets slower or faster meanwhile treats both alike.
"""

from __future__ import annotations

import argparse
import importlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dtr.errors import unknown
from dtr.provenance import machine, write_json

BENCHMARKS = {
    "stepping": ("dtr.benchmarks.stepping", "control steps per second against stock robosuite, states compared bit for bit"),
    "rollouts": ("dtr.benchmarks.rollouts", "episodes an hour against a plain loop with one simulator, factor by factor"),
    "gateprobe": ("dtr.benchmarks.gateprobe", "GateProbe against leaving one block out after another"),
    "metrics": ("dtr.benchmarks.metrics", "all metrics of one shared pass against GateProbe alone"),
    "conventions": ("dtr.benchmarks.conventions", "what the paper leaves open in its metrics: our reading against the other one"),
    "batches": ("dtr.benchmarks.batches", "what another batch size of the inference changes in actions and outcomes"),
    "full_size": ("dtr.benchmarks.full_size", "latency, memory and GateProbe time of the full-size policies, where there is a GPU"),
}
"""Name -> (module with `measure(quick)`, what it measures). Further benchmarks are added here."""


def add_parser(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the verb `bench` to the command line."""
    listing = "\n".join(f"  {name:<11} {summary}" for name, (_, summary) in BENCHMARKS.items())
    parser = verbs.add_parser(
        "bench",
        help="measure speed against plain references, and the agreement of batch sizes",
        description=f"Measure speed against plain references and the agreement of batch sizes, on this machine:\n{listing}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="benchmarks to run (default: all)")
    parser.add_argument("--out", type=Path, default=Path("results/bench"), help="folder for <name>.json (default results/bench)")
    parser.add_argument("--quick", action="store_true", help="fewer repeats: a check that it works, no measurement")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Run the benchmarks named and write their files. Raises UnknownName."""
    for name in args.names or BENCHMARKS:
        if name not in BENCHMARKS:
            raise unknown("benchmark", name, BENCHMARKS)
        started = time.time()
        measure: Callable[[bool], dict[str, Any]] = importlib.import_module(BENCHMARKS[name][0]).measure
        result = {"benchmark": name, "quick": args.quick, "result": measure(args.quick)}
        record = result | {"machine": machine(), "wall_s": round(time.time() - started, 1)}
        write_json(args.out / f"{name}.json", record)
        print(f"{name}: written to {args.out / name}.json")
