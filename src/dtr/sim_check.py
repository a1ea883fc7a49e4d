"""Verb `sim-check`: does the simulator here do what the published one does? One line a check; a check that fails makes the verb fail.

pins        the packages have their pinned versions
assets      LIBERO's meshes and textures are LIBERO's (real suites only)
settle      from every initial state of every task, objects come to rest where they were put: none slides, falls or flies away
frames      the first picture of every suite is the golden one: byte for byte, or at least PSNR_DB (processors draw differently)
stepping    our stepping, looked at as a policy looks, gives robosuite's states, bit for bit: on each suite's first task, plain and under
            every perturbation that touches the simulation or its pictures, at the highest level
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dtr.doctor import Finding
from dtr.errors import DtrError, MissingLibrary
from dtr.provenance import atomic_path
from dtr.sim import setup
from dtr.sim.perturbations.variant import CATEGORIES, LEVELS
from dtr.sim.suites import MAX_STEPS, TRIALS, Suite, initial_states, suite

if TYPE_CHECKING:
    from dtr.sim.simulator import Simulator

GOLDEN = Path(__file__).parent / "sim/golden"
TOLERANCE_M = 0.02
"""Furthest that an object of the embedded suites may travel, in any direction, while the scene settles: resting costs at most 5.3 mm of
height and less than 0.1 mm in the plane, of all their states."""
LIBERO_TOLERANCE_M = 0.2
"""The same in LIBERO's own suites, which begin with things up to 163 mm above where they rest (docs/pitfalls.md); a table is higher."""
PSNR_DB = 30.0
PERTURBED = tuple(f"{category}-{LEVELS[-1]}" for category in CATEGORIES if category != "language")
"""In one scene but for layout, which puts more things into its own."""
STEPS = 40
LOOK_EVERY = 8
"""Control steps from one picture to the next."""
SEED = 7


def add_parser(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare `dtr sim-check`."""
    p = verbs.add_parser("sim-check", help="check pins, assets, settling scenes, golden frames and stepping of suites, perturbed or not")
    p.add_argument("--suites", nargs="+", default=sorted(name for name in MAX_STEPS if name.startswith("embedded_")), help="default: ours")
    p.add_argument("--checks", nargs="+", default=list(CHECKS), choices=list(CHECKS), help="default: all")
    p.add_argument("--tasks", type=int, default=None, help="only the first tasks of each suite")
    p.add_argument("--states", type=int, default=TRIALS, help=f"only the first initial states of each task (default: {TRIALS})")
    p.add_argument("--record", action="store_true", help="maintainers: write the golden frames of these suites anew")
    p.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Print one line a check. Raises MissingLibrary when one fails (exit code 2)."""
    if args.record:
        for name in args.suites:
            record_frames(suite(name))
        return
    failed = 0
    for finding in findings(args):
        print(finding.line(), flush=True)
        failed += finding.required and not finding.ok
    if failed:
        raise MissingLibrary(f"{failed} check{'s' * (failed > 1)} of the simulator failed: results from here would not compare.")


def findings(args: argparse.Namespace) -> Iterator[Finding]:
    """Each check on each suite."""
    try:
        setup.check_pins()
        yield Finding("pins", True, ", ".join(f"{package} {pin}" for package, pin in setup.PINS.items()))
    except DtrError as error:
        yield Finding("pins", False, str(error))
        return
    for name in args.suites:
        whole = suite(name)
        chosen = replace(whole, tasks=whole.tasks[: args.tasks])
        for check in args.checks:
            yield CHECKS[check](chosen, args.states)


def assets(tasks: Suite, states: int) -> Finding:
    """The real suites' files are LIBERO's own."""
    del states
    if tasks.tasks[0].embedded:
        return Finding("assets", True, f"{tasks.name} needs none")
    from dtr.sim.assets import inspect

    state = inspect(setup.require_libero_assets(tasks.name))
    return Finding("assets", state.official, state.line(), "results will be marked; `dtr assets` says where the files come from", False)


def settle(tasks: Suite, states: int) -> Finding:
    """No object travels while a scene settles."""
    from dtr.sim.simulator import NO_OP, Simulator

    worst, where, count = 0.0, "", 0
    for task in tasks.tasks:
        simulator = Simulator(task, render=False)
        free = free_joints(simulator)
        for trial, state in enumerate(initial_states(task)[:states]):
            simulator.reset(state, SEED, settle_steps=0)
            before = simulator.qpos()[free]
            for _ in range(10):
                simulator.step(NO_OP)
            travelled = float(np.linalg.norm(simulator.qpos()[free] - before, axis=-1).max(initial=0.0))
            count += 1
            if travelled >= worst:
                worst, where = travelled, f"{task.name}/{trial}"
        simulator.close()
    said, most = f"{tasks.name}: {count} states, at most {1000 * worst:.2f} mm ({where})", tolerance(tasks)
    return Finding("settle", worst <= most, said, f"expected at most {1000 * most:.0f} mm: another MuJoCo, or other files")


def tolerance(tasks: Suite) -> float:
    """Metres that an object may travel while a scene of this suite settles."""
    return TOLERANCE_M if tasks.tasks[0].embedded else LIBERO_TOLERANCE_M


def free_joints(simulator: Simulator) -> np.ndarray:
    """(objects, 3): where x, y and z of every free body stand in qpos."""
    import mujoco

    model = simulator.model
    starts = model.jnt_qposadr[model.jnt_type == mujoco.mjtJoint.mjJNT_FREE]
    return np.stack([starts, starts + 1, starts + 2], axis=-1)


def first_frame(tasks: Suite) -> np.ndarray:
    """(2, S, S, 3): what a policy sees first in the first task, from its first state, as the golden frames are drawn."""
    from dtr.sim.simulator import Simulator

    task = tasks.tasks[0]
    simulator = Simulator(task, image_size=64 if task.embedded else 256)
    simulator.reset(initial_states(task)[0], SEED)
    images: np.ndarray = simulator.observe().images
    simulator.close()
    return images


def record_frames(tasks: Suite) -> None:
    """Write the golden frame of a suite."""
    with atomic_path(GOLDEN / f"{tasks.name}.npz") as temporary, open(temporary, "wb") as file:
        np.savez_compressed(file, frame=first_frame(tasks))
    print(f"recorded {GOLDEN / tasks.name}.npz", file=sys.stderr)


def golden(tasks: Suite) -> np.ndarray | None:
    """(2, S, S, 3): the recorded frame of a suite, where one is."""
    path = GOLDEN / f"{tasks.name}.npz"
    if not path.is_file():
        return None
    with np.load(path) as arrays:
        frame: np.ndarray = arrays["frame"]
    return frame


def frames(tasks: Suite, states: int) -> Finding:
    """The first picture is the golden one."""
    del states
    expected = golden(tasks)
    if expected is None:
        said = f"{tasks.name}: no golden frame has been recorded"
        return Finding("frames", False, said, "record it with --record where the published simulator runs", False)
    found = first_frame(tasks)
    if np.array_equal(found, expected):
        return Finding("frames", True, f"{tasks.name}: byte for byte")
    quality = psnr(found, expected)
    remedy = f"expected at least {PSNR_DB:.0f} dB: another MuJoCo, another driver, or other files"
    return Finding("frames", quality >= PSNR_DB, f"{tasks.name}: not byte for byte, PSNR {quality:.1f} dB", remedy)


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    """10 log10(255^2 / mean((a - b)^2)) in dB."""
    error = float(np.mean((a.astype(np.float64) - b) ** 2))
    return float("inf") if error == 0 else float(10 * np.log10(255**2 / error))


def stepping(tasks: Suite, states: int) -> Finding:
    """Fast stepping is robosuite's, on the first task, plain and perturbed."""
    del states
    from dtr.sim.perturbations.disturbed import Disturbed
    from dtr.sim.simulator import Simulator

    random = np.random.default_rng(SEED)
    played = [replace(tasks.tasks[0], perturbation=perturbation) for perturbation in (None, *PERTURBED)]
    for scene in dict.fromkeys(task.scene for task in played):
        here = [task for task in played if task.scene == scene]
        kind: Callable[..., Simulator] = Simulator if here[0].perturbation is None else Disturbed
        stock, ours = kind(here[0], render=False, fast=False), kind(here[0], image_size=64, fast=True)
        try:
            for task in here:
                if isinstance(stock, Disturbed) and isinstance(ours, Disturbed):
                    stock.disturb(str(task.perturbation))
                    ours.disturb(str(task.perturbation))
                together(stock, ours, initial_states(task)[0], random, f"{tasks.name}+{task.perturbation}")
        except AssertionError as error:
            return Finding("stepping", False, str(error), "another numba or BLAS: step with fast=False, and report it")
        finally:
            stock.close()
            ours.close()
    return Finding("stepping", True, f"{tasks.name}: {STEPS} steps bit for bit, plain and under {', '.join(PERTURBED)}")


def together(stock: Simulator, ours: Simulator, start: np.ndarray, random: np.random.Generator, where: str) -> None:
    """STEPS random actions in both, ours drawn now and then. Raises AssertionError when they part."""
    from dtr.benchmarks.stepping import advance

    for simulator in (stock, ours):
        simulator.reset(start, SEED)
    for step in range(STEPS):
        if step % LOOK_EVERY == 0:
            ours.observe()
        action = np.append(random.uniform(-1, 1, 6), random.choice([-1.0, 1.0]))
        advance(stock, ours, action, f"{where} step {step}")


CHECKS: dict[str, Callable[[Suite, int], Finding]] = {"assets": assets, "settle": settle, "frames": frames, "stepping": stepping}
