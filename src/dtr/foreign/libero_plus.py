"""The official LIBERO-Plus, offered to `dtr rollout --robot`. It runs where LIBERO-Plus is installed, which takes the place of LIBERO:

    python -m dtr.foreign.libero_plus --suite libero_goal --perturbation camera-3 --address plus.socket
    dtr rollout --robot plus.socket --policy ... --protocol '{"official": "openpi-5of10-seed7", "trials": 1}' ...

docs/libero_plus.md has the way from there to a table. Some 10,000 tasks in four suites, each with one initial state, in
`benchmark/task_classification.json`: category, and a difficulty from 1 to 5 that tells how many of its authors' policies failed there.
So its levels say how hard a task proved, ours (`dtr.sim.perturbations`) how far a scene is from the usual one; numbers of one are no
numbers of the other. `--perturbation camera`: at all difficulties.
Written from the source of sylvestf/LIBERO-plus at 4976dc3; its assets are needed to run it, and it has not been run here.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dtr.errors import BadConfig, MissingAssets, MissingLibrary, unknown
from dtr.sim.simulator import NO_OP, axis_angle
from dtr.sim.suites import MAX_STEPS
from dtr.wire.address import parse_address
from dtr.wire.message import Array
from dtr.wire.robot import EpisodeFailed, RobotHello, RobotTask, offer

CATEGORIES = {
    "camera": "Camera Viewpoints",
    "robot": "Robot Initial States",
    "language": "Language Instructions",
    "light": "Light Conditions",
    "background": "Background Textures",
    "noise": "Sensor Noise",
    "layout": "Objects Layout",
}


@dataclass(frozen=True)
class Entry:
    """One task of LIBERO-Plus: its place in the suite's list, and its instruction."""

    index: int
    name: str
    language: str


Build = Callable[[Entry, int], Any]
"""(task, image size) -> LIBERO-Plus's OffScreenRenderEnv."""
States = Callable[[Entry], Array]
"""Task -> its initial states (1, 1 + nq + nv)."""


def chosen(classification: Path, suite: str, perturbation: str) -> list[str]:
    """Names of the suite's tasks of `camera` or `camera-3`. Raises MissingAssets, UnknownName; BadConfig when there is none."""
    try:
        tasks = json.loads(classification.read_text(encoding="utf-8"))
    except OSError as error:
        raise MissingAssets(
            f"expected LIBERO-Plus's list of tasks at {classification} ({error.strerror}): install it in place of LIBERO."
        ) from error
    category, _, level = perturbation.partition("-")
    if suite not in tasks:
        raise unknown("suite of LIBERO-Plus", suite, tasks)
    if category not in CATEGORIES:
        raise unknown("category", category, CATEGORIES)
    found = [
        task["name"]
        for task in tasks[suite]
        if task["category"] == CATEGORIES[category] and (not level or str(task["difficulty_level"]) == level)
    ]
    if not found:
        raise BadConfig(f"LIBERO-Plus has no task {perturbation} in {suite}: choose a difficulty from 1 to 5, or none.")
    return found


class Plus:
    """The tasks of one suite under one perturbation as a robot: LIBERO's protocol, from its own observations.

    Its name has the perturbation, because records of several stand in one average: libero_plus_goal.camera-3."""

    def __init__(self, suite: str, perturbation: str, entries: list[Entry], scenes: str, build: Build, states: States) -> None:
        self.entries, self.build, self.states = {entry.name: entry for entry in entries}, build, states
        tasks = tuple(RobotTask(entry.name, entry.language) for entry in entries)
        name = f"{suite.replace('libero_', 'libero_plus_', 1)}.{perturbation}"
        self.hello = RobotHello(name, tasks, 1, MAX_STEPS[suite], scenes)
        self.built: tuple[str, int] | None = None
        self.env: Any = None
        self.seen: Any = None

    def reset(self, task: str, state: int, seed: int, settle_steps: int, image_size: int) -> None:
        """Build (when the task is another one), seed, reset, set the state, stand still."""
        if task not in self.entries or state != 0:
            raise EpisodeFailed(f"LIBERO-Plus has one initial state of each task here, asked for {task}/{state}")
        if self.built != (task, image_size):
            self.halt()
            self.env, self.built = self.build(self.entries[task], image_size), (task, image_size)
        self.env.seed(seed)
        self.env.reset()
        self.seen = self.env.set_init_state(self.states(self.entries[task])[0])
        for _ in range(settle_steps):
            self.step(NO_OP)

    def step(self, action: Array) -> bool:
        """One control step; whether the goal holds."""
        self.seen, _, done, _ = self.env.step(np.asarray(action, dtype=np.float64).tolist())
        return bool(done)

    def observe(self) -> tuple[Array, Array]:
        """Both pictures turned by 180 degrees, and position, axis-angle, fingers, from the last observation."""
        names = ("agentview_image", "robot0_eye_in_hand_image")
        images = np.stack([np.asarray(self.seen[name], dtype=np.uint8)[::-1, ::-1] for name in names])
        *xyz, w = self.seen["robot0_eef_quat"]
        parts = [self.seen["robot0_eef_pos"], axis_angle(np.array(xyz), float(w)), self.seen["robot0_gripper_qpos"]]
        return images, np.concatenate(parts).astype(np.float32)

    def halt(self) -> None:
        """Free the scene."""
        if self.env is not None:
            self.env.close()
        self.env, self.built = None, None


def installed(suite: str, perturbation: str) -> Plus:
    """The tasks of the LIBERO-Plus that is installed here. Raises MissingLibrary, MissingAssets."""
    try:
        from libero.libero import benchmark, get_libero_path
        from libero.libero.envs import OffScreenRenderEnv
    except ImportError as error:
        raise MissingLibrary(f"LIBERO-Plus does not import here ({error}): run this in its own environment.") from error
    listing = Path(benchmark.__file__).parent / "task_classification.json"
    names, tasks = set(chosen(listing, suite, perturbation)), benchmark.get_benchmark(suite)()
    whole = [tasks.get_task(index) for index in range(tasks.get_num_tasks())]
    entries = [Entry(index, task.name, task.language) for index, task in enumerate(whole) if task.name in names]
    folder = Path(get_libero_path("bddl_files")) / suite

    def build(entry: Entry, image_size: int) -> Any:
        sizes = {"camera_heights": image_size, "camera_widths": image_size}
        return OffScreenRenderEnv(bddl_file_name=str(folder / f"{entry.name}.bddl"), **sizes)

    scenes = hashlib.sha256(listing.read_bytes()).hexdigest()[:16]
    return Plus(suite, perturbation, entries, scenes, build, lambda entry: np.asarray(tasks.get_task_init_states(entry.index)))


def main() -> None:
    """Offer one category of one suite until Ctrl-C."""
    p = argparse.ArgumentParser(prog="python -m dtr.foreign.libero_plus", description="Offer LIBERO-Plus to `dtr rollout --robot`.")
    p.add_argument("--suite", required=True, choices=sorted(name for name in MAX_STEPS if name.startswith("libero_")))
    p.add_argument("--perturbation", required=True, help="category, or category and difficulty: camera, camera-3")
    p.add_argument("--address", required=True, help="HOST:PORT or path of a Unix socket")
    args = p.parse_args()
    plus = installed(args.suite, args.perturbation)
    offer(plus, parse_address(args.address), lambda found: print(f"{len(plus.entries)} tasks at {found}", file=sys.stderr))


if __name__ == "__main__":
    main()
