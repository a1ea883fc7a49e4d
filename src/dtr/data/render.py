"""Verb `render`: draw the pictures of raw demonstrations again and write a LeRobot v3 data set.

The raw files hold positions only; every picture is a function of (scene seed, positions), so the data set is derived, never
cached. One simulator process a task, each with a data file of its own.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dtr.data.demonstrations import TaskDemonstrations, demonstrations_sha256, read_demonstrations, read_meta
from dtr.data.lerobot_writer import FileRecord, Frames, write_frames, write_meta
from dtr.data.parts import clear, forget, keep, kept
from dtr.errors import BadDemonstrations
from dtr.lifeline import spread
from dtr.progress import Progress
from dtr.provenance import digest, write_run_record
from dtr.stages import version

if TYPE_CHECKING:
    from dtr.sim.simulator import Simulator

CONTROL_HZ = 20
TOLERANCE_M = 1e-3
"""How far the hand may stand from where it was recorded: the grid of the raw files moves it by some 0.05 mm, another scene by more."""


def render(folder: Path, out: Path, image_size: int = 64, processes: int = 1) -> None:
    """Render the raw demonstrations in `folder` to a LeRobot v3 data set at `out`, pictures of `image_size` pixels a side.

    Data files that a rendering of the same, stopped at any moment, had finished are taken as they are.
    """
    suite, tasks = read_meta(folder)["suite"], read_demonstrations(folder)
    instructions = list(dict.fromkeys(task.language for task in tasks))
    first_episode = np.concatenate([[0], np.cumsum([t.episodes for t in tasks])])
    first_frame = np.concatenate([[0], np.cumsum([len(t.episode) for t in tasks])])
    sha256 = demonstrations_sha256(folder)
    origin = digest([sha256, image_size, version("render")])
    files = kept(out, origin)
    clear(out, files)
    jobs = [
        (suite, task, out, k, instructions.index(task.language), int(first_episode[k]), int(first_frame[k]), image_size, origin)
        for k, task in enumerate(tasks)
        if k not in files
    ]
    done = sum(sum(file.lengths) for file in files.values())
    with Progress("render", int(first_frame[-1]), "frame", done) as progress:
        drawn = spread(render_task, jobs, processes, lambda k: progress.update(len(jobs[k][1].episode)))
    files |= {job[3]: file for job, file in zip(jobs, drawn, strict=True)}
    whole = [files[k] for k in range(len(tasks))]
    write_meta(out, whole, instructions, CONTROL_HZ, {"suite": suite, "demonstrations": sha256})
    forget(out)


def render_task(
    suite: str,
    demonstrations: TaskDemonstrations,
    out: Path,
    file: int,
    task: int,
    first_episode: int,
    first_frame: int,
    image_size: int,
    origin: str,
) -> FileRecord:
    """Render one task into data file number `file`; runs in a process of its own. A rendering of the same `origin` need not do it again."""
    from dtr.sim.simulator import Simulator
    from dtr.sim.suites import suite as suite_of

    known = {t.name: t for t in suite_of(suite).tasks}
    if demonstrations.name not in known:
        raise BadDemonstrations(f"suite {suite} has no task {demonstrations.name!r} any more: record the demonstrations again.")
    simulator = Simulator(known[demonstrations.name], image_size=image_size)
    try:
        images = draw(simulator, demonstrations)
    finally:
        simulator.close()
    lengths = [steps.stop - steps.start for steps in demonstrations.split()]
    frames = Frames(images, demonstrations.state, demonstrations.actions, lengths, task)
    record = write_frames(out, file, frames, first_episode, first_frame, CONTROL_HZ)
    keep(out, file, origin, record)
    return record


def draw(simulator: Simulator, demonstrations: TaskDemonstrations) -> NDArray[np.uint8]:
    """(N, C, H, W, 3) uint8 pictures of every step."""
    pictures: list[NDArray[np.uint8]] = []
    width, recorded = len(simulator.qpos()), demonstrations.qpos.shape[1]
    if recorded != width:
        raise BadDemonstrations(f"task {demonstrations.name!r} must have {width} positions a step, got {recorded}: record it again.")
    for seed, steps in zip(demonstrations.seed, demonstrations.split(), strict=True):
        qpos = demonstrations.qpos[steps].astype(np.float64)
        rest = np.zeros(len(simulator.state()) - 1 - width)
        simulator.reset(np.concatenate([[0.0], qpos[0], rest]), int(seed), settle_steps=0)  # fixtures stand where this seed puts them
        for k, positions in enumerate(qpos):
            simulator.set_qpos(positions)
            frame = simulator.observe()
            pictures.append(frame.images)
            gap_m = float(np.abs(frame.state[:3] - demonstrations.state[steps][k, :3]).max())
            if gap_m > TOLERANCE_M:
                raise BadDemonstrations(
                    f"task {demonstrations.name!r}: the hand stands {1000 * gap_m:.1f} mm from where it was recorded "
                    f"(step {steps.start + k}), so the scene has changed: record the demonstrations again."
                )
    return np.stack(pictures)


def run(args: argparse.Namespace) -> None:
    """The verb."""
    started = time.time()
    render(args.demos, args.out, args.image_size, args.processes)
    write_run_record(args.out / "meta/info.json", started)


def add_parser(verbs: Any) -> None:
    """`dtr render`."""
    p = verbs.add_parser("render", help="draw the pictures of raw demonstrations: a LeRobot v3 data set")
    p.add_argument("--demos", type=Path, required=True, help="folder of raw demonstrations of one suite (dtr demonstrate)")
    p.add_argument("--out", type=Path, required=True, help="folder of the data set")
    p.add_argument("--image-size", type=int, default=64, help="pixels a side (default 64)")
    p.add_argument("--processes", type=int, default=1, help="simulators at a time (default 1)")
    p.set_defaults(run=run)
