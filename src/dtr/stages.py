"""What a stage's results mean, as a version: raise it when equal input no longer gives equal output.

A hash of the source would throw away days of training for a renamed variable, and nothing at all would miss real changes. So each
stage says its version, each rule passes `token(stage)` as a parameter, and a higher version reruns exactly that stage and what depends
on it. tests/workflow/test_fingerprints.py runs every stage on a tiny input and fails when its output moved and its version did not.

A stage also names the locked packages that its numbers come from: a newer MuJoCo rolls out again, a newer linter reruns nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

from dtr.errors import unknown
from dtr.lock import lock_digest
from dtr.provenance import digest

LOCK = Path(__file__).resolve().parents[2] / "envs/lock.txt"
NUMBERS = ("numpy",)
MODEL = (*NUMBERS, "torch", "safetensors")
SIMULATOR = (*NUMBERS, "mujoco", "robosuite", "bddl", "hf-libero", "numba", "scipy")


@dataclass(frozen=True)
class Stage:
    """A version of what the stage computes, and the packages that compute it."""

    version: int
    packages: tuple[str, ...]


STAGES = {
    "demonstrate": Stage(1, SIMULATOR),
    "render": Stage(1, (*SIMULATOR, "pillow", "pyarrow")),
    "check_data": Stage(1, (*SIMULATOR, "pillow", "pyarrow")),
    "checkpoint": Stage(1, MODEL),
    "import": Stage(2, MODEL),
    "score": Stage(1, MODEL),
    "stability": Stage(1, MODEL),
    "drop": Stage(1, MODEL),
    "recover": Stage(1, MODEL),
    "compress": Stage(1, MODEL),
    "rollout": Stage(1, (*MODEL, *SIMULATOR)),
    "cost": Stage(1, MODEL),
    "cell": Stage(1, (*NUMBERS, "scipy")),
    "table": Stage(3, NUMBERS),
    "verdict": Stage(5, (*NUMBERS, "scipy")),
    "pressure": Stage(3, (*NUMBERS, "scipy")),
    "figure": Stage(4, (*NUMBERS, "scipy", "matplotlib")),
    "report": Stage(4, (*NUMBERS, "jinja2")),
}


@cache
def token(*stages: str) -> str:
    """The text that a rule passes as a parameter: it changes when the version of one of its stages or of their packages does."""
    for stage in stages:
        if stage not in STAGES:
            raise unknown("stage", stage, STAGES)
    return ", ".join(f"{s} {STAGES[s].version} lock {lock_digest(LOCK, sorted(set(STAGES[s].packages)))}" for s in stages)


def version(stage: str) -> str:
    """`token` as a part of a path: state that an interrupted stage left is never taken up by another version of it."""
    return f"v{STAGES[stage].version}-{digest(token(stage))[:8]}"
