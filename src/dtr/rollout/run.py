"""Verb `rollout`: a policy, a suite and a protocol in, one record an episode out. Resumable at any moment.

Several suites, or variants of one, cost less in one call: the policy is loaded once, workers start once, and a scene is built once for all
perturbations of its pictures and of the arm's start. Each has its own file, with the bytes that a call of its own would write.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from dtr.errors import BadConfig, unknown
from dtr.provenance import sha256_file, write_run_record
from dtr.robots import DEFAULT
from dtr.rollout.arena import Arena, local
from dtr.rollout.episode import Episode, Key
from dtr.rollout.hello import keep_hello
from dtr.rollout.protocol import Protocol
from dtr.rollout.remote import check_shapes, remote
from dtr.rollout.session import Part, Session, roll_out
from dtr.rollout.siblings import take
from dtr.rollout.worker import Array, Order
from dtr.sim.perturbations.played import meant, told
from dtr.sim.suites import Suite, Task, initial_states
from dtr.stages import STAGES
from dtr.wire.robot import RobotHello

FILMED_FAILURES = 12


def add_parser(verbs: Any) -> None:
    """Declare `dtr rollout`."""
    p = verbs.add_parser("rollout", help="roll a policy out on a suite, one record an episode (resumable)")
    p.add_argument("--policy", type=Path, required=True, help="policy file")
    place = p.add_mutually_exclusive_group(required=True)
    place.add_argument("--suite", nargs="+", help="suite, for example embedded_spatial, or with a variant: embedded_goal+camera-3")
    place.add_argument("--robot", metavar="ADDRESS", help="HOST:PORT or Unix socket of a robot or foreign simulator (docs/serving.md)")
    p.add_argument("--perturbation", help="with --suite: what is changed, and how much, as camera-3 (dtr.sim.perturbations)")
    p.add_argument("--instruction", help="with --suite: what the policy is told instead of its instruction: blank, swapped or shuffled")
    p.add_argument("--protocol", required=True, help="official name (oft-8of8-seed0), JSON file or inline JSON")
    p.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="simulator processes (default: cores); no result depends on it")
    p.add_argument("--state-dir", type=Path, required=True, help="folder for finished episodes of an unfinished run")
    p.add_argument("--out", type=Path, nargs="+", required=True, help="episodes, one JSON a line: a file for each suite, in their order")
    p.add_argument("--siblings", type=Path, help="folder of the policy's arms: one that is the same policy lends its episodes")
    p.add_argument("--device", default="cpu", help="where the policy runs: cpu or cuda")
    p.add_argument("--hang-s", type=float, default=300.0, help="a simulator without a sign of life for this long is replaced")
    p.add_argument("--video", type=Path, help="also film episodes into this folder, and make a sheet of the failures")
    p.add_argument("--episodes", nargs="+", metavar="TASK/STATE", help=f"episodes to film (default: the first {FILMED_FAILURES} failures)")
    p.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Roll out, write the file of episodes, then film."""
    from dtr.policies.compression import executed, kernels_of
    from dtr.policies.device import probe
    from dtr.policies.file import load_policy
    from dtr.rollout.inference import build_inference

    started = time.time()
    probe(args.device)
    protocol = Protocol.read(args.protocol)
    arenas, robot = where(args)
    check(args, len(arenas))
    chosen = [film_key(text, arenas[0].suite, protocol) for text in args.episodes or ()]
    orders = [ordered(protocol, arena) for arena in arenas]
    loaded = load_policy(args.policy, device=args.device)
    processor = loaded.processor
    if robot is not None:
        cameras, numbers = processor.pictures(loaded.policy.config.images), len(processor.proprio_bounds.mask)
        check_shapes(robot, cameras, numbers, processor.action_dim, processor.robot)
    policy = executed(loaded.policy, kernels_of(loaded.header))
    said = [tuple(instructions(arena.suite, due)) for arena, due in zip(arenas, orders, strict=True)]
    first = build_inference(policy, processor, protocol, said[0], robot.robot if robot else DEFAULT)
    asked = {said[0]: first} | {texts: first.also(texts) for texts in dict.fromkeys(said[1:]) if texts != said[0]}
    workers, sha256 = min(args.workers, arenas[0].most or args.workers), sha256_file(args.policy)[:16]
    parts = [
        Part(Session(asked[texts], protocol, arena.suite, sha256, workers, args.hang_s, arena.factory, arena.scenes), due, out)
        for texts, arena, due, out in zip(said, arenas, orders, args.out, strict=True)
    ]
    lent = {part.out: take(part, args.policy, args.siblings) for part in parts if args.siblings and not part.out.exists()}
    found = roll_out(parts, args.state_dir)
    if robot is not None:
        keep_hello(parts[0].out, robot)
    keep_run_records(parts, lent, started, workers=workers, protocol=protocol.to_dict())
    for part, episodes in zip(parts, found, strict=True):
        if sibling := lent.get(part.out):
            print(f"{part.out}: of {sibling}, which is of the same policy", file=sys.stderr)
        report(episodes, part.out)
    if args.video:
        due, episodes = orders[0], found[0]
        parts[0].session.film([o for o in due if o.key in (chosen or failures(episodes))], {e.key: e for e in episodes}, args.video)


def keep_run_records(parts: Sequence[Part], lent: Mapping[Path, Path | None], started: float, **facts: Any) -> None:
    """What each rollout took, beside its file: of several together its share of the seconds, by episodes. One that was lent has its own."""
    wall_s, played = time.time() - started, sum(part.session.played for part in parts)
    own = facts | {"episodes_per_h": round(played * 3600 / wall_s, 1)}
    for part in parts:
        if lent.get(part.out):
            continue
        share = part.session.played / played if played else 1 / len(parts)
        shared = {"wall_s": round(share * wall_s, 3), "together": len(parts)} if len(parts) > 1 else {}
        version = {"stage": "rollout", "stage_version": STAGES["rollout"].version}
        write_run_record(part.out, started, **version, played=part.session.played, **own, **shared)


def where(args: argparse.Namespace) -> tuple[list[Arena], RobotHello | None]:
    """The suites with their variants in our simulator, or what a robot offers. Raises UnknownName."""
    if args.robot:
        arena, robot = remote(args.robot)
        return [arena], robot
    return [local("+".join(part for part in (name, args.perturbation, args.instruction) if part)) for name in args.suite], None


def check(args: argparse.Namespace, suites: int) -> None:
    """Raise BadConfig unless every suite has its file, and what is filmed is one."""
    if args.workers < 1:
        raise BadConfig(f"expected at least 1 worker, got --workers {args.workers}.")
    if len(args.out) != suites or len(set(args.out)) != suites or len(set(args.suite or ())) != len(args.suite or ()):
        raise BadConfig(f"expected a file in --out for each of {suites} different suites, got {len(set(args.out))}: name as many of both.")
    if suites > 1 and args.video:
        raise BadConfig(f"films are of one suite, got {suites} with --video: film each in a call of its own.")


def ordered(protocol: Protocol, arena: Arena) -> list[Order]:
    """Every episode that is played in an arena, with what a robot says is told there."""
    return [
        replace(order, told=arena.told.get((order.task.name, order.key.init_state), order.told))
        for order in orders_of(protocol, arena.suite, arena.states)
    ]


def orders_of(protocol: Protocol, tasks: Suite, states: Callable[[Task], Array] = initial_states) -> list[Order]:
    """Every episode of the suite under the protocol, in order of its key; `states` of a task, by default the frozen ones.

    Raises BadConfig for a task or state that is not there.
    """
    indices = range(len(tasks.tasks)) if protocol.tasks is None else sorted(protocol.tasks)
    return [order for index in indices for order in orders_of_task(protocol, tasks, pick(tasks, index), states)]


def pick(tasks: Suite, index: int) -> Task:
    """The task of this index."""
    if index >= len(tasks.tasks):
        raise BadConfig(
            f"{tasks.name} has tasks 0 to {len(tasks.tasks) - 1}, but task {index} was asked for: correct the protocol's `tasks`."
        )
    return tasks.tasks[index]


def orders_of_task(protocol: Protocol, tasks: Suite, task: Task, states: Callable[[Task], Array] = initial_states) -> list[Order]:
    """The episodes of one task."""
    known = states(task)
    if protocol.trials > len(known):
        raise BadConfig(
            f"{task.name} has {len(known)} initial states, but the protocol {protocol.name} asks for {protocol.trials}: lower `trials`."
        )
    limit = protocol.limit(tasks.name, tasks.max_steps)
    keys = [Key(tasks.name, task.index, i, protocol.seed) for i in range(protocol.trials)]
    return [
        Order(
            key, task, known[key.init_state], limit, protocol.settle_steps, protocol.image_size,
            told=told(tasks, task, key.seed, key.init_state) if str(tasks.variant) else None,
            meant=meant(tasks, task, key.seed, key.init_state),
        )
        for key in keys
    ]  # fmt: skip


def instructions(tasks: Suite, orders: Iterable[Order]) -> list[str]:
    """All that a policy may be told in this suite, the tasks' own too: the longest sets the text's length."""
    own = [task.language for task in tasks.tasks]
    return own + sorted({order.instruction for order in orders} - set(own))


def film_key(text: str, tasks: Suite, protocol: Protocol) -> Key:
    """The key of `TASK/STATE`, where TASK is an index or a name."""
    name, _, state = text.rpartition("/")
    known = {str(task.index): task.index for task in tasks.tasks} | {task.name: task.index for task in tasks.tasks}
    if name not in known or not state.isdigit() or int(state) >= protocol.trials:
        raise unknown("episode", text, [f"{task.name}/0" for task in tasks.tasks], f"(TASK/STATE with a state below {protocol.trials})")
    if protocol.tasks is not None and known[name] not in protocol.tasks:
        played = ", ".join(map(str, sorted(protocol.tasks)))
        raise BadConfig(
            f"--episodes {text} is of task {known[name]}, but the protocol {protocol.name} plays only {played}: "
            "choose one of these, or add the task to the protocol's `tasks`."
        )
    return Key(tasks.name, known[name], int(state), protocol.seed)


def failures(episodes: Iterable[Episode]) -> list[Key]:
    """The first failures, by key."""
    return sorted(episode.key for episode in episodes if episode.outcome == "failure")[:FILMED_FAILURES]


def report(episodes: Sequence[Episode], out: Path) -> None:
    """One line for the reader; one more when there are errors."""
    errors = [episode for episode in episodes if episode.outcome == "error"]
    successes = sum(episode.outcome == "success" for episode in episodes)
    print(f"{out}: {successes} of {len(episodes) - len(errors)} episodes succeeded", file=sys.stderr)
    if errors:
        print(
            f"warning: {len(errors)} episodes could not be run and count as nothing; the same command plays only these again. "
            f"First: {errors[0].key}: {errors[0].error}",
            file=sys.stderr,
        )
