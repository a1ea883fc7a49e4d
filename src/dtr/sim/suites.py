"""Suites: lists of tasks in LIBERO's BDDL format, each with fixed initial states. Ours are in this package, LIBERO's in its own.

A suite is named as in LIBERO (`libero_spatial`) or after it (`embedded_spatial`). Listing suites imports no simulator.

instruction   ours: the `(:language ...)` line of the BDDL file
              LIBERO's: the words of the file's name, as in hf-libero's benchmark, the official evaluations and the public demonstrations;
              the line in the file is another one in 25 of its 40 tasks
"""

from __future__ import annotations

import hashlib
import re
import runpy
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import numpy as np

from dtr.errors import MissingAssets, unknown
from dtr.provenance import digest, sha256_file
from dtr.sim.official_states import manifest, official_states
from dtr.sim.perturbations.variant import Variant
from dtr.sim.setup import check_pins, libero_root, require_libero_assets

EMBEDDED = Path(__file__).parent / "embedded"
TRIALS = 50
"""Fixed initial states of every task, as in LIBERO."""

LIBERO_TASKS = 10
"""Tasks of each of LIBERO's four suites."""

MAX_STEPS = {
    "embedded_spatial": 140,
    "embedded_object": 140,
    "embedded_goal": 140,
    "embedded_long": 260,
    "embedded_pretrain": 140,
    "embedded_compose": 140,
    "embedded_compose_held": 140,
    "libero_spatial": 220,
    "libero_object": 280,
    "libero_goal": 300,
    "libero_10": 520,
}
"""20 Hz control steps after which an episode has failed: LIBERO's as in OpenVLA-OFT's run_libero_eval.py, ours twice the expert's."""


@dataclass(frozen=True)
class Task:
    """One instruction in one scene. `language` is what the policy reads, `bddl` what the simulator loads.

    `perturbation`: what the simulator does to scene or picture, as `camera-3`.
    """

    suite: str
    index: int
    name: str
    language: str
    bddl: Path
    perturbation: str | None = None

    @property
    def embedded(self) -> bool:
        """Whether its scene is built from this package and the robosuite wheel alone."""
        return self.suite.startswith("embedded_")

    @property
    def scene(self) -> tuple[str, str, str]:
        """What names the scene that a simulator builds of it. Of the perturbations only layout's put other things into it; the rest write
        into one that can be played under any of them (`dtr.sim.perturbations.disturbed`)."""
        kind = "" if self.perturbation is None else "disturbed"
        return self.suite, self.name, str(self.perturbation) if (self.perturbation or "").startswith("layout-") else kind


@dataclass(frozen=True)
class Suite:
    """Tasks that are reported as one number."""

    name: str
    tasks: tuple[Task, ...]
    max_steps: int
    variant: Variant = field(default_factory=Variant)
    assets: str | None = None
    """What records must say of the files that scenes are built from (`dtr.sim.assets`)."""


def suite(name: str) -> Suite:
    """The suite called `name`. Raises UnknownName, or MissingAssets for a LIBERO suite whose assets are not named."""
    if name not in MAX_STEPS:
        raise unknown("suite", name, MAX_STEPS)
    if name.startswith("embedded_"):
        said = {path: _language(path) for path in sorted((EMBEDDED / "bddl" / name).glob("*.bddl"))}
    else:
        said = {path: instruction_in(path.stem) for path in _libero_files(name)}
    tasks = tuple(Task(name, i, path.stem, text, path) for i, (path, text) in enumerate(said.items()))
    return Suite(name, tasks, MAX_STEPS[name])


@cache
def task_count(name: str) -> int:
    """How many tasks a suite has, also where the assets that it needs are not."""
    return len(suite(name).tasks) if name.startswith("embedded_") else LIBERO_TASKS


def suite_digest(name: str) -> str:
    """What a suite is, in 16 digits: instructions, layouts, goals, frozen states, the bodies in its scenes and its step limit.

    Of LIBERO's own suites name, limit and instructions: their files come with the locked package.
    """
    if not name.startswith("embedded_"):
        tasks = [task.removeprefix(f"{name}/") for task in manifest() if task.startswith(f"{name}/")]
        return digest([name, MAX_STEPS.get(name), {task: instruction_in(task) for task in tasks}])
    parts = (f"bddl/{name}/*.bddl", f"init/{name}.npz", "assets/**/*")
    files = sorted({path for part in parts for path in EMBEDDED.glob(part) if path.is_file()})
    return digest([name, MAX_STEPS.get(name), {str(path.relative_to(EMBEDDED)): sha256_file(path) for path in files}])


def instruction_in(name: str) -> str:
    """The instruction of one of LIBERO's own tasks: its name without the scene that LIBERO-100 puts first (`KITCHEN_SCENE3_turn_on_`)."""
    return re.sub(r"^[A-Z_]+_SCENE\d+_", "", name).replace("_", " ")


def initial_states(task: Task) -> np.ndarray:
    """The fixed initial states of `task`, (50, 1 + nq + nv): flat MuJoCo states [time, qpos, qvel] before the robot settles."""
    if not task.embedded:
        return official_states(task.suite, task.name)
    path = EMBEDDED / "init" / f"{task.suite}.npz"
    expected = _hashes().get(f"init/{task.suite}.npz")
    if not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest() != expected:
        raise MissingAssets(
            f"{path} is missing or changed: expected SHA-256 {expected}; check it out again, or freeze the suites anew with `dtr suites`."
        )
    with np.load(path) as arrays:
        states: np.ndarray = arrays[task.name]
    return states


def _hashes() -> dict[str, str]:
    lines = (EMBEDDED / "SHA256SUMS").read_text().split("\n")
    return {name: value for value, name in (line.split("  ", 1) for line in lines if line)}


def _language(path: Path) -> str:
    """The (:language ...) line of a BDDL file."""
    text = path.read_text(encoding="utf-8")
    return text.split("(:language", 1)[1].split(")", 1)[0].strip().lower()


def _libero_files(name: str) -> list[Path]:
    require_libero_assets(name)
    check_pins()
    listing = runpy.run_path(str(libero_root() / "benchmark/libero_suite_task_map.py"))  # importing it would import torch and a simulator
    return [libero_root() / "bddl_files" / name / f"{task}.bddl" for task in listing["libero_task_map"][name]]
