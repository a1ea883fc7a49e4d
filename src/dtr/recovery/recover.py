"""Verb `recover`: fine-tune a (dropped) policy on demonstrations, and write it to a file that says what it came from.

With `--plan` the policy is dropped here, in memory, so that no second large file is needed between plan and recovered policy.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dtr.cost import text_length
from dtr.data.dataset import Dataset
from dtr.data.pictures import Known, add_data_arguments, know, known, read_data
from dtr.dropping.drop import drop
from dtr.dropping.plan import read_plan
from dtr.lenders import origin
from dtr.policies.base import Policy
from dtr.policies.file import load_policy, save_policy
from dtr.policies.processor import Processor
from dtr.provenance import sha256_file, write_run_record, write_text
from dtr.recovery.baselines import begin
from dtr.recovery.batches import check, fitted
from dtr.recovery.course import curve_text
from dtr.recovery.fleet import working
from dtr.recovery.lora import adapt, merge
from dtr.recovery.matched import matched
from dtr.recovery.recipe import Recipe, read_recipe
from dtr.recovery.sharded import ShardedTraining
from dtr.recovery.siblings import find_sibling, take
from dtr.recovery.team import check_size
from dtr.recovery.train import Training
from dtr.stages import STAGES


def run(args: argparse.Namespace) -> None:
    """The verb."""
    started, recipe = time.time(), read_recipe(args.recipe)
    check_size(args.processes, recipe.shards)  # before minutes of reading and drawing
    with working(args, recipe.shards) as here:
        if here:
            recover(args, started, recipe)


def recover(args: argparse.Namespace, started: float, recipe: Recipe) -> None:
    """The verb, in every process that trains."""
    loaded = load_policy(args.policy, mapped=args.fleet is not None)
    policy, processor, plan = loaded.policy, loaded.processor, loaded.header["plan"]
    undropped = policy.config
    if args.plan is not None:
        chosen = read_plan(args.plan)
        policy, plan = drop(policy, chosen), chosen.to_json()
    recipe = matched(recipe, policy.name, undropped, policy.config, text_length(processor))
    image_size = args.image_size or processor.image_size
    source = {
        "stage": "recover",
        "policy": sha256_file(args.policy),
        "recipe": recipe.to_dict(),
        "seed": args.seed,
        "ancestor": loaded.header["provenance"],
    }
    seen = known(args.data, image_size, args.pictures) if args.fleet is None else None  # processes of a fleet must all decide alike
    if seen is not None and taken(args, started, source, seen, plan):
        return
    data = read_data(args.data, image_size, args.pictures, args.processes)
    check(data, processor, policy.config.images)
    found = know(args.data, image_size, args.pictures, data)
    if found != seen and taken(args, started, source, found, plan):
        return
    if recipe.statistics == "data":
        rows, _ = data.hold_out(recipe.val_fraction, args.seed)
        processor = fitted(processor, data, rows)
    train_and_save(args, started, policy, processor, data, recipe, source | {"data": found.sha256}, plan)


def taken(args: argparse.Namespace, started: float, source: Mapping[str, Any], data: Known, plan: Mapping[str, Any] | None) -> bool:
    """Whether a sibling trained what this arm would train; then its file is this arm's. Every process of a fleet writes the same bytes."""
    sibling = find_sibling(args.siblings, args.out, {**source, "data": data.sha256}, plan)
    if sibling is None:
        return False
    take(sibling, args.out)
    write_run_record(args.out, started, stage_version=STAGES["recover"].version, frames=data.frames, shared_with=origin(sibling))
    print(f"{args.out}: {sibling} kept the same blocks, so its training is this one's too", file=sys.stderr)
    return True


def train_and_save(
    args: argparse.Namespace,
    started: float,
    policy: Policy,
    processor: Processor,
    data: Dataset,
    recipe: Recipe,
    provenance: Mapping[str, Any],
    plan: Mapping[str, Any] | None = None,
) -> None:
    """The end of `recover` and `checkpoint`: train, write the policy with its loss curve, and only then forget the resumable state."""
    policy = begin(policy, recipe, args.seed)
    if recipe.lora is not None:
        adapt(policy, recipe.lora, args.seed)
    training: Training | ShardedTraining
    if args.fleet is None:
        training = Training(policy, processor, data, recipe, args.seed, args.state_dir, args.save_every)
        begun = training.state.step
        curve = training.run(args.processes)
    else:
        run = (policy, processor, data, recipe, args.seed, args.state_dir, args.save_every)
        training = ShardedTraining(*run, args.fleet, args.recompute)
        begun = training.state.step
        curve = training.run()
    if not training.leads:
        return
    if recipe.lora is not None:
        merge(training.policy, training.probe())
    write_text(f"{args.out}.losses.jsonl", curve_text(curve))
    save_policy(args.out, training.policy, processor, provenance, plan, stored=recipe.stored)
    resumed = {"resumed_at": begun} if begun else {}  # then `wall_s` is of the steps since
    made = {"stage_version": STAGES[provenance["stage"]].version, "processes": args.processes, "frames": len(data)}
    write_run_record(args.out, started, **made, **resumed)
    training.forget()


def add_training_arguments(p: argparse.ArgumentParser) -> None:
    """What `recover` and `checkpoint` have in common."""
    add_data_arguments(p)
    p.add_argument(
        "--recipe", required=True, help="JSON of the recipe, or the path of a JSON file; schemas/recipe.schema.json describes every field"
    )
    p.add_argument("--seed", type=int, default=0, help="of initial weights and of the order of the samples (default 0)")
    p.add_argument("--state-dir", type=Path, required=True, help="folder of the resumable state")
    p.add_argument("--processes", type=int, default=1, help="processes of one thread; any number gives the same weights (default 1)")
    p.add_argument("--device", default="cpu", help="cpu or cuda (default cpu)")
    p.add_argument("--gpus", type=int, help="devices to train on, one process each; torchrun's processes are taken as they are (default 1)")
    p.add_argument("--recompute", action="store_true", help="on devices: keep less for the way back, a third more time")
    p.add_argument("--save-every", type=float, default=60.0, metavar="SECONDS", help="how often the state is saved (default 60)")
    p.add_argument("--out", type=Path, required=True, help="policy file; its loss curve goes to OUT.losses.jsonl")


def add_parser(verbs: Any) -> None:
    """`dtr recover`."""
    p = verbs.add_parser("recover", help="fine-tune a policy on demonstrations (resumable)")
    p.add_argument("--policy", type=Path, required=True, help="policy file to start from, dropped or whole")
    p.add_argument("--plan", type=Path, help="plan.json (dtr drop) by which the policy is dropped first")
    p.add_argument("--siblings", type=Path, help="folder of the policy's arms: one that kept the same blocks lends its weights")
    add_training_arguments(p)
    p.set_defaults(run=run)
