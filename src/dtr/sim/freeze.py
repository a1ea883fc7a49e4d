"""Verb `suites` (for maintainers): write the embedded suites' files anew: shapes, BDDL, 50 initial states a task, and their hashes.

An initial state is what LIBERO's own sampler places for seed = trial index; it is kept as the flat MuJoCo state [time, qpos, qvel].
"""

from __future__ import annotations

import argparse

import numpy as np

from dtr.provenance import atomic_path, sha256_file, write_text
from dtr.sim import layouts, shapes
from dtr.sim.objects import RECEPTACLES
from dtr.sim.suites import EMBEDDED, TRIALS, Task, suite


def add_parser(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the verb `suites` to the command line."""
    parser = verbs.add_parser("suites", help="write the embedded suites' BDDL files and initial states anew (maintainers)")
    parser.add_argument("--suites", nargs="+", default=list(layouts.LAYOUTS), choices=list(layouts.LAYOUTS), help="default: all")
    parser.add_argument("--only-text", action="store_true", help="shapes and BDDL only, no simulator")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Write everything under src/dtr/sim/embedded."""
    for category in (*shapes.BLOCKS, *RECEPTACLES):
        write_text(EMBEDDED / "assets" / f"{category}.xml", shapes.primitive_xml(category))
    for name in args.suites:
        for layout in layouts.LAYOUTS[name]:
            write_text(EMBEDDED / "bddl" / name / f"{layout.name}.bddl", layouts.bddl(layout))
    if not args.only_text:
        for name in args.suites:
            states = {task.name: sample_states(task) for task in suite(name).tasks}
            with atomic_path(EMBEDDED / "init" / f"{name}.npz") as temporary, open(temporary, "wb") as file:
                np.savez_compressed(file, **states)  # type: ignore[arg-type]
    files = sorted(p for p in EMBEDDED.rglob("*") if p.suffix in (".xml", ".bddl", ".npz"))
    write_text(EMBEDDED / "SHA256SUMS", "".join(f"{sha256_file(p)}  {p.relative_to(EMBEDDED).as_posix()}\n" for p in files))


def sample_states(task: Task) -> np.ndarray:
    """(50, 1 + nq + nv) states as LIBERO's sampler places them, one for each seed 0..49."""
    from dtr.sim.simulator import Simulator, sample_scene

    simulator = Simulator(task, render=False)
    states = []
    for seed in range(TRIALS):
        sample_scene(simulator.env, seed)
        states.append(simulator.state())
    simulator.close()
    return np.stack(states)
