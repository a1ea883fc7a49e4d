"""From a configuration and its sheets to files: which records a cell needs, which cells a table needs. No I/O but the sheets."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from dtr.dropping.cut import SUBLAYERS, parse_cut
from dtr.errors import BadConfig, unknown
from dtr.provenance import digest
from dtr.report.reported import reported
from dtr.rollout.official import resolved
from dtr.sim.perturbations.variant import PATTERN
from dtr.workflow import paths
from dtr.workflow.arguments import Arguments
from dtr.workflow.config import Arm, check_config, pressed, read_sheet

SIZES = ("size", "flops")
TRAINING = ("batch", "steps")
SPEED = ("action_speedup", "memory_gib")
TASK = ("step_ratio", "task_speedup")
AVERAGE = "average"
METHODS = ("zero_shot", "int8", "sparse24")
"""What may stand in an arm's recipe after a dot: dtr.dropping.compress instead of recovery."""
SAMPLE = r"(?:/live-n[1-9]\d*)?"
"""Of a path: nothing, or the live sample. See dtr.workflow.paths."""
PROTOCOL = r"[a-z][a-z0-9_]*(?:-[a-z0-9_]+)*-n[1-9]\d*(?:-live)?"
METRIC = rf"[a-z_]+(?:\.(?:{'|'.join(SUBLAYERS)}))?"
"""The name of a score: a metric, and of what part where not of whole blocks (`gateprobe.mlp`)."""
FULL_TRIALS = 50


@dataclass(frozen=True)
class Targets(Arguments):
    """What one configuration can build. Raises BadConfig or UnknownName when the configuration or a sheet does not hold together."""

    def __post_init__(self) -> None:
        check_config(self.config)
        for table in self.sheets:
            for column in self.columns(table):
                known = (*SIZES, *TRAINING, *SPEED, *TASK, *self.config["suites"], *self.config.get("variants", {}), AVERAGE)
                if column not in known:
                    raise unknown("column", column, known, f"tables.{table}.columns names it.")

    @cached_property
    def sheets(self) -> dict[str, list[Arm]]:
        """Table name -> its arms."""
        entries = {name: entry_of(entry) for name, entry in self.config["tables"].items()}
        return {
            name: read_sheet(f"{self.folder}/{entry['sheet']}", self.config, entry.get("recipes", {})) for name, entry in entries.items()
        }

    def columns(self, table: str) -> list[str]:
        """Columns of numbers of a table: as configured, or size, FLOPs, one a suite, their average."""
        entry = entry_of(self.config["tables"][table])
        return list(entry.get("columns", [*SIZES, *self.config["suites"], AVERAGE]))

    def running(self, table: str) -> list[Arm]:
        """The arms of a table that run at this scale."""
        return [arm for arm in self.sheets[table] if arm.runs(self.scale)]

    def rates(self) -> str:
        """A regular expression of the columns that are success rates."""
        return "|".join(re.escape(name) for name in [*self.config["suites"], *self.config.get("variants", {}), AVERAGE])

    def constraints(self) -> dict[str, str]:
        """Regular expressions of the wildcards, so that a path means one thing and an unknown name matches nothing."""
        names = {
            "policy": self.config["policies"],
            "data": self.config["data"],
            "suite": {*self.config["demos"], *self.config["suites"].values(), *pressed(self.config)},
            "calibration": self.config["calibrations"],
            "table": self.config["tables"],
            "column": {column for table in self.sheets for column in self.columns(table)},
            "row": [arm.row for table in self.sheets for arm in self.running(table)],
        }
        fixed = {key: "|".join(re.escape(name) for name in sorted(values)) for key, values in names.items()}
        free = {"cut": r"[a-z0-9_.+-]+", "seed": r"\d+", "metric": METRIC, "protocol": PROTOCOL, "sample": SAMPLE, "variant": PATTERN}
        free |= {"recipe": f"(?:{self.recipes()}|{self.methods()})", "kernels": "(?:-int8|-sparse24)?"}
        return fixed | free | {"scale": re.escape(self.scale)}

    def recipes(self) -> str:
        """A regular expression of the recipes' names."""
        return "|".join(re.escape(name) for name in sorted(self.config["recipes"]))

    def methods(self) -> str:
        """A regular expression of recipes with a method after the dot."""
        return f"(?:{self.recipes()})\\.(?:{'|'.join(METHODS)})"

    def arm(self, table: str, row: str) -> Arm:
        """The arm of a row. Raises UnknownName."""
        arms = {arm.row: arm for arm in self.sheets[table]}
        if row not in arms:
            raise unknown(f"row of {table}", row, arms)
        return arms[row]

    def baseline(self, table: str, row: str) -> Arm:
        """The arm that `row` is compared with: the first of the same policy in the sheet."""
        return next(arm for arm in self.sheets[table] if arm.policy == self.arm(table, row).policy)

    def protocol(self, arm: Arm, sample: str) -> str:
        """The protocol's part of the paths of an arm's episode records, for all initial states or a live sample. It is the sheet's, or the
        one that the arm's policy plays instead: official evaluations belong to the pictures and the gripper of a class."""
        name = self.config["policies"][arm.policy].get("protocols", {}).get(arm.protocol, arm.protocol)
        if not sample:
            return f"{name}-n{resolved(self.config['protocols'][name], name).get('trials', FULL_TRIALS)}"
        if (trials := int(sample.removeprefix("/live-n"))) > FULL_TRIALS:
            raise BadConfig(f"a live sample has 1 to {FULL_TRIALS} initial states a task, got {trials}: lower it (make table1 TRIALS=5).")
        return f"{name}-n{trials}-live"

    def scores(self, policy: str, cut: str) -> list[str]:
        """The score files that a cut needs: one a metric in it, on the policy's calibration set."""
        return [self.score(policy, metric) for metric in parse_cut(cut).metrics]

    def score(self, policy: str, metric: str) -> str:
        """The scores of a policy by one metric, on its own calibration set."""
        calibration = self.config["policies"][policy]["calibration"]
        return paths.SCORE.format(scale=self.scale, policy=policy, calibration=calibration, metric=metric)

    def gradients(self, table: str) -> list[str]:
        """The gate gradients of every policy of which a table shows a cut: they say, beside its plans, which blocks are dead."""
        return [self.score(policy, "gateprobe") for policy in dict.fromkeys(a.policy for a in self.running(table) if a.cut != "none")]

    def against(self, policy: str, calibration: str, metric: str) -> list[str]:
        """The scores of the same metric on every other calibration set of the configuration."""
        others = sorted(set(self.config["calibrations"]) - {calibration})
        return [paths.SCORE.format(scale=self.scale, policy=policy, calibration=other, metric=metric) for other in others]

    def episodes(self, arm: Arm, column: str, sample: str, table: str = "") -> list[str]:
        """The episode records behind a cell: one file a suite, variant and seed. The average is of what its table shows, the columns of
        variants where it has any; steps are counted on all suites that it shows."""
        suites, variants = self.config["suites"], self.config.get("variants", {})
        shown = [c for c in (self.columns(table) if table else ()) if c in (suites if column in TASK else variants)]
        shown = shown if column in (AVERAGE, *TASK) else [column]
        played = [f"{suite}+{variant}" for c in shown if c in variants for variant in variants[c] for suite in suites.values()]
        played = played or [suites[c] for c in shown if c in suites] or list(suites.values())
        fields = {"scale": self.scale, "policy": arm.policy, "cut": arm.cut, "data": arm.data, "recipe": trained_by(arm)}
        protocol = self.protocol(arm, sample)
        return [
            paths.ROLLOUT.format(**fields, seed=seed, protocol=protocol, suite=label, variant="") for label in played for seed in arm.seeds
        ]

    def together(self) -> dict[str, list[str]]:
        """Column -> the suites with its variants, which one job plays. A variant that several columns show is in the first of them."""
        seen: set[str] = set()
        found: dict[str, list[str]] = {}
        for column, variants in self.config.get("variants", {}).items():
            found[column] = [
                f"{suite}+{variant}" for variant in variants if variant not in seen for suite in self.config["suites"].values()
            ]
            seen |= set(variants)
        return {column: labels for column, labels in found.items() if labels}

    def canary(self, wildcards: Any) -> list[str]:
        """The canary that a rollout waits for: of the undropped arm of its policy under its protocol; none is asked for unless the
        configuration has `canary`."""
        undropped = [arm for arms in self.sheets.values() for arm in arms if (arm.policy, arm.cut) == (wildcards.policy, "none")]
        if "canary" not in self.config or not undropped:
            return []
        arm = undropped[0]
        fields = {"scale": self.scale, "policy": arm.policy, "cut": arm.cut, "data": arm.data, "recipe": arm.recipe, "seed": arm.seeds[0]}
        return [paths.CANARY.format(**fields, protocol=wildcards.protocol)]

    def cell_arguments(self, table: str, row: str, column: str) -> str:
        """The arguments of `dtr cell` that name a cell and label its row."""
        arm = self.arm(table, row)
        named = {"table": table, "row": row, "column": column, "scale": self.scale}
        named |= {"model": arm.model, "setting": arm.setting, "component": arm.component}
        return " ".join(f"--{key} {shlex.quote(value)}" for key, value in named.items())

    def reported(self, table: str, row: str, column: str) -> str:
        """What the paper says in this cell, as text."""
        path = Path(self.folder, paths.REPORTED.format(table=table))
        return json.dumps(reported(path if path.exists() else None, row, column), sort_keys=True)

    def reported_digest(self, table: str) -> str:
        """A digest of all that the paper says in a table."""
        path = Path(self.folder, paths.REPORTED.format(table=table))
        return digest(path.read_text(encoding="utf-8")) if path.exists() else ""

    def cost(self, arm: Arm) -> str:
        """The cost record of an arm."""
        return paths.COST.format(scale=self.scale, policy=arm.policy, cut=arm.cut)

    def cells(self, table: str, sample: str) -> list[str]:
        """All cells of a table, row by row, of the arms that run."""
        return [
            paths.CELL.format(scale=self.scale, sample=sample, table=table, row=arm.row, column=column)
            for arm in self.running(table)
            for column in self.columns(table)
        ]

    def recovered(self, arm: Arm) -> str:
        """The policy file of an arm, of its first training seed."""
        fields = {"scale": self.scale, "policy": arm.policy, "cut": arm.cut, "data": arm.data}
        return paths.RECOVERED.format(**fields, recipe=trained_by(arm), seed=arm.seeds[0])

    def plan(self, arm: Arm) -> str:
        """The plan of an arm."""
        return paths.PLAN.format(scale=self.scale, policy=arm.policy, cut=arm.cut)

    def latency(self, arm: Arm) -> str:
        """The measured times of an arm."""
        kernels = f"-{arm.method}" if arm.method in METHODS[1:] else ""
        return paths.LATENCY.format(scale=self.scale, policy=arm.policy, cut=arm.cut, kernels=kernels)

    def rows_json(self, table: str) -> str:
        """All rows of a table in order as `dtr table` reads them: labels; the plan and the training of an arm that runs; else why not."""
        rows = [
            {"row": arm.row, "model": arm.model, "setting": arm.setting, "component": arm.component}
            | ({"plan": self.plan(arm), "training": training(arm)} if arm.runs(self.scale) else {"not_run": arm.note})
            for arm in self.sheets[table]
        ]
        return json.dumps(rows)


def entry_of(entry: str | Mapping[str, Any]) -> Mapping[str, Any]:
    """One entry of `tables`: a sheet alone, or with columns and recipes."""
    return {"sheet": entry} if isinstance(entry, str) else entry


def training(arm: Arm) -> str:
    """What an arm's policies learnt from, how, and with which seeds: arms of one plan that agree here share their policies."""
    return f"{arm.policy}.{arm.data}.{trained_by(arm)}.{','.join(map(str, arm.seeds))}"


def trained_by(arm: Arm) -> str:
    """The recipe's part of an arm's paths: its recipe, and after a dot what was done instead of recovery."""
    return arm.recipe if arm.method == "-" else f"{arm.recipe}.{arm.method}"
