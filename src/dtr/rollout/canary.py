"""Verb `canary`: three episodes of each suite before any long run. The undropped policy that fails them is talked to in the wrong way.

A wrong prompt, normalisation, image path or gripper costs all success without an error, and days of rollouts then measure nothing. So fewer
than `least` successes stop the run, with what the actions themselves say of the cause:

    words that the tokenizer does not know          -> prompt, vocabulary
    most numbers at their limits, or all near zero  -> normalisation: statistics of other data, or of the other kind
    a gripper that never closes                     -> gripper rule
    nothing of this                                 -> pictures: image path, camera order, upside down
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dtr.errors import BadCheckpoint, BadConfig
from dtr.policies.processor import Processor
from dtr.policies.tokenizer import WordTokenizer, words_of
from dtr.provenance import sha256_file, write_json
from dtr.rollout.arena import local
from dtr.rollout.engine import Infer
from dtr.rollout.protocol import Protocol
from dtr.rollout.run import orders_of
from dtr.rollout.session import Session
from dtr.rollout.worker import Array

if TYPE_CHECKING:
    from dtr.sim.simulator import Frame

EPISODES = 3
LEAST = 0.34
"""One in three: a policy that is understood does far better, one that is not does nothing."""
LIMIT, STILL = 0.98, 0.03


@dataclass
class Watch:
    """Passes requests on and keeps the actions (chunks of (C, 7)) and the instructions."""

    infer: Infer
    actions: list[Array] = field(default_factory=list)
    instructions: set[str] = field(default_factory=set)

    def __call__(self, requests: Mapping[int, tuple[Frame, str]]) -> Mapping[int, Array]:
        """What the policy answers."""
        answers = self.infer(requests)
        self.actions += [np.asarray(answers[row]) for row in requests]
        self.instructions |= {text for _, text in requests.values()}
        return answers


def add_parser(verbs: Any) -> None:
    """Declare `dtr canary`."""
    p = verbs.add_parser("canary", help="three episodes of each suite with the undropped policy, before any long run")
    p.add_argument("--policy", type=Path, required=True, help="policy file")
    p.add_argument("--suites", nargs="+", required=True, help="suites")
    p.add_argument("--protocol", required=True, help="official name, JSON file or inline JSON")
    p.add_argument("--least", type=float, default=LEAST, help=f"success rate below which it stops (default: {LEAST})")
    p.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="simulator processes")
    p.add_argument("--state-dir", type=Path, required=True, help="folder for the episodes")
    p.add_argument("--out", type=Path, required=True, help="what was found, as JSON")
    p.add_argument("--device", default="cpu", help="where the policy runs: cpu or cuda")
    p.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Play, judge, write. Raises BadCheckpoint when too few episodes succeed."""
    from dtr.policies.device import probe
    from dtr.policies.file import load_policy
    from dtr.rollout.inference import build_inference

    if not 0 < args.least <= 1:
        raise BadConfig(f"expected --least above 0 and at most 1, got {args.least}.")
    probe(args.device)
    protocol, loaded = Protocol.read(args.protocol), load_policy(args.policy, device=args.device)
    outcomes: dict[str, list[bool]] = {}
    seen: list[Watch] = []
    for name in args.suites:
        arena = local(name)
        chosen = replace(protocol, trials=1, tasks=spread(len(arena.suite.tasks)))
        orders = orders_of(chosen, arena.suite)
        watch = Watch(build_inference(loaded.policy, loaded.processor, chosen, [task.language for task in arena.suite.tasks]))
        session = Session(watch, chosen, arena.suite, sha256_file(args.policy)[:16], args.workers, 300.0)
        folder = args.state_dir / "canary"
        (folder / f"{name}.jsonl").unlink(missing_ok=True)  # played anew each time: the actions are wanted, too
        episodes = session.roll_out(orders, folder, folder / f"{name}.jsonl")
        broken = next((episode for episode in episodes if episode.outcome == "error"), None)
        if broken is not None:
            raise BadConfig(f"the canary could not run {broken.key}: {broken.error}; mend that first.")
        outcomes[name] = [episode.outcome == "success" for episode in episodes]
        seen.append(watch)
    judge(outcomes, args.least, causes(seen, loaded.processor), str(args.policy))
    write_json(args.out, {"policy": sha256_file(args.policy), "protocol": protocol.to_dict(), "least": args.least, "outcomes": outcomes})


def spread(tasks: int) -> tuple[int, ...]:
    """First, middle and last of so many tasks."""
    return tuple(sorted({0, tasks // 2, tasks - 1}))[:EPISODES]


def judge(outcomes: Mapping[str, Sequence[bool]], least: float, likely: Sequence[str], policy: str) -> None:
    """One line; BadCheckpoint, with the likely causes, when fewer than `least` of all episodes succeeded."""
    flat = [success for some in outcomes.values() for success in some]
    said = ", ".join(f"{name} {sum(some)}/{len(some)}" for name, some in outcomes.items())
    print(f"canary: {sum(flat)} of {len(flat)} episodes succeeded ({said})", file=sys.stderr)
    if sum(flat) < least * len(flat):
        raise BadCheckpoint(
            f"{policy} succeeds in {sum(flat)} of {len(flat)} episodes ({said}), expected at least {least:.0%} of one that is talked to as "
            f"it was trained; likely: {'; '.join(likely)}."
        )


def causes(seen: Sequence[Watch], processor: Processor) -> list[str]:
    """What is likely wrong, from the actions and words of failed episodes, the likeliest first."""
    likely = []
    words = {word for watch in seen for text in watch.instructions for word in words_of(text)}
    if isinstance(processor.tokenizer, WordTokenizer):
        strange = sorted(words - set(processor.tokenizer.words))
        if strange:
            likely.append(f"the prompt, of which the policy does not know {', '.join(strange[:5])}")
    actions = np.concatenate([chunk for watch in seen for chunk in watch.actions])
    arm, gripper = np.abs(actions[:, :6]), actions[:, 6]
    kind = processor.actions_bounds.kind
    if float(np.mean(arm[:, :3] > LIMIT)) > 0.5:
        likely.append(f"the normalisation ({kind}): {np.mean(arm[:, :3] > LIMIT):.0%} of the translations are at their limit")
    if float(np.median(arm[:, :3])) < STILL:
        likely.append(f"the normalisation ({kind}): the arm hardly moves (median translation {np.median(arm[:, :3]):.3f})")
    if gripper.min() > 0 or gripper.max() < 0:
        likely.append(f"the gripper rule ({processor.gripper_rule()}): it never {'opens' if gripper.min() > 0 else 'closes'}")
    prompt = getattr(processor, "prompt", "")
    return likely or [f"the pictures (image path {processor.image_path}), or the prompt mode ({prompt!r}): the actions look sound"]
