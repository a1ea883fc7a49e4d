"""Verb `drop`: plan a cut, and carry a plan out. The policy that comes back is smaller, and its file says what went."""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from dtr.cost import config_digest, text_length
from dtr.dropping.cut import COMPONENTS, METRICS, SUBLAYERS, Cut, parse_cut
from dtr.dropping.plan import Plan, carry_out, read_plan, resolve, write_plan
from dtr.dropping.scores import Score, read_score
from dtr.errors import BadConfig, PlanMismatch
from dtr.policies.base import Policy
from dtr.policies.file import load_policy, load_skeleton, save_policy
from dtr.provenance import sha256_file, write_run_record
from dtr.records import validate


def drop(policy: Policy, plan: Plan) -> Policy:
    """Delete from `policy` what `plan` drops, and return it: h_i = h_{i-1} where a block or a part was, its parameters gone.

    Raises PlanMismatch: when the plan is for another policy nothing is changed, when the plan contradicts itself discard the policy.
    """
    plan.check(policy)
    carry_out(policy, plan.dropped, plan.parts, plan.width[1] if plan.width else None)
    if config_digest(policy) != plan.digest:
        raise PlanMismatch(
            f"the plan of cut {plan.cut!r} promises {plan.digest}, but leaves {config_digest(policy)}; make it again with `dtr drop`."
        )
    return policy


def check_header(header: Mapping[str, Any], path: str | Path) -> None:
    """Raises BadRecord when the plan in a policy file's header does not validate (that it fits the policy, `read_header` has seen)."""
    if header.get("plan") is not None:
        validate(header["plan"], "plan", f"the plan in the header of {path}")


def add_parser(verbs: Any) -> None:
    """Declare `dtr drop`."""
    known = f"Components: {', '.join(COMPONENTS)}. Rules: half, ends, keep-<i>_<j>..., <metric>-<k> ({', '.join(METRICS)}). Union: +."
    known += f" With -{' or -'.join(SUBLAYERS)} at the end the blocks lose only this part."
    p = verbs.add_parser("drop", help="remove blocks from a policy", description=f"Remove blocks from a policy by a cut. {known}")
    p.add_argument("--policy", type=Path, required=True, help="policy file")
    what = p.add_mutually_exclusive_group(required=True)
    what.add_argument("--cut", help="for example language-half, language-gateprobe-9, vision-ends+language-keep-0_5, none")
    what.add_argument("--plan", type=Path, help="plan.json made before, to be carried out")
    p.add_argument("--scores", type=Path, nargs="*", default=[], help="score files, for cuts by a metric")
    p.add_argument("--plan-out", type=Path, help="where the plan goes; without --out no weight is read")
    p.add_argument("--out", type=Path, help="where the smaller policy goes")
    p.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Resolve the cut or read the plan; write the plan, write the smaller policy."""
    started = time.time()
    if args.out is None and args.plan_out is None:
        raise BadConfig("dtr drop expects --plan-out (the plan alone), --out (the smaller policy) or both, got neither: name a file.")
    plan = read_plan(args.plan) if args.plan is not None else plan_cut(args.policy, args.cut, args.scores)
    if args.out is not None:
        loaded = load_policy(args.policy)
        check_header(loaded.header, args.policy)
        provenance = dict(loaded.header["provenance"]) | {"dropped_from": sha256_file(args.policy)}
        save_policy(args.out, drop(loaded.policy, plan), loaded.processor, provenance, plan=plan.to_json())
        write_run_record(args.out, started)
    if args.plan_out is not None:
        write_plan(args.plan_out, plan)
    print(f"{args.out or args.plan_out}: {summary(plan)}")


def plan_cut(path: Path, cut: str, scores: Iterable[Path]) -> Plan:
    """What `cut` means for a policy file, from its header alone."""
    parsed, by = parse_cut(cut), by_metric(read_score(score) for score in scores)
    empty = load_skeleton(path)
    check_header(empty.header, path)
    plan = resolve(parsed, empty.policy, by, text_length(empty.processor))
    check_weights(parsed, by, path)
    validate(plan.to_json(), "plan", f"the plan of {cut}")
    return plan


def check_weights(cut: Cut, scores: Mapping[str, Score], path: Path) -> None:
    """Raises PlanMismatch unless the scores that choose are of the weights in `path`: equal shapes may hold other weights."""
    for metric in cut.metrics:
        if metric in scores and scores[metric].weights != (have := sha256_file(path)):
            raise PlanMismatch(
                f"the {metric} scores are of the weights {scores[metric].weights[:16]}, but {path} holds {have[:16]}: "
                "run `dtr score` on the policy that you cut."
            )


def summary(plan: Plan) -> str:
    """One line for the user: what went, what is left, and what of it is dead."""
    gone = [f"{len(blocks)} of {len(blocks) + len(plan.kept[name])} {name} blocks" for name, blocks in plan.dropped.items() if blocks]
    for part, stacks in plan.parts.items():
        present = {name: len(plan.dropped[name]) + len(plan.kept[name]) for name in stacks}
        gone += [f"the {part} of {len(blocks)} of {present[name]} {name} blocks" for name, blocks in stacks.items()]
    if plan.width and plan.width[0] != plan.width[1]:
        gone.append(f"the action head's width from {plan.width[0]} to {plan.width[1]}")
    what = f"{plan.cut} dropped {', '.join(gone) or 'nothing: what it names is gone already' if plan.cut != 'none' else 'nothing'}"
    left = f"{plan.parameters.fraction:.1%} of the parameters and {plan.flops.fraction:.1%} of the FLOPs are left"
    dead = f"; dead among the kept: {', '.join(plan.dead_kept)}" if plan.dead_kept else ""
    return f"{what}; {left}{dead}"


def by_metric(scores: Iterable[Score]) -> dict[str, Score]:
    """Scores by metric. Raises PlanMismatch when two are of the same metric."""
    found: dict[str, Score] = {}
    for score in scores:
        if score.metric in found:
            raise PlanMismatch(f"expected one score file a metric, got two of {score.metric}; pass the one that should choose the blocks.")
        found[score.metric] = score
    return found
