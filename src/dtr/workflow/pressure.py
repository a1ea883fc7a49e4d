"""The control of language: which sets of tasks every arm of its sheet plays, under which instruction, and against whom it is held.

    pressure:
      sheet: config/experiments/language_pressure.tsv       as every sheet, with the columns `sets`, `against`
      sets:                                                 name -> suites, and how many initial states where not the protocol's
        scene: {suites: [embedded_object]}                  the scene alone determines the goal
        instruction: {suites: [embedded_goal]}              the instruction alone does

An arm is held against the undropped one of the same policy, of the same data where the sheet has it, that plays the same set; and against
the rows that its column `against` names, where they play it too: policies of the same depth that were not dropped.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from dtr.errors import BadConfig
from dtr.sim.suites import MAX_STEPS
from dtr.workflow import paths
from dtr.workflow.config import Arm, read_sheet, require
from dtr.workflow.targets import Targets, trained_by

SAID = {"right": "", "blank": "+blank", "swapped": "+swapped"}
"""Instruction -> the variant that is rolled out for it."""
BEYOND = {"instruction": "scene", "held_out": "combinations"}
"""Set -> the one beyond which a cut's effect on it is shown, where an arm plays both."""
FIGURE = "language_pressure"


@dataclass(frozen=True)
class Pressure:
    """What one configuration can build of it; nothing where it has no `pressure`. Raises BadConfig or UnknownName."""

    targets: Targets

    def __post_init__(self) -> None:
        for name, entry in self.sets.items():
            for suite in entry["suites"]:
                require("suite", suite, MAX_STEPS, f"pressure.sets.{name}.suites names it.")
        rows = {arm.row: arm for arm in self.arms}
        for arm in self.arms:
            for rival in arm.rivals:
                require("row", rival, rows, f"row {arm.row} of {self.config.get('sheet')} names it in its column against.")
                if rival == arm.row or rows[rival].policy != arm.policy or not set(arm.played) & set(rows[rival].played):
                    raise BadConfig(
                        f"row {arm.row} of {self.config['sheet']} is held against {rival}: expected another arm of {arm.policy} that plays "
                        f"some of {arm.sets}, got one of {rows[rival].policy} that plays {rows[rival].sets}; correct its column against."
                    )
            for name in arm.played:
                require("set of tasks", name, self.sets, f"row {arm.row} of {self.config.get('sheet')} names it.")
            if not arm.played:
                raise BadConfig(
                    f"row {arm.row} of {self.config['sheet']} plays nothing: name some of {', '.join(self.sets)} in its column sets."
                )

    @property
    def config(self) -> Mapping[str, Any]:
        """The part of the configuration; empty without one."""
        found: Mapping[str, Any] = self.targets.config.get("pressure", {})
        return found

    @property
    def sets(self) -> Mapping[str, Mapping[str, Any]]:
        """Name of a set -> its suites, and its number of initial states where that is said."""
        found: Mapping[str, Mapping[str, Any]] = self.config.get("sets", {})
        return found

    @cached_property
    def arms(self) -> list[Arm]:
        """The rows of the sheet."""
        return read_sheet(f"{self.targets.folder}/{self.config['sheet']}", self.targets.config) if self.config else []

    def undropped(self, arm: Arm, name: str) -> Arm:
        """The arm that `arm` is held against on a set."""
        scale = self.targets.scale
        whole = [a for a in self.arms if a.policy == arm.policy and a.cut == "none" and name in a.played and a.runs(scale)]
        if not whole:
            raise BadConfig(
                f"expected a row of {self.config['sheet']} with the cut none that plays {name} with {arm.policy} at the scale {scale}, "
                f"got none to hold {arm.row} against: add one, or take {name} out of that row's sets."
            )
        return next((a for a in whole if a.data == arm.data), whole[0])

    def protocol(self, arm: Arm, name: str) -> str:
        """The protocol's part of the paths of an arm's records on a set."""
        usual, trials = self.targets.protocol(arm, ""), self.sets[name].get("trials")
        return f"{usual.rpartition('-n')[0]}-n{trials}" if trials else usual

    def episodes(self, arm: Arm, name: str, instruction: str) -> list[str]:
        """The records of an arm on a set under an instruction: one file a suite and training seed."""
        fields = {"scale": self.targets.scale, "policy": arm.policy, "cut": arm.cut, "data": arm.data, "recipe": trained_by(arm)}
        fields |= {"protocol": self.protocol(arm, name), "variant": SAID[instruction]}
        return [paths.ROLLOUT.format(**fields, suite=suite, seed=seed) for suite in self.sets[name]["suites"] for seed in arm.seeds]

    def played(self) -> Iterator[dict[str, Any]]:
        """Every line of the result as `dtr pressure` reads it."""
        for name in self.sets:
            players = {arm.row: arm for arm in self.arms if name in arm.played}
            for arm in players.values():
                labels = {key: getattr(arm, key) for key in ("row", "model", "setting", "component", "cut", "data")}
                labels |= {"against": [row for row in arm.rivals if row in players]}
                if arm.cut != "none" and BEYOND.get(name) in arm.played:
                    labels |= {"beyond": BEYOND[name]}
                for instruction in SAID:
                    one = labels | {"recipe": trained_by(arm), "set": name, "instruction": instruction}
                    if not arm.runs(self.targets.scale):
                        yield one | {"not_run": arm.note}
                        continue
                    other = self.undropped(arm, name)
                    files = {"episodes": self.episodes(arm, name, instruction), "undropped": self.episodes(other, name, instruction)}
                    protocol = json.loads(self.targets.protocol_json(self.protocol(arm, name)))
                    yield one | files | {"baseline": other.row, "protocol": protocol}

    def played_json(self) -> str:
        """The same as text."""
        return json.dumps(list(self.played()), sort_keys=True)

    def files(self) -> list[str]:
        """All records that the result is counted from, each once."""
        return list(dict.fromkeys(path for one in self.played() for key in ("episodes", "undropped") for path in one.get(key, ())))

    def tables(self) -> list[str]:
        """The CSV with every rate and that with the contrasts, where there is a control."""
        return [path.format(scale=self.targets.scale, sample="") for path in (paths.PRESSURE, paths.CONTRASTS) if self.config]

    def cells(self) -> list[str]:
        """The folder of its cells, where there is one."""
        return [paths.PRESSURE_CELLS.format(scale=self.targets.scale, sample="")] if self.config else []

    def drawn(self) -> list[str]:
        """The figure, where there is one."""
        return [paths.FIGURE.format(scale=self.targets.scale, sample="", figure=FIGURE)] if self.config else []
