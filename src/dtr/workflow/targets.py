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

from dtr.dropping.cut import parse_cut
from dtr.errors import unknown
from dtr.policies.tokenizer import words_of
from dtr.report.reported import reported
from dtr.rollout.official import resolved
from dtr.sim.perturbations.variant import PATTERN
from dtr.sim.suites import suite
from dtr.workflow import paths
from dtr.workflow.config import Arm, check_config, read_sheet

SIZES = ("size", "flops")
AVERAGE = "average"
SAMPLE = r"(?:/live-n[1-9]\d*)?"
"""Of a path: nothing, or the live sample. See dtr.workflow.paths."""
PROTOCOL = r"[a-z][a-z0-9_]*(?:-[a-z0-9_]+)*-n[1-9]\d*(?:-live)?"
FULL_TRIALS = 50


@dataclass(frozen=True)
class Targets:
    """What one configuration can build. `folder` is where the sheets' relative paths start.

    Raises BadConfig or UnknownName when the configuration or a sheet does not hold together.
    """

    config: Mapping[str, Any]
    folder: str = "."

    def __post_init__(self) -> None:
        check_config(self.config)
        for table in self.sheets:
            for column in self.columns(table):
                if column not in (known := (*SIZES, *self.config["suites"], *self.config.get("variants", {}), AVERAGE)):
                    raise unknown("column", column, known, f"tables.{table}.columns names it.")

    @property
    def scale(self) -> str:
        """The name of the configuration."""
        return str(self.config["scale"])

    @cached_property
    def sheets(self) -> dict[str, list[Arm]]:
        """Table name -> its arms."""
        return {name: read_sheet(f"{self.folder}/{sheet_of(entry)}", self.config) for name, entry in self.config["tables"].items()}

    def columns(self, table: str) -> list[str]:
        """Columns of numbers of a table: as configured, or size, FLOPs, one a suite, their average."""
        entry = self.config["tables"][table]
        return [*SIZES, *self.config["suites"], AVERAGE] if isinstance(entry, str) else list(entry["columns"])

    def rates(self) -> str:
        """A regular expression of the columns that are success rates."""
        return "|".join(re.escape(name) for name in [*self.config["suites"], *self.config.get("variants", {}), AVERAGE])

    def constraints(self) -> dict[str, str]:
        """Regular expressions of the wildcards, so that a path means one thing and an unknown name matches nothing."""
        names = {
            "policy": self.config["policies"],
            "data": self.config["data"],
            "recipe": self.config["recipes"],
            "suite": {*self.config["demos"], *self.config["suites"].values()},
            "calibration": self.config["calibrations"],
            "table": self.config["tables"],
            "column": {column for table in self.sheets for column in self.columns(table)},
            "row": [arm.row for arms in self.sheets.values() for arm in arms],
        }
        fixed = {key: "|".join(re.escape(name) for name in sorted(values)) for key, values in names.items()}
        free = {"cut": r"[a-z0-9_.+-]+", "seed": r"\d+", "metric": "[a-z_]+", "protocol": PROTOCOL, "sample": SAMPLE, "variant": PATTERN}
        return fixed | free | {"scale": re.escape(self.scale)}

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
        """The protocol's part of the paths of an arm's episode records, for all initial states or a live sample."""
        if not sample:
            return f"{arm.protocol}-n{resolved(self.config['protocols'][arm.protocol], arm.protocol).get('trials', FULL_TRIALS)}"
        return f"{arm.protocol}-n{sample.removeprefix('/live-n')}-live"

    def protocol_json(self, protocol: str) -> str:
        """The protocol as `dtr rollout` reads it, from its part of a path."""
        name, trials = re.fullmatch(r"(.+)-n(\d+)(?:-live)?", protocol).groups()  # type: ignore[union-attr]
        if name not in self.config["protocols"]:
            raise unknown("protocol", name, self.config["protocols"])
        return json.dumps({**resolved(self.config["protocols"][name], name), "name": name, "trials": int(trials)}, sort_keys=True)

    def of_origin(self, section: str, origin: str) -> str:
        """A regular expression of the names in `section` that have the key `origin`: policies trained here or fetched, say."""
        names = [re.escape(name) for name, entry in self.config[section].items() if origin in entry]
        return "|".join(names) or "(?!)"  # (?!) matches nothing

    def demonstrations(self, suite: str) -> str:
        """The arguments of `dtr demonstrate` for a suite."""
        return " ".join(f"--{key.replace('_', '-')} {value}" for key, value in sorted(self.config["demos"][suite].items()))

    def policy_json(self, policy: str) -> str:
        """The untrained policy as `dtr checkpoint` reads it."""
        entry = self.config["policies"][policy]
        return json.dumps({"name": entry["class"], "config": entry["model"], "processor": entry.get("processor", {})}, sort_keys=True)

    def published(self, section: str, name: str) -> str:
        """The entry of `policies` or `demos` as `dtr fetch` and `dtr import` read it, without what neither depends on."""
        entry = self.config[section][name]
        return json.dumps({key: entry[key] for key in ("class", "model", "processor", "hub") if key in entry}, sort_keys=True)

    def measured(self, policy: str) -> list[str]:
        """The demonstrations on which the statistics of a published policy are measured; none when it brings its own."""
        statistics = self.config["policies"][policy]["hub"]["statistics"]
        return self.data(statistics["data"]) if "data" in statistics else []

    def recipe_json(self, recipe: str) -> str:
        """The recipe as `dtr recover` reads it."""
        return json.dumps(self.config["recipes"][recipe], sort_keys=True)

    def data(self, data: str) -> list[str]:
        """The demonstrations of a mixture."""
        return [paths.SUITE.format(scale=self.scale, suite=suite) for suite in self.config["data"][data]]

    def rendering(self, data: str) -> list[str]:
        """The stages behind the pictures of a mixture: none when all of it is fetched."""
        return ["render"] if any("hub" not in self.config["demos"][suite] for suite in self.config["data"][data]) else []

    def pictures(self) -> str:
        """The arguments of a verb that may have to render demonstrations: how large, and where the pictures are kept."""
        return f"--image-size {self.config['image_size']} --pictures {paths.PICTURES.format(scale=self.scale)}"

    @property
    def device(self) -> str:
        """The argument that names the device of training, scoring and inference, where the configuration does."""
        return f"--device {self.config['device']}" if "device" in self.config else ""

    def gpus(self, policy: str) -> int:
        """GPUs that training this policy takes."""
        return int(self.config["policies"][policy].get("gpus", 1)) if self.device.startswith("--device cuda") else 0

    def training(self, policy: str) -> str:
        """The arguments that say what this policy is trained on: `device`, and how many GPUs where the configuration says so."""
        entry = self.config["policies"][policy]
        gpus = f" --gpus {entry['gpus']}" if "gpus" in entry else ""
        return f"{self.device}{gpus}{' --recompute' if entry.get('recompute') else ''}"

    def scoring(self, calibration: str) -> str:
        """The arguments that say where and in which precision importance is scored."""
        entry = self.config["calibrations"][calibration]
        return self.device + (f" --precision {entry['precision']}" if "precision" in entry else "")

    def words(self) -> str:
        """Every word of every suite's instructions: what a policy that is trained here must be able to read later on."""
        names = sorted({*self.config["demos"], *self.config["suites"].values()})
        return " ".join(sorted({word for name in names for task in suite(name).tasks for word in words_of(task.language)}))

    def scores(self, policy: str, cut: str) -> list[str]:
        """The score files that a cut needs: one a metric in it, on the policy's calibration set."""
        calibration = self.config["policies"][policy]["calibration"]
        return [
            paths.SCORE.format(scale=self.scale, policy=policy, calibration=calibration, metric=metric) for metric in parse_cut(cut).metrics
        ]

    def episodes(self, arm: Arm, column: str, sample: str, table: str = "") -> list[str]:
        """The episode records behind a success cell: one file a suite, variant and seed. The average is of what its table shows: of the
        columns of variants where it has any."""
        suites, variants = self.config["suites"], self.config.get("variants", {})
        shown = [c for c in (self.columns(table) if table else ()) if c in variants] if column == AVERAGE else [column]
        played = [f"{suite}+{variant}" for c in shown if c in variants for variant in variants[c] for suite in suites.values()]
        played = played or (list(suites.values()) if column == AVERAGE else [suites[column]])
        fields = {"scale": self.scale, "policy": arm.policy, "cut": arm.cut, "data": arm.data, "recipe": arm.recipe}
        protocol = self.protocol(arm, sample)
        return [
            paths.ROLLOUT.format(**fields, seed=seed, protocol=protocol, suite=label, variant="") for label in played for seed in arm.seeds
        ]

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

    def cost(self, arm: Arm) -> str:
        """The cost record of an arm."""
        return paths.COST.format(scale=self.scale, policy=arm.policy, cut=arm.cut)

    def cells(self, table: str, sample: str) -> list[str]:
        """All cells of a table, row by row."""
        return [
            paths.CELL.format(scale=self.scale, sample=sample, table=table, row=arm.row, column=column)
            for arm in self.sheets[table]
            for column in self.columns(table)
        ]


def sheet_of(entry: str | Mapping[str, Any]) -> str:
    """The sheet of one entry of `tables`."""
    return entry if isinstance(entry, str) else str(entry["sheet"])
