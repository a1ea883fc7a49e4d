"""How fast a stage works: measured in the run records beside artifacts, stated by the paper, or guessed. A rate says which.

    seconds of a job = work / rate          work: operations (training, scoring), episodes, frames, jobs

A record is taken where it is of the same scale, of the same policy where there is one; the median of several. What was resumed, or
took another arm's weights, says nothing and is left out. Rates on GPUs are guesses until somebody measures them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from dtr.provenance import read_json
from dtr.workflow.passes import FORWARDS
from dtr.workflow.resources import CHECK_S, COUNT_S, CPU_FLOPS, FETCH_S, FLOAT, GPU_BYTES, GPU_FLOPS, STEP_S, STEPS
from dtr.workflow.sizes import FULL_SIZE, Size

PARTIAL = {"shared_with", "resumed_at"}
"""Facts of a run whose seconds are not those of all its work (dtr.recovery.recover)."""
CORES = 2
EPISODES_PER_H = 7584
"""On two cores, 140 steps an episode: docs/measurements/laptop.md."""
GATEPROBE_S, GATEPROBE_SAMPLES = 24.9, 512
"""The paper: pi0.5's language blocks, 64 batches of 8, one H200."""
DEMONSTRATIONS_GB = 70.0
"""LIBERO's four suites as they are fetched (config/paper.yaml)."""


@dataclass(frozen=True)
class Rate:
    """Work a second, and where the number comes from."""

    per_s: float
    basis: str


GUESSES_ON_GPU = {
    "training": Rate(GPU_FLOPS, f"guess: {GPU_FLOPS:.1e} operations a second and GPU"),
    "score": Rate(
        GATEPROBE_SAMPLES * FORWARDS["gateprobe"] * FULL_SIZE["pi05"].flops / GATEPROBE_S,
        f"the paper: {GATEPROBE_S} s for pi0.5's GateProbe on one H200",
    ),
}
SIMULATORS = 8
"""Of a rollout beside a GPU: profiles/slurm gives it as many cores."""


def guessed_score(name: str, metric: str) -> Rate:
    """The rate of scoring on a GPU: of pi0.5 by GateProbe as the paper has it, of all else from that and a count of forwards."""
    stated = GUESSES_ON_GPU["score"]
    if (name, metric.split(".")[0]) == ("pi05", "gateprobe"):
        return stated
    return Rate(stated.per_s, "guess: the forwards of each metric, at the paper's rate of GateProbe")


def guessed_rollout(size: Size, chunk: int) -> Rate:
    """Episodes a second beside a GPU: steps * (step / simulators + inference / chunk), an inference bound by operations or by memory."""
    inference = max(size.flops / GPU_FLOPS, FLOAT * size.parameters / GPU_BYTES)
    return Rate(1 / (STEPS * (STEP_S / SIMULATORS + inference / chunk)), f"guess: {STEPS} steps an episode, {SIMULATORS} simulators a GPU")


GUESSES_ON_CPU = {
    "training": Rate(CORES * CPU_FLOPS, "measured on two other cores"),
    "score": Rate(CORES * CPU_FLOPS, "measured on two other cores (training)"),
    "rollout": Rate(EPISODES_PER_H / 3600, "measured on two other cores: docs/measurements"),
}
OTHER = {
    "demonstrate": Rate(CORES / (2 * STEP_S), "guess: half of the frames are of tries that fail"),
    "fetch": Rate(1 / FETCH_S, "guess: a slow network"),
    "check_data": Rate(1 / CHECK_S, "guess: reading LIBERO's four suites once"),
    "count": Rate(1 / COUNT_S, f"measured: 10 s of one core for 3.5 B, here {COUNT_S:.0f}"),
    "other": Rate(1 / 60, "guess: a minute"),
}


@dataclass(frozen=True)
class Run:
    """One run record: its stage, its artifact, the work that was done in how many seconds."""

    stage: str
    policy: str
    artifact: str
    seconds: float
    record: Mapping[str, Any]

    def argument(self, name: str) -> str:
        """An argument of the command that made the artifact; none is the empty text."""
        argv = self.record.get("argv", [])
        return str(argv[argv.index(name) + 1]) if name in argv else ""

    def recipe(self) -> dict[str, Any] | None:
        """The recipe that it was trained by; None where the command does not hold it, as when somebody named a file of it."""
        said = self.argument("--recipe")
        return dict(json.loads(said)) if said.startswith("{") else None

    def gpus(self) -> int:
        """GPUs that it ran on; 1 also stands for a machine without any."""
        return int(self.argument("--gpus") or 1)


def runs(scale: str) -> Iterator[Run]:
    """The records of whole runs beside the artifacts of a scale. What does not read is somebody else's file."""
    for path in sorted(Path("artifacts", scale).rglob("*.run.json")):
        try:
            record = read_json(path)
            seconds, stage = float(record["wall_s"]), str(record["argv"][0])
        except (OSError, ValueError, KeyError, TypeError, IndexError):
            continue
        if seconds > 0 and not PARTIAL & record.keys():
            yield Run(stage, path.parts[2], str(path).removesuffix(".run.json"), seconds, record)


def measured(found: Mapping[str, list[float]], policy: str) -> Rate | None:
    """The median rate of a policy's own runs, or of all: `found` has the rates by policy."""
    own = found.get(policy, [])
    rates = own or [rate for several in found.values() for rate in several]
    if not rates:
        return None
    whose = "this policy's" if own else "other policies'"
    return Rate(median(rates), f"measured: {len(rates)} of {whose} runs at this scale")
