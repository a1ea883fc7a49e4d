"""Verb `cost`: parameters and FLOPs of a policy, or of what a plan would leave of it, from headers and plans alone; no weight is read."""

from __future__ import annotations

import argparse
from pathlib import Path

from dtr.cost import Cost, measure, text_length
from dtr.dropping.drop import drop
from dtr.dropping.plan import Plan, read_plan
from dtr.policies.file import load_skeleton
from dtr.provenance import write_json
from dtr.records import validate


def of_file(path: str | Path, plan: Plan | None = None) -> Cost:
    """The cost of a policy file by its header; with a `plan`, of what the plan leaves. Raises PlanMismatch when it is for another."""
    empty = load_skeleton(path)
    return measure(empty.policy if plan is None else drop(empty.policy, plan), text_length(empty.processor))


def add_parser(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare `dtr cost`."""
    p = verbs.add_parser("cost", help="parameters and FLOPs of a policy, in total and per component")
    p.add_argument("--policy", type=Path, required=True, help="policy file")
    p.add_argument("--plan", type=Path, help="plan.json (dtr drop): the cost of what it leaves of the policy")
    p.add_argument("--baseline", type=Path, help="policy file that fractions are relative to (default: --policy)")
    p.add_argument("--out", type=Path, required=True, help="cost.json")
    p.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Measure a policy file by its header and write its cost."""
    own = of_file(args.policy, None if args.plan is None else read_plan(args.plan))
    record = own.to_json(of_file(args.baseline or args.policy))
    validate(record, "cost", args.out)
    write_json(args.out, record)
    parts = (f"{name} {record[name]['total']:,} ({record[name]['fraction']:.1%})" for name in ("parameters", "flops"))
    print(f"{args.out}: {', '.join(parts)}")
