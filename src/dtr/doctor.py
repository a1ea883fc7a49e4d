"""Verb `doctor`: what a run needs of this machine, one line each, with what to do where something is missing."""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from dtr.errors import DtrError, MissingLibrary
from dtr.provenance import cpu_model
from dtr.sim import setup

PYTHONS = ((3, 11), (3, 13))
"""First and last supported minor version."""

DISK_GB = 5
"""Room for the artifacts of the embedded scale and of one run beside them."""

FRAME_LIMIT_S = 120
"""A broken GL driver may hang instead of failing."""


@dataclass(frozen=True)
class Finding:
    """The result of one check. `remedy` says what to do when it is not ok; only `required` ones make the doctor fail."""

    name: str
    ok: bool
    found: str
    remedy: str = ""
    required: bool = True

    def line(self) -> str:
        """One line for a person."""
        mark = "ok  " if self.ok else "FAIL" if self.required else "note"
        return f"{mark}  {self.name:<12} {self.found}{'' if self.ok or not self.remedy else f' -> {self.remedy}'}"


def add_parser(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the verb `doctor` to the command line."""
    parser = verbs.add_parser("doctor", help="check what a run needs on this machine and say how to mend what is missing")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Print one line a check. Raises MissingLibrary when a required one fails (exit code 2)."""
    del args
    failed = 0
    for check in CHECKS:
        finding = check()
        print(finding.line(), flush=True)
        failed += finding.required and not finding.ok
    if failed:
        raise MissingLibrary(
            f"{failed} required check{'s' * (failed > 1)} failed: do what the FAIL lines say, then run `dtr doctor` again."
        )


def python() -> Finding:
    """The interpreter's version is supported."""
    (first, last), here = PYTHONS, sys.version_info[:2]
    remedy = f"use Python {first[0]}.{first[1]} to {last[0]}.{last[1]}"
    return Finding("python", first <= here <= last, platform.python_version(), remedy)


def simulator() -> Finding:
    """The simulator packages have their pinned versions."""
    try:
        setup.check_pins()
    except DtrError as error:
        return Finding("simulator", False, str(error), "run `make setup`")
    return Finding("simulator", True, ", ".join(f"{package} {pin}" for package, pin in setup.PINS.items()))


def library() -> Finding:
    """A GL library that draws without a screen loads."""
    try:
        binding = setup.choose_gl()
    except DtrError as error:
        return Finding("GL library", False, str(error))
    return Finding("GL library", True, f"{binding} ({', '.join(setup.GL_LIBRARIES[binding])})")


def frame() -> Finding:
    """One frame is drawn, in a process of its own that may hang or crash."""
    code = "import json; from dtr.sim.rendering import draw_test_frame; print(json.dumps(draw_test_frame()))"
    try:
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, timeout=FRAME_LIMIT_S, stdin=subprocess.DEVNULL, check=False
        )
    except subprocess.TimeoutExpired:
        return Finding("GL frame", False, f"no frame in {FRAME_LIMIT_S} s", f"the driver hangs: {setup.GL_REMEDY}, or try MUJOCO_GL=osmesa")
    if done.returncode != 0:
        said = done.stderr.strip().splitlines()[-1:] or [f"exit code {done.returncode}"]
        return Finding("GL frame", False, said[0], setup.GL_REMEDY)
    facts = json.loads(done.stdout.splitlines()[-1])
    return Finding(
        "GL frame",
        bool(facts["drawn"]),
        f"{facts['vendor']}, {facts['renderer']}, {facts['version']}",
        "the frame is wrong: try MUJOCO_GL=osmesa",
    )


def packages() -> Finding:
    """The other packages that every run imports are there."""
    wanted = ("torch", "numpy", "safetensors", "pyarrow", "snakemake", "dvc", "jsonschema")
    found, missing = [], []
    for name in wanted:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            missing.append(name)
    return Finding("packages", not missing, "missing " + ", ".join(missing) if missing else ", ".join(found), "run `make setup`")


def cores() -> Finding:
    """How many cores this process may use."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return Finding("cores", usable >= 2, f"{usable} usable, {cpu_model()}", "one core works, at half the speed", required=False)


def disk() -> Finding:
    """There is room where one stands."""
    free_gb = shutil.disk_usage(Path.cwd()).free / 1e9
    return Finding(
        "disk",
        free_gb >= DISK_GB,
        f"{free_gb:.0f} GB free in {Path.cwd()}",
        f"free {DISK_GB} GB, or set DVC's and Snakemake's folders elsewhere",
    )


def cache() -> Finding:
    """The folder for derived files (LIBERO's configuration, decimated meshes) is writable."""
    try:
        return Finding("cache", True, str(setup.cache_dir("meshes").parent))
    except DtrError as error:
        return Finding("cache", False, str(error))


def gpu() -> Finding:
    """CUDA, which only the paper scale needs."""
    try:
        import torch
    except ImportError:
        return Finding("GPU", False, "torch is not installed", "run `make setup`", required=False)
    if not torch.cuda.is_available():
        return Finding("GPU", True, "none (the embedded scale needs none; config/paper.yaml does)", required=False)
    names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return Finding("GPU", True, ", ".join(names), required=False)


def assets() -> Finding:
    """The assets of the real LIBERO suites, which the embedded scale does not need."""
    try:
        folder = setup.libero_assets()
    except DtrError as error:
        return Finding("LIBERO", False, str(error))
    return Finding("LIBERO", True, str(folder) if folder else f"embedded suites only ({setup.ASSETS_VARIABLE} is not set)", required=False)


CHECKS: tuple[Callable[[], Finding], ...] = (python, packages, simulator, library, frame, cache, disk, cores, gpu, assets)
