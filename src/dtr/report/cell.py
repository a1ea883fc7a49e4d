"""Verb `cell`: one number of one table, with its interval and its ancestry. It regenerates alone, from the files that it names.

    success rate   k of n, Clopper-Pearson; beside the baseline on the same initial states: difference, Tango, exact McNemar
    size, flops    fraction of the undropped policy's, from cost.json

Several suites make the `average`: the mean of the suite rates, which with equal n is the pooled rate (see dtr.stats). Foreign suites
(`dtr rollout --robot`) may differ in size, as LIBERO-Plus's do: their rate is the pooled one, and the cell names them with their digests.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from dtr.errors import BadConfig, BadRecord
from dtr.provenance import sha256_file, write_json
from dtr.records import read_record, validate
from dtr.report.outcomes import Run, machine_of, pair, read_run, succeeded
from dtr.report.reported import reported
from dtr.report.speed import MEASURED, measured_cell
from dtr.rollout.episode import Episode
from dtr.rollout.hello import beside
from dtr.rollout.protocol import Protocol
from dtr.stats import clopper_pearson, mcnemar_exact, paired_difference

COSTS = {"size": "parameters", "flops": "flops"}
"""Column -> the amount of cost.json that it shows."""


def add_parser(verbs: Any) -> None:
    """Declare `dtr cell`."""
    p = verbs.add_parser("cell", help="compute one number of one table with its interval and ancestry")
    for name, meaning in {
        "table": "table that it stands in, for example table1",
        "row": "row of the table's sheet",
        "column": "size, flops, spatial, object, goal, long, average, or one of " + ", ".join(MEASURED),
        "scale": "smoke, embedded or paper",
    }.items():
        p.add_argument(f"--{name}", required=True, help=meaning)
    for name in ("model", "setting", "component"):
        p.add_argument(f"--{name}", default="-", help=f"the row's {name}, as it is printed")
    p.add_argument("--cost", type=Path, help="cost.json: for the columns size and flops")
    p.add_argument("--policy", type=Path, help="recovered policy: for the columns batch and steps")
    p.add_argument("--latency", type=Path, help="latency.json: for the columns action_speedup, task_speedup and memory_gib")
    p.add_argument("--episodes", type=Path, nargs="+", default=[], help="episode files: for a success rate, one a suite and training seed")
    p.add_argument("--baseline", type=Path, nargs="+", default=[], help="the baseline's episode files (of the baseline itself: the same)")
    p.add_argument("--protocol", help="the episodes' protocol: JSON file or inline JSON")
    p.add_argument("--reported", type=Path, help="the paper's numbers: results/reported/<table>.csv")
    p.add_argument("--out", type=Path, required=True, help="the cell's JSON")
    p.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Compute the cell and write it."""
    name = {key: getattr(args, key) for key in ("table", "row", "column", "scale", "model", "setting", "component")}
    if args.column in COSTS:
        if args.cost is None:
            raise BadConfig(f"the column {args.column} needs --cost cost.json.")
        number = cost_cell(args.cost, COSTS[args.column])
    elif args.column in MEASURED:
        number = measured_cell(args)
    else:
        if not args.episodes or args.protocol is None:
            raise BadConfig(f"the column {args.column} is a success rate and needs --episodes and --protocol.")
        number = success_cell(args.episodes, args.baseline, Protocol.read(args.protocol))
        if args.scale == "paper" and "assets" in number:
            raise BadRecord(
                f"{args.row}.{args.column} was rolled out with stand-in assets, so it is no number of the paper's scale: "
                "see `dtr assets`, then roll out again."
            )
    cell = name | number | {"reported": reported(args.reported, args.row, args.column)}
    validate(cell, "cell", args.out)
    write_json(args.out, cell)
    print(f"{args.out}: {summary(cell)}")


def summary(cell: Mapping[str, Any]) -> str:
    """A cell in one line: k of n with its interval, and what is won or lost against the baseline on the same states."""
    if cell["quantity"] != "success_rate":
        return f"{cell['quantity']} {cell['value']:.6g}"
    i, d = cell["interval"], cell["difference"]
    said = f"{cell['successes']} of {cell['episodes']} [{100 * i['low']:.1f}, {100 * i['high']:.1f}] %"
    if not d:
        return said
    low, high = 100 * d["interval"]["low"], 100 * d["interval"]["high"]
    pairs = f"{d['gained']} won and {d['lost']} lost on the same states, p {d['p']:.2g}"
    return f"{said}, {100 * d['value']:+.1f} points [{low:+.1f}, {high:+.1f}] against the baseline ({pairs})"


def cost_cell(path: Path, amount: str) -> dict[str, Any]:
    """The part of a cell that comes from a cost record."""
    record = read_record(path, "cost")
    ancestry = [{"role": "cost", "path": str(path), "sha256": sha256_file(path)}]
    return {"quantity": amount, "value": record[amount]["fraction"], "ancestry": ancestry}


def success_cell(
    episodes: Sequence[Path], baseline: Sequence[Path], protocol: Protocol, judged: Callable[[Episode], bool] = succeeded
) -> dict[str, Any]:
    """The part of a cell that comes from episodes. Raises BadRecord when they hold errors or do not belong together."""
    runs = sorted((read_run(path, protocol, judged) for path in episodes), key=lambda run: (run.suite, run.seed))
    refuse_unequal(runs)
    outcomes = [success for run in runs for success in run.flat]
    k, n = sum(outcomes), len(outcomes)
    others = [] if set(baseline) == set(episodes) else [read_run(path, protocol, judged) for path in baseline]
    ancestry = [{"role": "episodes", "path": str(run.path), "sha256": run.sha256} for run in runs]
    ancestry += [{"role": "baseline", "path": str(run.path), "sha256": run.sha256} for run in others]
    kept = [beside(run.path) for run in [*runs, *others] if run.hello]
    ancestry += [{"role": "hello", "path": str(path), "sha256": sha256_file(path)} for path in kept]
    machines = [machine for run in runs if (machine := machine_of(run.path))]
    return {
        "quantity": "success_rate",
        "value": k / n,
        "successes": k,
        "episodes": n,
        "interval": asdict(clopper_pearson(k, n)),
        "difference": difference(runs, others) if others else None,
        "strata": [{"suite": run.suite, "seed": run.seed, "successes": sum(run.flat), "episodes": len(run.flat)} for run in runs],
        "outcomes": spelled(runs),
        "protocol": protocol.to_dict(),
        "machines": [machine for i, machine in enumerate(machines) if machine not in machines[:i]],
        "ancestry": ancestry,
    } | marks([*runs, *others])


def marks(runs: Sequence[Run]) -> dict[str, Any]:
    """What a cell says of scenes that are not this package's, or not LIBERO's own; nothing of others."""
    foreign = {run.suite: run.scenes for run in runs if run.scenes}
    return ({"assets": "stand-in"} if any(run.assets for run in runs) else {}) | ({"foreign": foreign} if foreign else {})


def difference(runs: Sequence[Run], others: Sequence[Run]) -> dict[str, Any]:
    """The arm minus its baseline on paired episodes."""
    pairs = pair(runs, others)
    interval, p = asdict(paired_difference(pairs)), mcnemar_exact(pairs)
    return {"value": pairs.difference, "interval": interval, **asdict(pairs), "p": p, "test": "mcnemar-exact"}


def refuse_unequal(runs: Sequence[Run]) -> None:
    """Raise BadRecord unless every suite has the same training seeds and, among ours, as many episodes: else the mean is not the pooled
    rate. Foreign suites are counted with foreign ones of the same robot, each in one version."""
    suites = sorted({run.suite for run in runs})
    seeds = {suite: [run.seed for run in runs if run.suite == suite] for suite in suites}
    if len({run.path for run in runs}) < len(runs) or any(len(set(s)) < len(s) or s != seeds[suites[0]] for s in seeds.values()):
        raise BadRecord(f"expected each suite once for each training seed, got {seeds}: correct --episodes.")
    versions = {(run.suite, run.scenes) for run in runs}
    if len({run.hello.robot if run.hello else None for run in runs}) > 1 or len(versions) > len(suites):
        said = ", ".join(f"{suite} ({f'foreign, {scenes}' if scenes else 'ours'})" for suite, scenes in sorted(versions, key=str))
        raise BadRecord(
            f"expected suites of ours, or foreign ones of one robot, each in one version, got {said}: make a cell of each kind, and roll "
            "out again what is of an older version."
        )
    if runs[0].hello is None and len({len(run.flat) for run in runs}) > 1:
        counts = {f"{run.suite} seed {run.seed}": len(run.flat) for run in runs}
        raise BadRecord(f"expected equally many episodes of each suite, got {counts}: roll all of them out under one protocol.")


def spelled(runs: Sequence[Run]) -> dict[str, dict[str, dict[str, str]]]:
    """Suite -> training seed -> task -> "1101...", one character an initial state."""
    result: dict[str, dict[str, dict[str, str]]] = {}
    for run in runs:
        result.setdefault(run.suite, {})[str(run.seed)] = {task: "".join("01"[s] for s in o) for task, o in run.outcomes.items()}
    return result


def read_cell(path: Path) -> dict[str, Any]:
    """A cell from its file. Raises BadRecord."""
    return read_record(path, "cell")
