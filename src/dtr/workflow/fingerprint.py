"""Does a stage still mean what its version says? Every stage runs on a tiny fixed input, and what comes out is compared with a record.

    python -m dtr.workflow.fingerprint            compare
    python -m dtr.workflow.fingerprint --record   write the record anew, after raising the version of what moved

The inputs (tests/workflow/fingerprints/inputs) are fixed files, not outputs of other stages, so a stage that moves moves alone.
A fingerprint is not a hash of bytes: processors round differently. It is the output's structure with every number in it, arrays as
means and spreads, compared to about three significant digits; hashes, paths, machines and times are left out.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import re
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from dtr import cli
from dtr.errors import BadRecord, DtrError
from dtr.provenance import read_json, write_json
from dtr.stages import STAGES
from dtr.workflow.difference import first_difference

HOME = Path(__file__).resolve().parents[3] / "tests/workflow/fingerprints"
STEPS = 10
"""Rows of a long array that are looked at: further on, contacts amplify rounding."""
PASSING = re.compile(r"[0-9a-f]{16}([0-9a-f]{48})?|.*[/\\].*|\d{4}-\d\d-\d\dT.*")
"""Texts that differ between equal runs: digests, paths, times."""
RECIPE = json.dumps(
    {"steps": 6, "batch": 4, "lr": 1e-2, "warmup_steps": 2, "decay": "cosine", "decay_from": 0.3, "lr_final": 0.1, "weight_decay": 0.1}
    | {"ema": 0.5, "val_fraction": 0.25, "report_every": 1}
)
PROTOCOL = json.dumps(
    {"name": "closed", "trials": 1, "seed": 7, "chunk": 2, "batch": 2, "settle_steps": 2, "max_steps": 6, "image_size": 16, "tasks": [0]}
)
TOWER = {"depth": 3, "width": 8, "heads": 2, "mlp": 16}
POLICY = {
    "name": "openvla_oft",
    "config": {
        "image_size": 16,
        "patch_size": 8,
        "chunk": 2,
        "projector": [16, 16],
        "dino": {**TOWER, "class_token": True, "registers": 1, "layer_scale": 1.0},
        "siglip": TOWER,
        "language": {"depth": 4, "width": 16, "heads": 2, "mlp": 24},
        "action": {"depth": 2, "hidden": 32},
    },
}
SUCCESS = {"column": "spatial", "protocol": json.dumps({"name": "closed", "trials": 6, "max_steps": 6, "seed": 7, "tasks": [0]})}
DATA = {"data": "IN/demos", "image-size": "16", "pictures": "OUT/state/pictures"}
TRAINING = {**DATA, "seed": "1", "recipe": RECIPE, "processes": "1", "state-dir": "OUT/state"}
DEMONSTRATE = {"suite": "embedded_spatial", "episodes": "1", "noise": "0.1", "scatter": "2", "let-go-m": "0.03", "seed": "3", "checks": "0"}
CALIBRATION = {"data": "IN/data", "metric": "gateprobe", "samples": "6", "seed": "2"}
ROLLOUT = {"suite": "embedded_spatial", "protocol": PROTOCOL, "workers": "1", "state-dir": "OUT/state"}
ROW = {"table": "table1", "row": "openvla_oft.half.language", "scale": "smoke"}
EPISODES = {"episodes": "IN/arm/seed0/spatial.jsonl", "baseline": "IN/baseline/seed0/spatial.jsonl"}
CELLS = [
    f"IN/cells/{row}.{column}.json"
    for row in ("openvla_oft.baseline", "openvla_oft.half.language")
    for column in ("size", "flops", "spatial", "average")
]
AVERAGES = [path for path in CELLS if path.endswith("average.json")]
FRONTIER = [*AVERAGES, *(path for path in CELLS if path.endswith("flops.json"))]
CLAIMS: Mapping[str, str | list[str]] = {"claims": "IN/claims.tsv", "cells": AVERAGES, "reported": "IN/reported"}
COMMANDS: dict[str, Mapping[str, str | list[str]]] = {
    "demonstrate": {**DEMONSTRATE, "out": "OUT/demos"},
    "render": {"demos": "IN/demos", "image-size": "16", "out": "OUT/data"},
    "checkpoint": {**TRAINING, "config": json.dumps(POLICY), "words": "the green plate", "out": "OUT/policy.safetensors"},
    "import": {"config": "IN/official/entry.json", "files": "IN/official", "out": "OUT/policy.safetensors"},
    "score": {**CALIBRATION, "metric": ["all", "igia", "hessian"], "policy": "IN/policy.safetensors", "out": "OUT/scores"},
    "stability": {**CALIBRATION, "policy": "IN/policy.safetensors", "resamples": "40", "out": "OUT/stability.json"},
    "drop": {
        "policy": "IN/policy.safetensors",
        "cut": "language-half+action-half+vision-ends",
        "plan-out": "OUT/plan.json",
        "out": "OUT/p.safetensors",
    },
    "recover": {**TRAINING, "policy": "IN/policy.safetensors", "plan": "IN/plan.json", "out": "OUT/policy.safetensors"},
    "compress": {"policy": "IN/policy.safetensors", "plan": "IN/plan.json", "method": "zero_shot", "out": "OUT/policy.safetensors"},
    "rollout": {**ROLLOUT, "policy": "IN/policy.safetensors", "out": "OUT/spatial.jsonl"},
    "cost": {"policy": "IN/policy.safetensors", "plan": "IN/plan.json", "out": "OUT/cost.json"},
    "cell": {**ROW, **SUCCESS, **EPISODES, "out": "OUT/cell.json"},
    "table": {"cells": CELLS, "out": "OUT/table.csv"},
    "verdict": {**CLAIMS, "scale": "smoke", "out": "OUT/verdicts.csv"},
    "pressure": {"played": "IN/played.json", "scale": "smoke", "out": "OUT/language_pressure.csv"},
    "figure": {"": "frontier", "files": FRONTIER, "out": "OUT/frontier.png"},
    "report": {"tables": "IN/table1.csv", "configfile": "config/smoke.yaml", "out": "OUT/report.html"},
}
"""Stage -> the options of its verb; IN is the folder of the fixed inputs, OUT where the stage writes."""


def arguments(stage: str, inputs: Path, out: Path) -> list[str]:
    """The words of the command."""
    words = [stage]
    for option, value in COMMANDS[stage].items():
        words += [*([f"--{option}"] if option else []), *([value] if isinstance(value, str) else value)]
    return [re.sub("^IN/", f"{inputs}/", re.sub("^OUT/", f"{out}/", word)) for word in words]


def fingerprint(stage: str, inputs: Path) -> dict[str, Any]:
    """Run `stage` on the fixed inputs; file name -> what is in it."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        if (code := cli.run(arguments(stage, inputs, out))) != 0:
            raise DtrError(f"`dtr {stage}` failed on the fixed inputs of its fingerprint with exit code {code}.")
        found = [path for path in out.rglob("*") if path.suffix in READERS and not path.name.endswith(".run.json")]
        files = sorted(path for path in found if out / "state" not in path.parents)
        seen = {"looks": looks(inputs)} if stage == "rollout" else {}
        return seen | {str(path.relative_to(out)): READERS[path.suffix](path) for path in files}


def looks(inputs: Path) -> list[dict[str, Any]]:
    """What the engine shows the policy of the fixed rollout, and what it answers: pictures by their quarters, state, actions.

    The record of that rollout says "failure" whatever happens in it; this says where the camera stands and what an action does.
    """
    from dtr.policies.file import load_policy
    from dtr.rollout.engine import Engine
    from dtr.rollout.inference import build_inference
    from dtr.rollout.protocol import Protocol
    from dtr.rollout.run import plan
    from dtr.sim.suites import suite

    protocol, tasks, loaded = Protocol.read(PROTOCOL), suite(ROLLOUT["suite"]), load_policy(inputs / "policy.safetensors")
    infer, seen = build_inference(loaded.policy, loaded.processor, protocol, [task.language for task in tasks.tasks]), []

    def watch(requests: Any) -> Any:
        chunks = infer(requests)
        for row, (frame, _) in requests.items():
            n, S = len(frame.images), protocol.image_size // 2
            quarters = frame.images.reshape(n, 2, S, 2, S, 3).mean(axis=(2, 4)) / 255
            seen.append({"pictures": quarters.tolist(), "state": frame.state.tolist(), "actions": chunks[row].tolist()})
        return chunks

    for _ in Engine(watch, protocol, 1).run(plan(protocol, tasks)):
        pass
    return seen


# --- what is in a file ------------------------------------------------------------------------------------------------------------------


def plain(value: Any) -> Any:
    """JSON without what differs between equal runs."""
    if isinstance(value, Mapping):
        return {key: plain(inner) for key, inner in value.items() if key not in ("machines", "ancestor", "ancestry")}
    if isinstance(value, list):
        return [plain(inner) for inner in value]
    return "*" if isinstance(value, str) and PASSING.fullmatch(value) else value


def array(values: Any) -> dict[str, Any]:
    """Shape without rows, and mean and spread of the first rows."""
    first = np.asarray(values)[:STEPS].astype(np.float64)
    return {"shape": list(first.shape[1:]), "mean": float(first.mean()), "spread": float(first.std())}


def read_arrays(path: Path) -> dict[str, Any]:
    """A NumPy archive."""
    with np.load(path) as archive:
        return {name: array(archive[name]) for name in sorted(archive.files)}


def read_policy(path: Path) -> dict[str, Any]:
    """A policy file: its header, and of every tensor shape, mean and spread."""
    from dtr.policies.file import load_policy, read_header

    loaded = load_policy(path)
    tensors = {
        name: {"shape": list(t.shape), "mean": float(t.double().mean()), "spread": float(t.double().std(correction=0))}
        for name, t in loaded.policy.state_dict().items()
    }
    return {"header": plain(read_header(path)), "tensors": tensors}


def read_parquet(path: Path) -> dict[str, Any]:
    """A parquet file: every numeric column as an array, pictures by their colours."""
    import pyarrow.parquet
    from PIL import Image

    columns: dict[str, Any] = {}
    for name, values in pyarrow.parquet.read_table(path).slice(0, STEPS).to_pydict().items():
        if values and isinstance(values[0], Mapping):
            values = [np.asarray(Image.open(io.BytesIO(value["bytes"]))).mean(axis=(0, 1)) / 255 for value in values]
        columns[name] = array(values) if np.asarray(values).dtype.kind in "biuf" else plain(values)
    return columns


def read_lines(path: Path) -> list[Any]:
    """One JSON object a line, without traces (bit for bit, they depend on the processor)."""
    records = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return [plain({key: value for key, value in record.items() if key != "trace"}) for record in records]


def read_table(path: Path) -> list[list[Any]]:
    """A CSV with its numbers as numbers."""
    with open(path, newline="", encoding="utf-8") as file:
        return [[number(text) for text in line] for line in csv.reader(file)]


def read_prose(path: Path) -> list[Any]:
    """Text with its numbers as numbers."""
    return [number(part) for part in re.split(r"(-?\d+\.?\d*(?:e-?\d+)?)", path.read_text(encoding="utf-8"))]


def number(text: str) -> Any:
    """The number that a text is, or the text."""
    try:
        return float(text)
    except ValueError:
        return plain(text)


def read_page(path: Path) -> list[Any]:
    """A page's text with its numbers as numbers, without paths and hashes."""
    return [
        number(part)
        for part in re.split(r"(-?\d+\.?\d*)", re.sub(r"[^\s<>]*/[^\s<>]*|[0-9a-f]{16,}", "*", path.read_text(encoding="utf-8")))
    ]


def read_picture(path: Path) -> dict[str, Any]:
    """A picture's size, and how dark it is; letters are drawn the same everywhere, edges nearly."""
    from PIL import Image

    grey = np.asarray(Image.open(path).convert("L")) / 255
    return {"shape": list(grey.shape), "mean": float(grey.mean())}


READERS: dict[str, Callable[[Path], Any]] = {
    ".json": lambda path: plain(dict(read_json(path))),
    ".jsonl": read_lines,
    ".npz": read_arrays,
    ".parquet": read_parquet,
    ".safetensors": read_policy,
    ".csv": read_table,
    ".md": read_prose,
    ".html": read_page,
    ".png": read_picture,
}


# --- comparing --------------------------------------------------------------------------------------------------------------------------


def check(stage: str, now: Any, record: Mapping[str, Any]) -> None:
    """Raise BadRecord when a stage's output moved and its version did not, or when the record is of another version."""
    version, old = STAGES[stage].version, record.get(stage)
    again = "make sure that its output is right, then record it: `python -m dtr.workflow.fingerprint --record`."
    if old is None:
        raise BadRecord(f"stage {stage} has no fingerprint: {again}")
    if old["version"] != version:
        raise BadRecord(f"stage {stage} is of version {version} and its fingerprint of version {old['version']}: {again}")
    difference = first_difference(old["output"], now)
    if difference is not None:
        remedy = f"if that is meant, raise its version in src/dtr/stages.py to {version + 1}, {again}"
        raise BadRecord(f"the output of stage {stage} moved ({difference}): {remedy}")


def main() -> None:
    """Compare all fingerprints, or record them."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--record", action="store_true", help="write the record anew")
    record = parser.parse_args().record
    prints = {stage: fingerprint(stage, HOME / "inputs") for stage in STAGES}
    if record:
        write_json(HOME / "record.json", {stage: {"version": STAGES[stage].version, "output": output} for stage, output in prints.items()})
        return
    try:
        for stage, output in prints.items():
            check(stage, output, read_json(HOME / "record.json"))
    except DtrError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
