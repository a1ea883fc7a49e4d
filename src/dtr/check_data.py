"""Verb `check-data`: can a policy be trained on these demonstrations? One line a check; a check that fails makes the verb fail.

rows          as many frames an episode as the meta files say, state and gripper as LIBERO's arm has them (`dtr.data.checks`)
statistics    the means that the meta files state are those of the frames
actions       they lie in [-1, 1], as the simulator's controller takes them
orientation   pictures stand as the simulator draws them (with --suites, of which the data must show one)
normalised    with --policy: how far off its statistics put the numbers, root mean square of n_policy(x) - n_data(x), largest dimension

n is the policy's normalisation (`dtr.policies.bounds`), once with its own numbers, once with those of the data: a range of 2 for q99.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dtr.data.checks import orientation as stands
from dtr.data.dataset import Dataset
from dtr.data.lerobot import read_lerobot, stated_means
from dtr.data.pictures import add_data_arguments, with_pictures
from dtr.doctor import Finding
from dtr.errors import BadDemonstrations
from dtr.provenance import sha256_file, write_json
from dtr.records import validate
from dtr.robots import ROBOTS
from dtr.sim.suites import MAX_STEPS, suite

if TYPE_CHECKING:
    from dtr.policies.processor import Processor

SIDE = 64
"""Of the pictures that raw demonstrations are rendered with, unless told otherwise."""
FIRSTS = 20
"""First pictures of episodes that the orientation is judged by."""
FAR = 0.5
"""A quarter of the range. Of the embedded pi0.5's statistics, of its pretraining, `embedded_goal` is 0.16 off, `embedded_spatial` 0.45."""


def add_parser(verbs: Any) -> None:
    """Declare `dtr check-data`."""
    p = verbs.add_parser("check-data", help="check demonstrations: rows, conventions, statistics, orientation of the pictures")
    add_data_arguments(p)
    p.add_argument("--suites", nargs="+", default=[], choices=sorted(MAX_STEPS), metavar="SUITE", help="suites that the data show")
    p.add_argument("--policy", type=Path, help="a policy file: do its statistics suit the data?")
    p.add_argument("--out", type=Path, help="what was found, as JSON; written only when no check failed")
    p.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Print one line a check. Raises BadDemonstrations when one fails (exit code 2)."""
    found = []
    for finding in findings(args):
        print(finding.line(), flush=True)
        found.append(finding)
    if failed := sum(finding.required and not finding.ok for finding in found):
        raise BadDemonstrations(
            f"{failed} check{'s' * (failed > 1)} of the demonstrations failed: mend them before anything is trained on them."
        )
    if args.out:
        record = {
            "data": [str(folder) for folder in args.data],
            "suites": args.suites,
            "policy": sha256_file(args.policy) if args.policy else None,
            "findings": [{"check": finding.name, "ok": finding.ok, "found": finding.found} for finding in found],
        }
        validate(record, "check", args.out)
        write_json(args.out, record)


def findings(args: argparse.Namespace) -> Iterator[Finding]:
    """Each check of each data set; one that cannot be read has no more than that to be said of it."""
    processor = loaded(args.policy) if args.policy else None
    for folder in args.data:
        try:
            data = read_lerobot(read := with_pictures(folder, args.image_size or SIDE, args.pictures), args.pictures)
            means = stated_means(read)
        except BadDemonstrations as error:
            yield Finding("rows", False, str(error))
            continue
        steps = np.unique(data.episode, return_counts=True)[1]
        tasks = f"{len(data.instructions)} task{'s' * (len(data.instructions) > 1)}"
        yield Finding("rows", True, f"{folder}: {len(data)} frames, {len(steps)} episodes of {steps.min()} to {steps.max()}, {tasks}")
        said = f"its means of {' and '.join(means)} are those of its frames" if means else "its meta files state no means"
        yield Finding("statistics", bool(means), said, "nothing to compare the frames with", False)
        yield actions(data)
        judged = [orientation(data, name) for name in args.suites]
        yield from judged
        if judged and not any(finding.required for finding in judged):
            said = f"{folder}: no episode is told what any task of {', '.join(args.suites)} is told"
            yield Finding("orientation", False, said, "how its pictures stand cannot be judged: name the suites that the data show")
        if processor is not None:
            yield normalised(data, processor)


def loaded(policy: Path) -> Processor:
    """The processor of a policy file; no weight is read."""
    from dtr.policies.file import load_skeleton

    return load_skeleton(policy).processor


def actions(data: Dataset) -> Finding:
    """Between which values 98 % of the actions lie, and whether all are such as a controller takes."""
    arm = ROBOTS["libero"]
    low, high = np.quantile(data.actions, [0.01, 0.99], axis=0)
    names = arm.actions if len(arm.actions) == data.actions.shape[1] else tuple(str(k) for k in range(data.actions.shape[1]))
    said = ", ".join(f"{name.split(' -1')[0]} {a:.2f} to {b:.2f}" for name, a, b in zip(names, low, high, strict=True))
    most, limit = float(np.abs(data.actions).max()), arm.limit if names is arm.actions else None
    remedy = f"expected at most {limit}, got {most:.3g}: of another unit, or of another robot"
    return Finding("actions", limit is None or most <= limit + 1e-3, f"98 % of them: {said}", remedy)


def orientation(data: Dataset, name: str) -> Finding:
    """The first pictures of the suite's episodes stand as the suite's golden picture does, or as one that is drawn now."""
    from dtr.sim_check import first_frame, golden

    shown = suite(name)
    wanted = [k for k, sentence in enumerate(data.instructions) if sentence.lower() in {task.language for task in shown.tasks}]
    firsts = np.unique(data.episode, return_index=True)[1]
    firsts = firsts[np.isin(data.task[firsts], wanted)][:FIRSTS]
    if not len(firsts):
        return Finding(
            "orientation", False, f"no episode is told what a task of {name} is told", "name the suites that the data show", False
        )
    recorded = golden(shown)
    reference = first_frame(shown) if recorded is None else recorded
    views = zip(("agent", "wrist"), reference, strict=False)
    said = {view: stands(data.images[firsts][:, camera], picture) for camera, (view, picture) in enumerate(views)}
    upright = set(said.values()) == {"as it is"}
    found = f"beside {name}, " + ", ".join(f"{view} view {how}" for view, how in said.items())
    return Finding("orientation", upright, found, "turn its pictures before training on them")


def normalised(data: Dataset, processor: Processor) -> Finding:
    """The policy's statistics and those of the data put the numbers at the same places."""
    from dtr.recovery.batches import statistics

    of_actions, of_state = processor.actions_bounds, processor.proprio_bounds
    own = statistics(data.actions, data.state, type(of_actions))
    off = {}
    for what, values, theirs, mine in (("actions", data.actions, of_actions, own[0]), ("state", data.state, of_state, own[1])):
        if values.shape[1] != len(theirs.mask):
            return Finding("normalised", False, f"{values.shape[1]} numbers of {what}, the policy has {len(theirs.mask)}", "another robot")
        both = np.array(theirs.mask) & np.array(mine.mask)
        apart: NDArray[np.float64] = theirs.normalise(values, clip=False) - mine.normalise(values, clip=False)
        off[what] = float(np.sqrt((apart[:, both] ** 2).mean(0)).max(initial=0.0))
    said = f"{of_actions.kind}, off by {' and '.join(f'{far:.2f} ({what})' for what, far in off.items())} at most"
    return Finding("normalised", max(off.values()) <= FAR, said, f"more than {FAR:g}: its statistics are of other data", False)
