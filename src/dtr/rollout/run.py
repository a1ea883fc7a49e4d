"""Verb `rollout`: a policy, a suite and a protocol in, one record an episode out. Resumable at any moment."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from dtr.errors import BadConfig, unknown
from dtr.provenance import sha256_file, write_run_record
from dtr.rollout.episode import Episode, Key
from dtr.rollout.protocol import Protocol
from dtr.rollout.session import Session
from dtr.rollout.worker import Order
from dtr.sim.suites import Suite, Task, initial_states, suite

FILMED_FAILURES = 12


def add_parser(verbs: Any) -> None:
    """Declare `dtr rollout`."""
    p = verbs.add_parser("rollout", help="roll a policy out on a suite, one record an episode (resumable)")
    p.add_argument("--policy", type=Path, required=True, help="policy file")
    p.add_argument("--suite", required=True, help="suite, for example embedded_spatial")
    p.add_argument("--protocol", required=True, help="JSON file or inline JSON; see schemas/protocol.schema.json")
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
    from dtr.policies.device import probe
    from dtr.policies.file import load_policy
    from dtr.rollout.inference import build_inference

    started = time.time()
    probe(args.device)
    protocol, tasks = Protocol.read(args.protocol), suite(args.suite)
    if args.workers < 1:
        raise BadConfig(f"expected at least 1 worker, got --workers {args.workers}.")
    chosen = [film_key(text, tasks, protocol) for text in args.episodes or ()]
    orders = plan(protocol, tasks)
    loaded = load_policy(args.policy, device=args.device)
    infer = build_inference(loaded.policy, loaded.processor, protocol, [task.language for task in tasks.tasks])
    session = Session(infer, protocol, tasks, sha256_file(args.policy)[:16], args.workers, args.hang_s)
    episodes = session.roll_out(orders, args.state_dir, args.out)
    facts = {
        "workers": args.workers,
        "episodes_per_h": round(session.played * 3600 / (time.time() - started), 1),
        "protocol": protocol.to_dict(),
    }
    write_run_record(args.out, started, stage="rollout", played=session.played, **facts)
    report(episodes, args.out)
    if args.video:
        session.film([o for o in orders if o.key in (chosen or failures(episodes))], {e.key: e for e in episodes}, args.video)


def plan(protocol: Protocol, tasks: Suite) -> list[Order]:
    """Every episode of the suite under the protocol, in order of its key. Raises BadConfig for a task or state that is not there."""
    indices = range(len(tasks.tasks)) if protocol.tasks is None else sorted(protocol.tasks)
    return [order for index in indices for order in plan_task(protocol, tasks, pick(tasks, index))]


def pick(tasks: Suite, index: int) -> Task:
    """The task of this index."""
    if index >= len(tasks.tasks):
        raise BadConfig(
            f"{tasks.name} has tasks 0 to {len(tasks.tasks) - 1}, but task {index} was asked for: correct the protocol's `tasks`."
        )
    return tasks.tasks[index]


def plan_task(protocol: Protocol, tasks: Suite, task: Task) -> list[Order]:
    """The episodes of one task."""
    states = initial_states(task)
    if protocol.trials > len(states):
        raise BadConfig(
            f"{task.name} has {len(states)} initial states, but the protocol {protocol.name} asks for {protocol.trials}: lower `trials`."
        )
    limit = protocol.limit(tasks.name, tasks.max_steps)
    keys = [Key(tasks.name, task.index, i, protocol.seed) for i in range(protocol.trials)]
    return [Order(key, task, states[key.init_state], limit, protocol.settle_steps, protocol.image_size) for key in keys]


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
