"""Verb `estimate`: what a target costs before anything runs: GPU-hours, wall time and disk, stage by stage, of what is missing.

    seconds of a job = work / rate             GPU-hours = seconds * GPUs / 3600          (rates: dtr.workflow.rates, each with its basis)
    training: work = steps * batch * 3 F       scoring: samples * forwards of the metric * F (dtr.workflow.passes)        rollout: episodes
    one at a time: sum of the seconds          with machines enough: sum over stages of the longest job

F after a cut: of its plan, or at the published size what is left of its class (dtr.workflow.sizes), or (an upper bound) all of F.
Policies between drop and recovery are in memory, so they take no disk; a training keeps its state under work/ until its policy is written.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from dtr.errors import BadConfig
from dtr.sim.perturbations.variant import split
from dtr.sim.suites import task_count
from dtr.workflow import paths, rates
from dtr.workflow.bill import Job, left_out, text
from dtr.workflow.passes import forwards
from dtr.workflow.planned import late_files, read_targets
from dtr.workflow.rates import Rate, Run
from dtr.workflow.resources import CANARY_EPISODES, FLOAT, frames, pictures_mb, planned, training_mb, training_s
from dtr.workflow.sizes import FULL_SIZE, Size, depths, left, size_of_model
from dtr.workflow.targets import METHODS, Targets

PATTERNS = {
    "demonstrate": paths.SUITE,
    "check_data": paths.CHECKED,
    "checkpoint": paths.PRETRAINED,
    "stability": paths.STABILITY,
    "score": paths.SCORE,
    "drop": paths.PLAN,
    "cost": paths.COST,
    "recover": paths.RECOVERED,
    "canary": paths.CANARY,
    "rollout": paths.ROLLOUT.replace("{suite}{variant}", "{suite}"),
    "latency": paths.LATENCY,
}
"""Stage -> the path of what it makes; other files (cells, tables, figures) take seconds."""
EPISODE_KB = 0.33
"""One episode in a record; measured."""
FRAME_KB = 0.12
"""One frame of demonstrations without pictures; measured: 14.7 MB of 121,007."""


def matches(path: str) -> tuple[str, dict[str, str]] | None:
    """(stage, wildcards) of a file; None for what takes seconds."""
    for stage, pattern in PATTERNS.items():
        free = re.sub(r"\\\{(\w+)\\\}", r"(?P<\1>[^/]+?)", re.escape(pattern)).replace("(?P<kernels>[^/]+?)", "(?P<kernels>[^/]*)")
        if found := re.fullmatch(free, path):
            return stage, found.groupdict()
    return None


@dataclass(frozen=True)
class Estimator:
    """Jobs of one configuration. `fresh`: nothing on this disk counts, so that every machine estimates the same."""

    targets: Targets
    fresh: bool = False

    @cached_property
    def on_gpu(self) -> bool:
        """Whether the configuration trains on GPUs."""
        return self.targets.device.startswith("--device cuda")

    @cached_property
    def runs(self) -> list[Run]:
        """The run records of this scale."""
        return [] if self.fresh else list(rates.runs(self.targets.scale))

    def size(self, policy: str, cut: str = "none") -> Size:
        """P and F of a policy after a cut."""
        plan = Path(paths.PLAN.format(scale=self.targets.scale, policy=policy, cut=cut))
        if not self.fresh and plan.exists() and (counted := planned(plan, plan.stat().st_mtime_ns)):
            return counted
        entry = self.targets.config["policies"][policy]
        whole = self.size(policy) if cut != "none" else FULL_SIZE.get(entry["class"]) if "hub" in entry else None
        whole = whole or size_of_model(entry.get("model", {}))
        size, flops = left(entry["class"], cut) if "hub" in entry else (1.0, 1.0)
        return Size(whole.parameters * size, whole.flops * flops)

    def rate(self, kind: str, policy: str, guess: Rate | None = None) -> Rate:
        """Operations (training, score) of one GPU or episodes (rollout) a second: measured, or `guess`, or what is usual."""
        found: dict[str, list[float]] = {}
        for run in self.runs:
            if (work := self.work_of(run, kind)) > 0:
                found.setdefault(run.policy, []).append(work / run.seconds)
        return rates.measured(found, policy) or guess or (rates.GUESSES_ON_GPU if self.on_gpu else rates.GUESSES_ON_CPU)[kind]

    def episodes_per_s(self, w: Mapping[str, str]) -> Rate:
        """The rate of rollouts of an arm."""
        chunk = int(json.loads(self.targets.protocol_json(w["protocol"])).get("chunk", 8))
        return self.rate("rollout", w["policy"], rates.guessed_rollout(self.size(w["policy"], w["cut"]), chunk) if self.on_gpu else None)

    def work_of(self, run: Run, kind: str) -> float:
        """The work of a recorded run, of one kind, a GPU's share of it; 0 when it is of another."""
        named = matches(run.artifact)
        if named is None or run.policy not in self.targets.config["policies"]:
            return 0.0
        stage, w = named
        if kind == "training" and stage in ("checkpoint", "recover") and run.stage in ("checkpoint", "recover"):
            recipe, whole, left = run.recipe(), self.size(run.policy), self.size(run.policy, w.get("cut", "none"))
            return training_s(recipe, whole, left, run.gpus()) if recipe else 0.0
        if kind == "score" and stage in ("score", "stability"):
            return float(run.argument("--samples") or 0) * self.sample(run.policy, w["metric"])
        return float(run.record.get("played", 0)) if kind == stage == "rollout" else 0.0

    def sample(self, policy: str, metric: str) -> float:
        """Operations that scoring one sample takes."""
        return forwards(metric, depths(self.targets.config["policies"][policy])) * self.size(policy).flops

    def job(self, path: str) -> Job | None:
        """The job behind a file; None for what takes seconds."""
        named = matches(path)
        if named is None:
            return None
        stage, w = named
        return getattr(self, stage)(path, w)

    def demonstrate(self, path: str, w: Mapping[str, str]) -> Job:
        """Recorded by the expert, or fetched."""
        if "hub" in self.targets.config["demos"][w["suite"]]:
            return Job("fetch", path, 1 / rates.OTHER["fetch"].per_s, 0, 1000 * rates.DEMONSTRATIONS_GB, 0, rates.OTHER["fetch"].basis)
        n = frames(self.targets, w["suite"])
        own = [frames(self.targets, Path(run.artifact).parent.name) / run.seconds for run in self.runs if run.stage == "demonstrate"]
        rate = rates.measured({"": own}, "") if own else rates.OTHER["demonstrate"]
        assert rate is not None
        return Job("demonstrate", path, n / rate.per_s, 0, n * FRAME_KB / 1e3, 0, rate.basis)

    def check_data(self, path: str, w: Mapping[str, str]) -> Job:
        """A look at fetched demonstrations."""
        return Job("check_data", path, 1 / rates.OTHER["check_data"].per_s, 0, 0, 0, rates.OTHER["check_data"].basis)

    def checkpoint(self, path: str, w: Mapping[str, str]) -> Job:
        """Trained here, or fetched and imported: then the fetched files stay beside the policy file."""
        policy, entry = w["policy"], self.targets.config["policies"][w["policy"]]
        size = self.size(policy)
        kept = FLOAT * size.parameters / 1e6
        if "hub" in entry:
            return Job("fetch", path, 1 / rates.OTHER["fetch"].per_s, 0, kept, kept, rates.OTHER["fetch"].basis)
        recipe = self.targets.config["recipes"][entry["pretraining"]["recipe"]]
        return self.training("checkpoint", path, policy, recipe, size, entry["pretraining"]["data"])

    def training(self, stage: str, path: str, policy: str, recipe: Mapping[str, Any], left: Size, data: str) -> Job:
        """A training: on as many GPUs as the configuration says."""
        gpus, rate = self.targets.gpus(policy), self.rate("training", policy)
        seconds = training_s(recipe, self.size(policy), left, rate.per_s * max(1, gpus))
        kept = (2 if recipe.get("stored") == "bfloat16" else FLOAT) * left.parameters / 1e6
        pictures = sum(pictures_mb(self.targets, data)) if self.targets.rendering(data) else 0.0  # fetched ones are read from their files
        return Job(stage, path, seconds, gpus, kept, training_mb(recipe, left) + pictures, rate.basis)

    def recover(self, path: str, w: Mapping[str, str]) -> Job:
        """Recovery, or what is done instead of it."""
        left = self.size(w["policy"], w["cut"])
        recipe, _, method = w["recipe"].partition(".")
        if method in METHODS:
            return self.other("compress", path, FLOAT * left.parameters / 1e6)
        return self.training("recover", path, w["policy"], self.targets.config["recipes"][recipe], left, w["data"])

    def score(self, path: str, w: Mapping[str, str]) -> Job:
        """One metric on one calibration set; one that needs no forward only reads the weights."""
        policy, metric = w["policy"], w["metric"]
        guess = rates.guessed_score(self.targets.config["policies"][policy]["class"], metric) if self.on_gpu else None
        rate = self.rate("score", policy, guess)
        work = self.targets.config["calibrations"][w["calibration"]]["samples"] * self.sample(policy, metric)
        if not work:
            return self.other("score", path, 0.01, int(self.on_gpu))
        return Job("score", path, work / rate.per_s, int(self.on_gpu), 0.01, 0, rate.basis)

    def stability(self, path: str, w: Mapping[str, str]) -> Job:
        """The scores once more."""
        return replace(self.score(path, w), stage="stability")

    def rollout(self, path: str, w: Mapping[str, str]) -> Job:
        """All episodes of one suite under one protocol."""
        protocol = json.loads(self.targets.protocol_json(w["protocol"]))
        suite = split(w["suite"])[0]
        n = int(protocol["trials"]) * len(protocol.get("tasks") or range(task_count(suite)))
        rate = self.episodes_per_s(w)
        return Job("rollout", path, n / rate.per_s, int(self.on_gpu), n * EPISODE_KB / 1e3, n * EPISODE_KB / 1e3, rate.basis)

    def canary(self, path: str, w: Mapping[str, str]) -> Job:
        """CANARY_EPISODES of each suite."""
        rate = self.episodes_per_s(w)
        return Job("canary", path, CANARY_EPISODES * len(self.targets.config["suites"]) / rate.per_s, int(self.on_gpu), 0, 0, rate.basis)

    def drop(self, path: str, w: Mapping[str, str]) -> Job:
        """A plan: parameters and FLOPs are counted."""
        return self.counting("drop", path, w)

    def cost(self, path: str, w: Mapping[str, str]) -> Job:
        """A cost record."""
        return self.counting("cost", path, w)

    def counting(self, stage: str, path: str, w: Mapping[str, str]) -> Job:
        """Seconds at a laptop's scale."""
        rate = rates.OTHER["count"] if "hub" in self.targets.config["policies"][w["policy"]] else rates.OTHER["other"]
        return Job(stage, path, 1 / rate.per_s, 0, 0, 0, rate.basis)

    def latency(self, path: str, w: Mapping[str, str]) -> Job:
        """Times, measured alone on the machine."""
        return self.other("latency", path, 0, int(self.on_gpu))

    def other(self, stage: str, path: str, kept_mb: float, gpus: int = 0) -> Job:
        """What nobody has measured."""
        return Job(stage, path, 1 / rates.OTHER["other"].per_s, gpus, kept_mb, 0, rates.OTHER["other"].basis)

    def jobs(self, files: Iterable[str]) -> list[Job]:
        """The jobs behind files, those of seconds left out."""
        return [job for path in files if (job := self.job(path)) is not None]


def add_parser(verbs: Any) -> None:
    """Declare `dtr estimate`."""
    p = verbs.add_parser("estimate", help="GPU-hours, wall time and disk of a target, stage by stage, before anything runs")
    p.add_argument("targets", nargs="+", help="files that Snakemake can make, for example results/table3.csv")
    p.add_argument("--config", default="config/embedded.yaml", help="the configuration (default config/embedded.yaml)")
    p.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """The verb."""
    if not Path("Snakefile").exists():
        raise BadConfig(f"there is no Snakefile in {Path.cwd()}: change to the repository's own folder.")
    estimator = Estimator(read_targets(args.config))
    files = late_files(args.config, args.targets)
    print(text(estimator.jobs(files), len(files)))
    print("".join(left_out(estimator.targets, args.targets)), end="")
