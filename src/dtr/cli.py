"""The command line: `dtr <verb> ...`, one verb a stage, one module a verb.

Only the module of the verb that was asked for is imported (torch and the simulator take seconds). A `DtrError` becomes one
sentence on stderr and exit code 2; Ctrl-C becomes 130 and leaves resumable state behind. With DTR_TRACEBACK=1 the traceback is
shown too.
"""

from __future__ import annotations

import argparse
import ctypes
import importlib
import os
import signal
import sys
import tomllib
import traceback
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from dtr.errors import DtrError, Interrupted, unknown

VERBS: dict[str, tuple[str, str]] = {
    "fetch": ("dtr.hub.fetch", "fetch published weights or demonstrations at a pinned revision (resumable)"),
    "import": ("dtr.hub.importing", "make a policy file of published weights"),
    "export": ("dtr.hub.export", "write a policy back under upstream's names and files"),
    "checkpoint": ("dtr.recovery.pretrain", "make the policy that everything starts from (embedded scale: pretrain it; resumable)"),
    "demonstrate": ("dtr.sim.demonstrate", "let the scripted expert record demonstrations of a suite"),
    "render": ("dtr.data.render", "re-render demonstrations into LeRobot v3 layout"),
    "score": ("dtr.importance.score", "score the importance of every block of a policy"),
    "stability": ("dtr.importance.stability", "say how sure it is which blocks a metric takes"),
    "drop": ("dtr.dropping.drop", "resolve a cut to a plan and write the physically smaller policy"),
    "recover": ("dtr.recovery.recover", "fine-tune a policy on demonstrations (resumable)"),
    "compress": ("dtr.dropping.compress", "cut or compress a recovered policy without training it afterwards"),
    "rollout": ("dtr.rollout.run", "roll a policy out on a suite, one record an episode (resumable)"),
    "serve": ("dtr.serving.run", "offer a policy over a local socket, for robots and foreign simulators"),
    "canary": ("dtr.rollout.canary", "three episodes of each suite with the undropped policy, before any long run"),
    "cost": ("dtr.report.cost", "count the parameters and FLOPs of a policy"),
    "latency": ("dtr.latency", "measure time and memory of one chunk of actions, phase by phase, before and after cuts"),
    "cell": ("dtr.report.cell", "compute one number of one table with its interval and ancestry"),
    "table": ("dtr.report.table", "put cells together to a table, or compare two tables"),
    "verdict": ("dtr.report.verdict", "hold every claim of the paper against our cells and against its own numbers"),
    "pressure": ("dtr.report.pressure", "put success and following under right, blank and swapped instructions together"),
    "figure": ("dtr.report.figure", "draw one figure (PNG and PDF) from records and cells"),
    "report": ("dtr.report.page", "write one self-contained page with every table, figure and verdict and what they rest on"),
    "estimate": ("dtr.workflow.estimate", "say what a target costs in GPU-hours, wall time and disk before anything runs"),
    "coverage": ("dtr.workflow.coverage", "write docs/coverage.md: what of the paper is run, what the rest would cost"),
    "parity": ("dtr.parity", "compare our policy classes with golden values of the official code"),
    "assets": ("dtr.sim.assets", "where LIBERO's meshes and textures come from, and whether a folder holds all of them"),
    "check-data": ("dtr.check_data", "check demonstrations: rows, conventions, statistics, orientation of the pictures"),
    "sim-check": ("dtr.sim_check", "check pins, assets, settling scenes, golden frames and stepping of suites, perturbed or not"),
    "doctor": ("dtr.doctor", "check what a run needs on this machine and say how to mend what is missing"),
    "bench": ("dtr.bench", "measure speed of stepping, rollouts and scoring against plain references, and the agreement of batch sizes"),
    "suites": ("dtr.sim.freeze", "maintainers: regenerate the initial states of the embedded suites"),
    "store": (
        "dtr.workflow.store",
        "pull: bring the cached artifacts; maintainers: push them and Snakemake's records into the store, check it",
    ),
}
HINT = (
    "`dtr VERB --help` describes a verb. The stages in order: checkpoint (or fetch, import), score, drop, recover, rollout; "
    "README.md runs all of them, `dtr doctor` says whether this machine can."
)
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")


def main(argv: Sequence[str] | None = None) -> None:
    """Entry point of `dtr`; exits with the code described in the module's docstring."""
    code = run(sys.argv[1:] if argv is None else list(argv))
    if code == 0:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # all is written: Ctrl-C while Python ends must not make a failure of it
    sys.exit(code)


def run(argv: list[str]) -> int:
    """Run one verb and return its exit code: 0, 2 (a `DtrError`; also argparse's), 130 (interrupted)."""
    settle_process()
    try:
        arguments = parser(argv).parse_args(argv)
        if "DTR_IMAGE_LOCK" in os.environ:  # in a container
            importlib.import_module("dtr.workflow.image").check_inside()
        arguments.run(arguments)
    except Interrupted as stop:
        return complain(stop, 130)
    except DtrError as error:
        return complain(error, 2)
    except KeyboardInterrupt:
        print("interrupted: the same command starts again where saved state allows.", file=sys.stderr)
        return 130
    except BrokenPipeError:  # `dtr doctor | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except (PermissionError, NotADirectoryError, IsADirectoryError, FileExistsError) as error:
        reason = f"{error.filename}: {error.strerror}" if error.filename else str(error)
        return complain(DtrError(f"cannot read or write {reason}: name another place, or change who may use this one."), 2)
    return 0


def parser(argv: Sequence[str]) -> argparse.ArgumentParser:
    """The parser for this command line: all verbs by name, the one asked for with its arguments."""
    top = argparse.ArgumentParser(prog="dtr", description="Drop-Then-Recovery for vision-language-action policies.", epilog=HINT)
    top.add_argument("--version", action="version", version=f"dtr {own_version()}")
    verbs = top.add_subparsers(title="verbs", metavar="VERB", required=True)
    asked = next((word for word in argv if not word.startswith("-")), None)
    if asked is None:
        for name, (_, summary) in VERBS.items():
            verbs.add_parser(name, help=summary)
        return top
    if asked not in VERBS:
        raise unknown("verb", asked, VERBS, "`dtr --help` lists them.")
    importlib.import_module(VERBS[asked][0]).add_parser(verbs)
    return top


def own_version() -> str:
    """The installed version; in a container the source is only bound, so there the checkout's."""
    try:
        return version("dtr")
    except PackageNotFoundError:
        text = (Path(__file__).resolve().parents[2] / "pyproject.toml").read_text(encoding="utf-8")
        return str(tomllib.loads(text)["project"]["version"])


def settle_process() -> None:
    """Make results independent of the number of cores, and large tensors cheap to allocate.

    One thread a process: sums then have one order, and two processes of one thread beat one of two on small models. glibc gives
    every large block back to the kernel by default; page faults then cost a third of a training step (facts measured on 2 cores).
    Both are inherited by worker processes; what the user has set stays.
    """
    for name in THREADS:
        os.environ.setdefault(name, "1")
    os.environ.setdefault("MALLOC_MMAP_THRESHOLD_", str(1 << 30))
    os.environ.setdefault("MALLOC_TRIM_THRESHOLD_", str(1 << 32))
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # the environment reaches children only; this is for the process itself
    if mallopt is not None:
        m_trim_threshold, m_mmap_threshold = -1, -3  # malloc.h
        mallopt(m_trim_threshold, ctypes.c_int(2**31 - 1))
        mallopt(m_mmap_threshold, ctypes.c_int(1 << 30))


def complain(error: DtrError, code: int) -> int:
    """One sentence on stderr."""
    if os.environ.get("DTR_TRACEBACK"):
        traceback.print_exc()
    print(f"error: {error}", file=sys.stderr)
    return code


if __name__ == "__main__":
    main()
