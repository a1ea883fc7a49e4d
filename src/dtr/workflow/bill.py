"""What jobs cost together, and how `dtr estimate` says it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from dtr.workflow.targets import Targets


@dataclass(frozen=True)
class Job:
    """One job of a stage: seconds on `gpus` GPUs, megabytes kept, megabytes under work/ while it runs, where the rate comes from."""

    stage: str
    path: str
    seconds: float
    gpus: int
    kept_mb: float
    work_mb: float
    basis: str


def summed(jobs: Iterable[Job]) -> dict[str, float]:
    """GPU-hours, hours one at a time, hours with machines enough, gigabytes kept, gigabytes under work/ (the most that one job needs)."""
    found = list(jobs)
    longest: dict[str, float] = {}
    for job in found:
        longest[job.stage] = max(longest.get(job.stage, 0.0), job.seconds)
    return {
        "jobs": len(found),
        "gpu_hours": sum(job.seconds * job.gpus for job in found) / 3600,
        "hours": sum(job.seconds for job in found) / 3600,
        "longest_hours": sum(longest.values()) / 3600,
        "kept_gb": sum(job.kept_mb for job in found) / 1e3,
        "work_gb": max((job.work_mb for job in found), default=0.0) / 1e3,
    }


def text(jobs: list[Job], files: int) -> str:
    """The table that `dtr estimate` prints."""
    if not jobs:
        return f"nothing that takes longer than seconds is missing ({files} files of cells, tables and figures)"
    lines = [f"{'stage':<12}{'jobs':>6}{'GPU-hours':>11}{'hours':>10}{'longest':>9}{'kept GB':>9}{'work GB':>9}  rate"]
    for stage in dict.fromkeys(job.stage for job in jobs):
        own = [job for job in jobs if job.stage == stage]
        lines.append(line(stage, own, "; ".join(dict.fromkeys(job.basis for job in own))))
    all_of_it = summed(jobs)
    lines += [line("all", jobs, ""), "", f"{files - len(jobs)} more files (cells, tables, figures) take seconds each."]
    wall = f"{all_of_it['hours']:.1f} hours one job at a time, {all_of_it['longest_hours']:.1f} with machines enough (stage after stage)"
    lines.append(f"{wall}. Policies between drop and recovery are in memory: no disk. work GB: the most that one running job keeps.")
    if guessed := [job.stage for job in jobs if job.basis.startswith("guess")]:
        lines.append(f"Guessed, not measured: {', '.join(dict.fromkeys(guessed))}.")
    return "\n".join(lines)


def left_out(targets: Targets, asked: Iterable[str]) -> list[str]:
    """A sentence for each table that is asked for and has rows that this scale does not run."""
    found = []
    for table in dict.fromkeys(Path(path).stem for path in asked if Path(path).stem in targets.sheets):
        rows, running = len(targets.sheets[table]), len(targets.running(table))
        if running < rows:
            said = f"{rows - running} of its {rows} rows are not run at the scale {targets.scale} and cost nothing above"
            found.append(f"{table}: {said} (docs/coverage.md says why).\n")
    return found


def line(name: str, jobs: list[Job], basis: str) -> str:
    """One line of it."""
    s = summed(jobs)
    numbers = f"{s['gpu_hours']:>11.2f}{s['hours']:>10.2f}{s['longest_hours']:>9.2f}{s['kept_gb']:>9.2f}{s['work_gb']:>9.2f}"
    return f"{name:<12}{s['jobs']:>6}{numbers}  {basis}".rstrip()
