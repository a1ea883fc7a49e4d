"""Configurations and sheets, checked before anything runs: a typo is one sentence with the path of the key and the nearest name."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from dtr.dropping.cut import parse_cut
from dtr.errors import BadConfig, DtrError, UnknownName, unknown
from dtr.hub.manifest import read_manifest
from dtr.records import check_given
from dtr.recovery.recipe import Recipe
from dtr.rollout.official import resolved
from dtr.sim.perturbations.variant import split


def check_config(config: Mapping[str, Any]) -> None:
    """Raise BadConfig or UnknownName at the first key, value or name of `config` that cannot be meant."""
    check_given(config, "config", "the configuration")
    for name, suites in config["data"].items():
        for suite in suites:
            require("suite", suite, config["demos"], f"data.{name} names it; demos lists the recorded ones.")
    for name, calibration in config["calibrations"].items():
        require("mixture", calibration["data"], config["data"], f"calibrations.{name}.data names it.")
    for name, policy in config["policies"].items():
        require("calibration", policy["calibration"], config["calibrations"], f"policies.{name}.calibration names it.")
        if "gpus" in policy and not str(config.get("device", "cpu")).startswith("cuda"):
            raise BadConfig(f"policies.{name}.gpus is {policy['gpus']}, but device is no GPU: write device: cuda, or leave gpus out.")
        for told, played in policy.get("protocols", {}).items():
            require("protocol", told, config["protocols"], f"policies.{name}.protocols names it.")
            require("protocol", played, config["protocols"], f"policies.{name}.protocols.{told} names it.")
        if "pretraining" in policy:
            require("mixture", policy["pretraining"]["data"], config["data"], f"policies.{name}.pretraining.data names it.")
            require("recipe", policy["pretraining"]["recipe"], config["recipes"], f"policies.{name}.pretraining.recipe names it.")
        if "hub" in policy:
            check_published(name, policy, config["data"])
    for name, protocol in config["protocols"].items():
        check_given(resolved({"name": name, **protocol}, f"protocols.{name}"), "protocol", f"protocols.{name}")
    for name, variants in config.get("variants", {}).items():
        if name in config["suites"]:
            raise BadConfig(f"variants.{name}: suites has a column of this name too: give it another.")
        for variant in variants:
            split(f"suite+{variant}")
    for name, policy in config["policies"].items():
        if "pretraining" in policy:  # a published policy makes its pictures of those that are drawn (`image_path`)
            check_shapes(config, f"policies.{name}.model", policy["model"])
    for name, recipe in config["recipes"].items():
        try:
            Recipe.from_dict(recipe)
        except DtrError as error:
            raise type(error)(f"recipes.{name}: {error}") from error


def check_shapes(config: Mapping[str, Any], where: str, model: Mapping[str, Any]) -> None:
    """Raise BadConfig when a policy cannot read the pictures that are made for it, or predicts fewer actions than a protocol executes."""
    holder = model if "image_size" in model else model.get("vision", {})
    if not isinstance(holder, Mapping) or "image_size" not in holder:
        raise BadConfig(f"{where} must say image_size, itself or in vision, it does not: add the side of its pictures in pixels.")
    S = holder["image_size"]
    given = {f"protocols.{name}": resolved(protocol, name) for name, protocol in config["protocols"].items()}
    for name, size in {"image_size": config["image_size"], **{f"{n}.image_size": p.get("image_size", S) for n, p in given.items()}}.items():
        if size != S:
            raise BadConfig(f"{where}.image_size is {S}, but {name} is {size}: make them equal.")
    for name, protocol in given.items():
        if protocol.get("chunk", 0) > model.get("chunk", protocol.get("chunk", 0)):
            raise BadConfig(f"{where}.chunk is {model['chunk']}, but {name} executes {protocol['chunk']} actions of it: lower that.")


def check_published(name: str, policy: Mapping[str, Any], data: Iterable[str]) -> None:
    """Raise BadConfig or UnknownName when a published policy cannot be what its manifest says."""
    try:
        manifest = read_manifest(policy["class"], policy["hub"])
    except DtrError as error:
        raise type(error)(f"policies.{name}: {error}") from error
    if "data" in manifest.statistics:
        require("mixture", manifest.statistics["data"], data, f"policies.{name}.hub.statistics.data names it.")


def require(kind: str, name: str, known: Iterable[str], remedy: str) -> None:
    """Raise UnknownName unless `name` is one of `known`."""
    if name not in (names := list(known)):
        raise unknown(kind, name, names, remedy)


@dataclass(frozen=True)
class Arm:
    """One row of a sheet: a policy, cut and recovered on its own, and how it is rolled out.

    schemas/experiments.schema.json describes the fields.
    """

    row: str
    model: str
    setting: str
    component: str
    policy: str
    cut: str
    data: str
    recipe: str
    seeds: tuple[int, ...]
    protocol: str
    method: str = "-"
    scales: str = ""
    note: str = "-"
    sets: str = ""
    against: str = "-"

    @property
    def played(self) -> tuple[str, ...]:
        """The sets of tasks that it plays, where its sheet says so."""
        return tuple(self.sets.split(",")) if self.sets else ()

    @property
    def rivals(self) -> tuple[str, ...]:
        """The rows that it is held against beside the undropped one, where its sheet says so."""
        return () if self.against == "-" else tuple(self.against.split(","))

    def runs(self, scale: str) -> bool:
        """Whether the sheet has this arm run at `scale`."""
        return not self.scales or scale in self.scales.split(",")


def read_sheet(path: str | Path, config: Mapping[str, Any], recipes: Mapping[str, str] | None = None) -> list[Arm]:
    """The arms of a sheet in order, every name checked against `config`. `recipes`: row -> what it is recovered by here, instead of the
    sheet's recipe."""
    try:
        with open(path, encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file, delimiter="\t"))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise BadConfig(
            f"expected a sheet of experiments at {path}, but it cannot be read ({error}): write it as UTF-8 text, or correct tables."
        ) from error
    others = recipes or {}
    rows = [row | {"recipe": others[row["row"]]} if row.get("row") in others else row for row in rows]
    arms = [read_arm(row, f"{path} line {line}", config) for line, row in enumerate(rows, start=2)]
    names = [arm.row for arm in arms]
    for row in others:
        require("row", row, names, f"tables.{Path(path).stem}.recipes names it.")
    twice = next((name for i, name in enumerate(names) if name in names[:i]), None)
    if not arms or twice is not None:
        raise BadConfig(
            f"{path}: " + (f"row {twice!r} is there twice: give each row its own name." if arms else "expected at least one row, got none.")
        )
    for policy in {arm.policy for arm in arms if arm.runs(config["scale"])}:
        first = next(arm for arm in arms if arm.policy == policy)
        if not first.runs(config["scale"]):
            raise BadConfig(
                f"{path}: arms of {policy} run at the scale {config['scale']}, but their baseline {first.row} does not: let it."
            )
    return arms


def read_arm(row: Mapping[str, str], where: str, config: Mapping[str, Any]) -> Arm:
    """One row, checked. What does not run at this scale may name what only another scale has."""
    cells = {str(key): value for key, value in row.items()}
    check_given(cells, "experiments", where)
    seeds = tuple(int(seed) for seed in cells["seeds"].split(","))
    arm = Arm(**{field.name: cells[field.name] for field in fields(Arm) if field.name != "seeds" and field.name in cells}, seeds=seeds)
    if not arm.runs(config["scale"]):
        return arm
    require("policy", cells["policy"], config["policies"], f"{where} names it.")
    require("mixture", cells["data"], config["data"], f"{where} names it.")
    require("recipe", cells["recipe"], config["recipes"], f"{where} names it.")
    require("protocol", cells["protocol"], config["protocols"], f"{where} names it.")
    gpus, shards = config["policies"][cells["policy"]].get("gpus", 1), Recipe.from_dict(config["recipes"][cells["recipe"]]).shards
    if shards % gpus:
        raise BadConfig(
            f"{where}: {cells['policy']} takes {gpus} GPUs, recipe {cells['recipe']} has {shards} shards: set a multiple of {gpus}."
        )
    try:
        parse_cut(cells["cut"])
    except UnknownName as error:
        raise UnknownName(f"{where}: {error}") from error
    return arm


def pressed(config: Mapping[str, Any]) -> set[str]:
    """The suites that are played to see how much language matters (dtr.workflow.pressure)."""
    return {suite for entry in config.get("pressure", {}).get("sets", {}).values() for suite in entry["suites"]}
