"""Verb `rollout`: a policy, a suite and a protocol in, one record an episode out. Resumable at any moment."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from dtr.errors import BadConfig, unknown
from dtr.provenance import sha256_file, write_run_record
from dtr.robots import DEFAULT
from dtr.rollout.arena import local
from dtr.rollout.episode import Episode, Key
from dtr.rollout.protocol import Protocol
from dtr.rollout.remote import check_shapes, remote
from dtr.rollout.session import Session
from dtr.rollout.worker import Array, Order
from dtr.sim.perturbations.played import meant, told
from dtr.sim.perturbations.variant import split
from dtr.sim.suites import Suite, Task, initial_states

FILMED_FAILURES = 12


def add_parser(verbs: Any) -> None:
    """Declare `dtr rollout`."""
    p = verbs.add_parser("rollout", help="roll a policy out on a suite, one record an episode (resumable)")
    p.add_argument("--policy", type=Path, required=True, help="policy file")
    where = p.add_mutually_exclusive_group(required=True)
    where.add_argument("--suite", help="suite, for example embedded_spatial, or with a variant: embedded_goal+camera-3")
    where.add_argument("--robot", metavar="ADDRESS", help="HOST:PORT or Unix socket of a robot or foreign simulator (docs/serving.md)")
    p.add_argument("--perturbation", help="with --suite: what is changed, and how much, as camera-3 (dtr.sim.perturbations)")
    p.add_argument("--instruction", help="with --suite: what the policy is told instead of its instruction: blank, swapped or shuffled")
    p.add_argument("--protocol", required=True, help="official name (oft-8of8-seed0), JSON file or inline JSON")
    p.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="simulator processes (default: cores); no result depends on it")
    p.add_argument("--state-dir", type=Path, required=True, help="folder for finished episodes of an unfinished run")
    p.add_argument("--out", type=Path, required=True, help="episodes, one JSON a line")
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
    arena, robot = remote(args.robot) if args.robot else (local(label(args)), None)
    tasks = arena.suite
    if args.workers < 1:
        raise BadConfig(f"expected at least 1 worker, got --workers {args.workers}.")
    chosen = [film_key(text, tasks, protocol) for text in args.episodes or ()]
    orders = [replace(o, told=arena.told.get((o.task.name, o.key.init_state), o.told)) for o in plan(protocol, tasks, arena.states)]
    loaded = load_policy(args.policy, device=args.device)
    if robot is not None:
        check_shapes(
            robot,
            loaded.processor.pictures(loaded.policy.config.images),
            len(loaded.processor.proprio_bounds.mask),
            loaded.processor.action_dim,
            loaded.processor.robot,
        )
    policy = executed(loaded.policy, kernels_of(loaded.header))
    infer = build_inference(policy, loaded.processor, protocol, instructions(tasks, orders), robot.robot if robot else DEFAULT)
    workers = min(args.workers, arena.most or args.workers)
    session = Session(infer, protocol, tasks, sha256_file(args.policy)[:16], workers, args.hang_s, arena.factory, arena.scenes)
    episodes = session.roll_out(orders, args.state_dir, args.out)
    facts = {
        "workers": workers,
        "episodes_per_h": round(session.played * 3600 / (time.time() - started), 1),
        "protocol": protocol.to_dict(),
    }
    write_run_record(args.out, started, stage="rollout", played=session.played, **facts)
    report(episodes, args.out)
    if args.video:
        session.film([o for o in orders if o.key in (chosen or failures(episodes))], {e.key: e for e in episodes}, args.video)


def label(args: argparse.Namespace) -> str:
    """The suite with its variant, in one text. Raises UnknownName."""
    text = "+".join(part for part in (args.suite, args.perturbation, args.instruction) if part)
    split(text)
    return text


def plan(protocol: Protocol, tasks: Suite, states: Callable[[Task], Array] = initial_states) -> list[Order]:
    """Every episode of the suite under the protocol, in order of its key; `states` of a task, by default the frozen ones.

    Raises BadConfig for a task or state that is not there.
    """
    indices = range(len(tasks.tasks)) if protocol.tasks is None else sorted(protocol.tasks)
    return [order for index in indices for order in plan_task(protocol, tasks, pick(tasks, index), states)]


def pick(tasks: Suite, index: int) -> Task:
    """The task of this index."""
    if index >= len(tasks.tasks):
        raise BadConfig(
            f"{tasks.name} has tasks 0 to {len(tasks.tasks) - 1}, but task {index} was asked for: correct the protocol's `tasks`."
        )
    return tasks.tasks[index]


def plan_task(protocol: Protocol, tasks: Suite, task: Task, states: Callable[[Task], Array] = initial_states) -> list[Order]:
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
