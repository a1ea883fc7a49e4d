"""Control steps per second: our stepping against stock robosuite, and whether every state agrees bit for bit.

Both simulators of a task start from the same frozen state and take the same actions: an episode of the scripted expert, then one of random
actions. They alternate action by action; times are process CPU time, so that other work on the machine does not count.
"""

from __future__ import annotations

import time
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from dtr.sim.simulator import Simulator
    from dtr.sim.suites import Task

STEPS = 120
"""Control steps an episode."""

SEED = 7


def measure(quick: bool = False) -> dict[str, Any]:
    """Medians a suite, in ms and control steps per second. Raises AssertionError at the first state that differs in any bit."""
    from dtr.sim.suites import MAX_STEPS, suite

    result = {}
    for name in sorted(name for name in MAX_STEPS if name.startswith("embedded_")):
        tasks = suite(name).tasks[: 1 if quick else 4]
        times = np.concatenate([compare(task, 20 if quick else STEPS) for task in tasks])
        row = result[name] = summary(times) | {"tasks": len(tasks)}
        print(f"{name}: stock {row['stock_ms']:.2f} ms, ours {row['ours_ms']:.2f} ms a step: {row['speedup']:.2f} times", flush=True)
    return result


def summary(times: np.ndarray) -> dict[str, Any]:
    """Medians of `times` (steps, 2) in seconds, stock then ours. The speed-up is the ratio of totals."""
    stock_s, ours_s = (float(median(column)) for column in times.T)
    totals = times.sum(axis=0)
    return {
        "steps": len(times),
        "states_equal": True,
        "stock_ms": round(1e3 * stock_s, 3),
        "ours_ms": round(1e3 * ours_s, 3),
        "stock_steps_per_s": round(1 / stock_s, 1),
        "ours_steps_per_s": round(1 / ours_s, 1),
        "speedup": round(float(totals[0] / totals[1]), 3),
    }


def compare(task: Task, steps: int) -> np.ndarray:
    """CPU seconds (2 * steps, 2) of each control step, stock then ours. Raises AssertionError where a state or success differs."""
    from dtr.sim.expert import Expert
    from dtr.sim.simulator import Simulator
    from dtr.sim.suites import initial_states

    stock, ours = (Simulator(task, render=False, fast=fast) for fast in (False, True))
    start = initial_states(task)[0]
    random = np.random.default_rng(SEED)
    times = []
    for guided in (True, False):
        for simulator in (stock, ours):
            simulator.reset(start, SEED)
        expert = Expert.of(stock)
        for step in range(steps):
            action = expert.act() if guided else np.append(random.uniform(-1, 1, 6), random.choice([-1.0, 1.0]))
            times.append(advance(stock, ours, action, f"{task.suite}/{task.name} step {step}"))
    stock.close()
    ours.close()
    return np.array(times)


def advance(stock: Simulator, ours: Simulator, action: np.ndarray, where: str) -> tuple[float, float]:
    """Take `action` in both and return their CPU seconds. Raises AssertionError when they part."""
    before = time.process_time()
    expected = stock.step(action)
    between = time.process_time()
    got = ours.step(action)
    after = time.process_time()
    same = np.array_equal(stock.state().view(np.uint64), ours.state().view(np.uint64))
    if not same or expected != got:
        raise AssertionError(f"fast stepping left robosuite's trajectory: {where}")
    return between - before, after - between
