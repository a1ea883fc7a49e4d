"""Episodes an hour: a plain loop of one environment, improved step by step until it is the rollout engine.

    stock       one environment, robosuite's stepping, both cameras drawn after every step, full meshes and GL effects, inference one by one
    meshes      the same with the embedded suites' coarse robot meshes and plain GL          = the plain loop with the same meshes
    steps       the same with fast stepping
    unrendered  the same, drawn at inference steps only
    workers     the same with two simulators a core and padded inference                     = the engine

`factor` is the gain over the rung before, so the factors multiply to the whole and each depends on the order. `engine_over_plain` is
workers over meshes. All rungs run through the engine's own processes (a rung with one worker simply alternates), play the same initial
states to the step limit (random weights reach no goal) and take turns, so that a machine that slows down treats all alike. Building
simulators is left out: the clock starts when every worker has finished an episode.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any
from unittest import mock

from dtr.rollout.engine import Engine
from dtr.rollout.episode import Key
from dtr.rollout.protocol import Protocol
from dtr.rollout.worker import Factory, Order, SimulatorLike, build_simulator

if TYPE_CHECKING:
    from dtr.policies.processor import Processor
    from dtr.sim.suites import Suite, Task

SUITE = "embedded_spatial"
PROTOCOL = Protocol("bench", chunk=4, batch=2, seed=7)
CORES = os.cpu_count() or 1
WORKERS = 2 * CORES
"""As many as the rule `rollout` starts: some wait for the policy while others step."""


def build_stock(task: Task, image_size: int) -> SimulatorLike:
    """Robosuite's stepping, full meshes, all GL effects. Runs in a worker process of its own, so what it replaces stays replaced there."""
    from dtr.sim import meshes
    from dtr.sim.rendering import Cameras

    attach = Cameras.attach
    mock.patch.object(meshes, "decimate_robot_meshes", lambda root, cell_m: None).start()
    mock.patch.object(Cameras, "attach", lambda self, env, names, size, cheap: attach(self, env, names, size, False)).start()
    return build_slow(task, image_size)


def build_slow(task: Task, image_size: int) -> SimulatorLike:
    """Robosuite's stepping."""
    from dtr.sim.simulator import Simulator

    return Simulator(task, image_size=image_size, fast=False)


@dataclass(frozen=True)
class Rung:
    """One way of running the same episodes."""

    name: str
    factory: Factory
    drawn: bool
    workers: int
    batch: int


LADDER = (
    Rung("stock", build_stock, True, 1, 1),
    Rung("meshes", build_slow, True, 1, 1),
    Rung("steps", build_simulator, True, 1, 1),
    Rung("unrendered", build_simulator, False, 1, 1),
    Rung("workers", build_simulator, False, WORKERS, PROTOCOL.batch),
)


def measure(quick: bool = False) -> dict[str, Any]:
    """Episodes an hour and the factor of every rung; further numbers of workers for the last one."""
    from dtr.sim.suites import suite

    tasks = suite(SUITE)
    crews = sorted({CORES, CORES + 1} - {WORKERS})
    ladder = [*LADDER, *(replace(LADDER[-1], name=f"{n} workers", workers=n) for n in crews)]
    rounds, each, limit = (1, 2, 8) if quick else (3, 4, tasks.max_steps)
    spent = {rung.name: [0, 0.0] for rung in ladder}
    for turn in range(rounds):
        for rung in ladder:
            for i, value in enumerate(play(rung, tasks, turn, each, limit)):
                spent[rung.name][i] += value
    rates = {name: 3600 * episodes / seconds for name, (episodes, seconds) in spent.items()}
    names = [rung.name for rung in LADDER]
    factors = {name: round(rates[name] / rates[before], 3) for before, name in pairwise(names)}
    for name, rate in rates.items():
        print(
            f"{name}: {rate:.0f} episodes of {limit} steps an hour{f', {factors[name]:.2f} times' if name in factors else ''}", flush=True
        )
    return {
        "suite": SUITE,
        "steps": limit,
        "protocol": PROTOCOL.to_dict(),
        "workers": {rung.name: rung.workers for rung in ladder},
        "episodes": {name: int(episodes) for name, (episodes, _) in spent.items()},
        "episodes_per_h": {name: round(rate, 1) for name, rate in rates.items()},
        "factor": factors,
        "engine_over_plain": round(rates["workers"] / rates["meshes"], 3),
    }


def play(rung: Rung, tasks: Suite, turn: int, each: int, limit: int) -> tuple[int, float]:
    """Episodes finished and seconds taken, after every worker has finished one."""
    protocol = replace(PROTOCOL, batch=rung.batch)
    warm, count = rung.workers, rung.workers * (1 + each)
    engine = Engine(inference(tasks, protocol), protocol, rung.workers, rung.factory)
    ends = [time.perf_counter() for _ in engine.run(orders(tasks, rung, turn, count, limit))]
    return count - warm, ends[-1] - ends[warm - 1]


def orders(tasks: Suite, rung: Rung, turn: int, count: int, limit: int) -> list[Order]:
    """`count` episodes, as many of one task as one worker plays: nobody builds a second simulator."""
    from dtr.sim.suites import initial_states

    share = count // rung.workers
    found = []
    for worker in range(rung.workers):
        task = tasks.tasks[worker % len(tasks.tasks)]
        task, states = replace(task, name=f"{task.name} {worker}"), initial_states(task)
        keys = [Key(SUITE, worker, (turn * share + i) % len(states), PROTOCOL.seed) for i in range(share)]
        found += [Order(key, task, states[key.init_state], limit, PROTOCOL.settle_steps, PROTOCOL.image_size, rung.drawn) for key in keys]
    return found


def inference(tasks: Suite, protocol: Protocol) -> Any:
    """The embedded policy with random weights: time does not depend on them."""
    from dtr.benchmarks.gateprobe import embedded_policy
    from dtr.rollout.inference import build_inference

    policy = embedded_policy()
    texts = [task.language for task in tasks.tasks]
    return build_inference(policy, plain_processor(texts, policy.config), protocol, texts)


def plain_processor(texts: list[str], config: Any) -> Processor:
    """A processor for these instructions, with bounds of -1 and 1."""
    from dtr.policies.bounds import Bounds
    from dtr.policies.openvla_oft_processor import OpenVLAProcessor
    from dtr.policies.tokenizer import WordTokenizer

    def unit(size: int) -> Bounds:
        return Bounds((-1.0,) * size, (1.0,) * size, (True,) * size)

    words = WordTokenizer.of(texts, 6, 5)
    return OpenVLAProcessor(
        words,
        unit(config.action_dim),
        unit(config.proprio_dim),
        config.image_size,
        config.chunk,
        config.action_dim,
        prompt="{instruction}",
        bos=1,
        stop=2,
        pad=0,
        empty=3,
        placeholder=4,
    )
