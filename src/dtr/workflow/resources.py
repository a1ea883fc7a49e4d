"""What a job asks a cluster for: a GPU or none, memory, time. Local runs do not look at it.

    memory   = what every process has + weights + training state + pictures + simulators
    runtime  = start + safety * work / rate                                               both grow with the attempt

P parameters and F operations of one forward come from the plan, once it is there; before, from the sizes in the configuration, and a
published policy without sizes counts as the largest. Too much asked is a longer queue, too little a job that dies: all errs upwards.
A resource is no parameter: it makes nothing run again.

Rates on CPUs were measured on two cores (training the embedded policy, rolling it out); those on GPUs are guesses, to be replaced by
measurements. Where the longest time limit of a cluster is shorter (profiles/slurm), training and rollouts go on in the next attempt.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

from dtr.data.stored import KEPT_BYTES
from dtr.errors import unknown
from dtr.provenance import read_json
from dtr.sim.suites import task_count
from dtr.workflow import paths
from dtr.workflow.passes import forwards
from dtr.workflow.sizes import CAMERAS, Size, depths, size_of_model
from dtr.workflow.targets import Targets

TRAINS = frozenset({"checkpoint", "recover"})
ON_GPU = TRAINS | {"score", "stability", "canary", "rollout", "latency", "failures", "failures_cut"}
SAFETY = 2.0
START_S = 600.0
"""Imports over a network, a cold file system, loading."""
CPU_FLOPS = 3e10
"""Operations a second of one core; measured: 6e10 on two."""
GPU_FLOPS = 1.5e14
"""A guess, about a sixth of what an H100 can do in bf16."""
GPU_BYTES = 1e12
"""Weights read a second in inference of small batches; a guess, a third of an H100's."""
STEP_S, STEPS = 0.03, 300
"""One step of the simulator on one core, and steps of an episode."""
COUNT_S = 30.0
"""Imports, and counting a policy on the meta device before and after a cut; measured: 10 s of one core for GigaBrain-0's 3.5 B."""
COPY_S = 300.0
"""Reading and writing the weights of 7 B; a guess."""
FETCH_S = 6 * 3600.0
CHECK_S = 3600.0
"""Reading 70 GB once, most of it into the file that training then reads (dtr.data.stored); a guess."""
FRAMES = 110
"""Frames a demonstration; measured: 101."""
PUBLISHED_FRAMES = 300_000
"""Of a fetched data set: LIBERO's four suites have 273,465."""
FLOAT = 4
PROCESS_MB, CUDA_MB, SIMULATOR_MB = 2000, 4000, 600
CANARY_EPISODES = 3
"""Of each suite: dtr.rollout.canary, which needs torch."""
FAILURES = 12
"""Episodes played once more for a contact sheet: dtr.report.figures.failures, which needs matplotlib."""


class Wildcards(Protocol):
    """Snakemake's wildcards of a job: attributes."""

    def __getattr__(self, name: str) -> str: ...


@dataclass(frozen=True)
class On:
    """The wildcards of a job of several suites, on one of them."""

    of: Wildcards
    suite: str

    def __getattr__(self, name: str) -> str:
        return getattr(self.of, name)


def resources_of(stage: str, targets: Targets, suites: Sequence[str] = ()) -> dict[str, Any]:
    """The `resources:` of the rule of a stage: megabytes, minutes, and a GPU where the configuration trains on one. `suites`: those that
    one job plays, one after the other, where they are no wildcard."""
    if stage not in STAGES:
        raise unknown("stage", stage, STAGES)
    memory_mb, work_s = STAGES[stage]
    on_gpu = stage in ON_GPU and targets.device.startswith("--device cuda")

    def gpu(wildcards: Wildcards) -> int:
        return targets.gpus(wildcards.policy) if stage in TRAINS else 1

    def mem_mb(wildcards: Wildcards, attempt: int, threads: int) -> int:
        own_mb = (PROCESS_MB + CUDA_MB) * gpu(wildcards) if on_gpu else PROCESS_MB  # training: one process a GPU
        return round((own_mb + memory_mb(targets, wildcards, threads)) * (1 + attempt) / 2)

    def runtime(wildcards: Wildcards, attempt: int, threads: int) -> int:
        rate = GPU_FLOPS * gpu(wildcards) if on_gpu else CPU_FLOPS * threads
        parts: list[Wildcards] = [On(wildcards, suite) for suite in suites] or [wildcards]
        return round((START_S + SAFETY * sum(work_s(targets, part, threads, rate) for part in parts)) * attempt / 60)

    # `sbatch --gpus=4` alone may spread them over several nodes
    return {"mem_mb": mem_mb, "runtime": runtime} | ({"gpu": gpu, "nodes": 1} if on_gpu else {})


def size_of(targets: Targets, policy: str, cut: str = "none") -> Size:
    """P and F of a policy after a cut: from the cut's plan if there is one, else from the undropped policy's, else from its sizes."""
    plans = (Path(paths.PLAN.format(scale=targets.scale, policy=policy, cut=name)) for name in (cut, "none"))
    sizes = (planned(plan, plan.stat().st_mtime_ns) for plan in plans if plan.exists())
    return next((size for size in sizes if size), None) or size_of_model(targets.config["policies"][policy].get("model", {}))


@lru_cache(maxsize=1024)
def planned(plan: Path, changed_ns: int) -> Size | None:
    """The size that a plan leaves; None when it does not read, which the stage that needs it will say.

    `changed_ns`: part of the key, so that a plan that is made again is read again.
    """
    del changed_ns
    try:
        value = read_json(plan)
        return Size(float(value["parameters"]["left"]), float(value["flops"]["left"]))
    except (ValueError, KeyError, TypeError):
        return None


def weights_mb(size: Size) -> float:
    """The file as the system caches it, and the weights in memory."""
    return 2 * FLOAT * size.parameters / 1e6


def pictures_mb(targets: Targets, data: str) -> list[float]:
    """The pictures of each data set of a mixture: frames * cameras * side^2 * 3 bytes."""
    frame_mb = CAMERAS * targets.config["image_size"] ** 2 * 3 / 1e6
    return [frames(targets, name) * frame_mb for name in targets.config["data"][data]]


def held_mb(targets: Targets, data: str, processes: int = 1) -> float:
    """Those that every process holds in memory; larger data sets stay on the disk (dtr.data.stored)."""
    return processes * sum(mb for mb in pictures_mb(targets, data) if mb * 1e6 <= KEPT_BYTES)


def frames(targets: Targets, demos: str) -> int:
    """Frames of a suite's demonstrations."""
    entry = targets.config["demos"][demos]
    return FRAMES * int(entry["episodes"]) * task_count(demos) if "episodes" in entry else PUBLISHED_FRAMES


def training_mb(recipe: Mapping[str, Any], size: Size) -> float:
    """Parameters, gradient, two moments and their average, of what is trained: with LoRA a fiftieth."""
    return 5 * FLOAT * size.parameters * (0.02 if recipe.get("lora") else 1.0) / 1e6


def training_s(recipe: Mapping[str, Any], undropped: Size, left: Size, rate: float) -> float:
    """steps * batch * 3 F / rate: a backward is two forwards. At matched cost, F and batch are those of the undropped policy."""
    matched = recipe.get("matched_batch")
    return float(recipe["steps"]) * (matched * undropped.flops if matched else recipe["batch"] * left.flops) * 3 / rate


def checkpoint_mb(targets: Targets, w: Wildcards, threads: int) -> float:
    """Policy, training state, pictures."""
    pretraining, size = targets.config["policies"][w.policy]["pretraining"], size_of(targets, w.policy)
    recipe, processes = targets.config["recipes"][pretraining["recipe"]], max(1, targets.gpus(w.policy))
    return weights_mb(size) + training_mb(recipe, size) + held_mb(targets, pretraining["data"], processes) + SIMULATOR_MB * threads


def checkpoint_s(targets: Targets, w: Wildcards, threads: int, rate: float) -> float:
    """Training from nothing."""
    size = size_of(targets, w.policy)
    return training_s(targets.config["recipes"][targets.config["policies"][w.policy]["pretraining"]["recipe"]], size, size, rate)


def recover_mb(targets: Targets, w: Wildcards, threads: int) -> float:
    """The undropped policy that is read, the state of what is left of it, pictures."""
    whole, left = size_of(targets, w.policy), size_of(targets, w.policy, w.cut)
    state = training_mb(targets.config["recipes"][w.recipe], left)
    return weights_mb(whole) + state + held_mb(targets, w.data, max(1, targets.gpus(w.policy))) + SIMULATOR_MB * threads


def recover_s(targets: Targets, w: Wildcards, threads: int, rate: float) -> float:
    """Training what is left."""
    return training_s(targets.config["recipes"][w.recipe], size_of(targets, w.policy), size_of(targets, w.policy, w.cut), rate)


def score_mb(targets: Targets, w: Wildcards, threads: int) -> float:
    """Policy, pictures and one more copy for what the gates see."""
    return 2 * weights_mb(size_of(targets, w.policy)) + held_mb(targets, targets.config["calibrations"][w.calibration]["data"])


def score_s(targets: Targets, w: Wildcards, threads: int, rate: float) -> float:
    """What the metric's forwards take (dtr.workflow.passes): it goes on from nothing, so all of it must fit into one attempt."""
    passes = forwards(w.metric, depths(targets.config["policies"][w.policy]))
    return float(targets.config["calibrations"][w.calibration]["samples"]) * passes * size_of(targets, w.policy).flops / rate


def rollout_mb(targets: Targets, w: Wildcards, threads: int) -> float:
    """What is left of the policy, and two simulators a core."""
    return weights_mb(size_of(targets, w.policy, w.cut)) + 2 * threads * SIMULATOR_MB


def rollout_s(targets: Targets, w: Wildcards, threads: int, rate: float) -> float:
    """episodes * steps * (step / simulators + inference / chunk), an inference bound by operations or by reading the weights."""
    protocol = json.loads(targets.protocol_json(w.protocol))
    episodes = int(protocol["trials"]) * len(protocol.get("tasks") or range(task_count(w.suite)))
    return episodes * episode_s(protocol, size_of(targets, w.policy, w.cut), threads, rate)


def canary_s(targets: Targets, w: Wildcards, threads: int, rate: float) -> float:
    """CANARY_EPISODES of each suite."""
    protocol = json.loads(targets.protocol_json(w.protocol))
    return CANARY_EPISODES * len(targets.config["suites"]) * episode_s(protocol, size_of(targets, w.policy, w.cut), threads, rate)


def failures_mb(targets: Targets, w: Wildcards, threads: int) -> float:
    """As a rollout."""
    arm = targets.arm(w.table, w.row)
    return weights_mb(size_of(targets, arm.policy, arm.cut)) + 2 * threads * SIMULATOR_MB


def failures_s(targets: Targets, w: Wildcards, threads: int, rate: float) -> float:
    """As many episodes, played once more."""
    arm = targets.arm(w.table, w.row)
    protocol = json.loads(targets.protocol_json(targets.protocol(arm, "")))
    return FAILURES * episode_s(protocol, size_of(targets, arm.policy, arm.cut), threads, rate)


def cut_failures_mb(targets: Targets, w: Wildcards, threads: int) -> float:
    """As a rollout; which arm it is of is not known yet, and none is larger than the undropped one."""
    return weights_mb(size_of(targets, w.policy)) + 2 * threads * SIMULATOR_MB


def cut_failures_s(targets: Targets, w: Wildcards, threads: int, rate: float) -> float:
    """A dozen episodes, played once more."""
    arm = next(arm for arms in targets.sheets.values() for arm in arms if arm.policy == w.policy)
    protocol = json.loads(targets.protocol_json(targets.protocol(arm, "")))
    return 12 * episode_s(protocol, size_of(targets, w.policy), threads, rate)


def episode_s(protocol: Mapping[str, Any], size: Size, threads: int, rate: float) -> float:
    """One episode of those that run at a time."""
    inference = max(size.flops / rate, FLOAT * size.parameters / GPU_BYTES)
    return STEPS * (STEP_S / threads + inference / int(protocol.get("chunk", 8)))


def demonstrate_s(targets: Targets, w: Wildcards, threads: int, rate: float) -> float:
    """Frames simulated, half of them in tries that fail."""
    return 2 * frames(targets, w.suite) * STEP_S / threads


STAGES: dict[str, tuple[Callable[[Targets, Wildcards, int], float], Callable[[Targets, Wildcards, int, float], float]]] = {
    "demonstrate": (lambda t, w, n: SIMULATOR_MB * n, demonstrate_s),
    "render": (lambda t, w, n: SIMULATOR_MB * n, demonstrate_s),
    "check_data": (lambda t, w, n: SIMULATOR_MB + KEPT_BYTES / 1e6, lambda t, w, n, rate: CHECK_S),
    "fetch": (lambda t, w, n: CUDA_MB, lambda t, w, n, rate: FETCH_S),
    "checkpoint": (checkpoint_mb, checkpoint_s),
    "score": (score_mb, score_s),
    "stability": (score_mb, score_s),
    "plan": (lambda t, w, n: 0, lambda t, w, n, rate: COUNT_S),
    "drop": (lambda t, w, n: 2 * weights_mb(size_of(t, w.policy)), lambda t, w, n, rate: COPY_S),
    "cost": (lambda t, w, n: 0, lambda t, w, n, rate: COUNT_S),
    "latency": (lambda t, w, n: 2 * weights_mb(size_of(t, w.policy)), lambda t, w, n, rate: COPY_S),
    "compress": (lambda t, w, n: 2 * weights_mb(size_of(t, w.policy)), lambda t, w, n, rate: COPY_S),
    "recover": (recover_mb, recover_s),
    "canary": (rollout_mb, canary_s),
    "rollout": (rollout_mb, rollout_s),
    "failures": (failures_mb, failures_s),
    "failures_cut": (cut_failures_mb, cut_failures_s),
}
"""Stage -> megabytes and seconds of work of one job."""
