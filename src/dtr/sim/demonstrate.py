"""Stage `demonstrate`: the scripted expert acts in a suite, under noise; what succeeded is kept as states and clean actions.

The noise is an Ornstein-Uhlenbeck process on the executed translation, its strength drawn anew for each episode between 0 and
`noise`; the label stays what the expert wanted, so the data show how to come back to the path. With `scatter` S, a random constant
push of up to S steps comes first, unrecorded, so that episodes begin anywhere around the hand's usual start. Scenes are drawn from
LIBERO's sampler with seeds far from those of the 50 fixed initial states, which stay unseen.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from dtr.errors import BadConfig, BadDemonstrations
from dtr.lifeline import spread
from dtr.progress import Progress
from dtr.provenance import write_run_record
from dtr.sim.expert import CARRY_M, LET_GO_M, Expert
from dtr.sim.suites import TRIALS, Task, initial_states, suite

SEED_BASE = 1_000_000
"""Scenes of demonstrations are seeded from here up; the fixed initial states took 0..49."""

MEMORY = 0.85
"""Correlation of the noise from one step to the next."""

Step = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Positions (nq,), proprioception (8,) and label (7,) at one moment."""


@dataclass(frozen=True)
class Order:
    """What to record: `episodes` kept a task, `noise` in action units, `scatter` steps of pushing at most, one `seed` for all;
    `checks` fixed initial states a task on which the expert's success is counted, without noise; `let_go_m` metres above the
    release point the fingers begin to open: the taller, the more forgiving to imitate."""

    episodes: int
    noise: float
    scatter: int
    seed: int
    checks: int
    let_go_m: float = LET_GO_M

    def __post_init__(self) -> None:
        counts = self.episodes >= 1 and self.scatter >= 0 and 0 <= self.checks <= TRIALS
        if not (counts and 0 <= self.noise <= 1 and 0 < self.let_go_m < CARRY_M):
            raise BadConfig(
                "demonstrate expects episodes >= 1, noise in [0, 1], scatter >= 0, "
                f"checks in 0..{TRIALS} and let_go_m between 0 and {CARRY_M}, got {self}."
            )


def add_parser(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the verb `demonstrate` to the command line."""
    parser = verbs.add_parser("demonstrate", help="record the scripted expert in a suite")
    parser.add_argument("--suite", required=True, help="suite to record, for example embedded_spatial")
    parser.add_argument("--episodes", type=int, required=True, help="successful episodes to keep for each task")
    parser.add_argument("--noise", type=float, default=0.1, help="strength of the noise on the executed action (action units)")
    parser.add_argument("--scatter", type=int, default=0, help="most steps of a random push before an episode is recorded")
    parser.add_argument("--seed", type=int, default=0, help="of scenes, pushes and noise (default 0)")
    parser.add_argument(
        "--checks", type=int, default=10, help="fixed initial states a task on which the expert's success without noise is counted"
    )
    parser.add_argument(
        "--let-go-m", type=float, default=LET_GO_M, help=f"metres above the release point at which it lets go (default {LET_GO_M})"
    )
    parser.add_argument("--processes", type=int, default=1, help="tasks recorded at a time; no result depends on it (default 1)")
    parser.add_argument("--out", type=Path, required=True, help="folder of the demonstrations: meta.json and one archive a task")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Record one suite, one process a task."""
    from dtr.data.demonstrations import write_demonstrations

    started = time.time()
    order = Order(args.episodes, args.noise, args.scatter, args.seed, args.checks, args.let_go_m)
    tasks = suite(args.suite).tasks
    with Progress(f"demonstrate {args.suite}", len(tasks), "tasks") as progress:
        recordings = spread(record, [(task, order) for task in tasks], args.processes, lambda _: progress.update())
    counts = {task.name: count for task, (_, count) in zip(tasks, recordings, strict=True)}
    facts = {"expert": counts, "noise": order.noise, "scatter": order.scatter, "seed": order.seed, "max_steps": suite(args.suite).max_steps}
    if order.let_go_m != LET_GO_M:
        facts["let_go_m"] = order.let_go_m
    write_demonstrations(args.out, args.suite, [recorded for recorded, _ in recordings], facts)
    write_run_record(args.out / "meta.json", started)
    kept, tried, solved, checked = (
        sum(count[name] for count in counts.values()) for name in ("kept", "tried", "clean_successes", "clean_trials")
    )
    print(f"{args.out}: kept {kept} of {tried} episodes under noise; without noise the expert solved {solved} of {checked}")


def record(task: Task, order: Order) -> tuple[Any, dict[str, int]]:
    """The TaskDemonstrations of `task`, and the expert's counts: kept of tried under noise, successes of checks without."""
    from dtr.data.demonstrations import TaskDemonstrations
    from dtr.sim.simulator import Simulator, sample_scene

    limit = suite(task.suite).max_steps
    simulator = Simulator(task, render=False)
    states = initial_states(task)[: order.checks]
    quiet = replace(order, noise=0.0, scatter=0)
    clean = sum(_act(simulator, state, trial, limit, quiet)[1] for trial, state in enumerate(states))
    episodes: list[tuple[int, list[Step]]] = []
    tried = 0
    while len(episodes) < order.episodes:
        if tried >= 4 * order.episodes + 20:
            raise BadDemonstrations(
                f"{task.name}: expected the expert to succeed in a quarter of its episodes or more, "
                f"got {len(episodes)} of {tried} at noise {order.noise}: lower --noise."
            )
        seed = SEED_BASE + 100_000 * order.seed + 10_000 * task.index + tried
        tried += 1
        sample_scene(simulator.env, seed)
        steps, success = _act(simulator, simulator.state(), seed, limit, order)
        if success:
            episodes.append((seed, steps))
    simulator.close()
    qpos, proprioception, labels = (np.stack([step[k] for _, steps in episodes for step in steps]) for k in range(3))
    episode = np.repeat(np.arange(len(episodes), dtype=np.int32), [len(steps) for _, steps in episodes])
    seeds = np.array([seed for seed, _ in episodes], dtype=np.int64)
    recorded = TaskDemonstrations(task.name, task.language, task.index, qpos, proprioception, labels, episode, seeds)
    return recorded, {"kept": len(episodes), "tried": tried, "clean_successes": clean, "clean_trials": len(states)}


def _act(simulator: Any, state: np.ndarray, seed: int, limit: int, order: Order) -> tuple[list[Step], bool]:
    """One episode of the expert from `state`: its steps as (qpos, proprioception, label), and whether it succeeded."""
    simulator.reset(state, seed)
    expert = Expert.of(simulator, order.let_go_m)
    rng = np.random.default_rng(seed)
    strength, drift = order.noise * rng.random(), np.zeros(3)
    push = np.array([*rng.uniform(-1.0, 1.0, 3), 0.0, 0.0, 0.0, -1.0])
    for _ in range(rng.integers(0, order.scatter + 1)):
        simulator.step(push)
    steps: list[Step] = []
    for _ in range(limit):
        label = expert.act()
        steps.append((simulator.qpos(), simulator.proprioception(), label))
        drift = MEMORY * drift + rng.normal(0.0, 1.0, 3) * strength
        executed = label.copy()
        executed[:3] = np.clip(label[:3] + drift, -1.0, 1.0)
        if simulator.step(executed):
            return steps, True
    return steps, False
