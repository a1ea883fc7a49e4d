"""The commands whose output is fingerprinted: every stage on tiny fixed inputs, those of a policy for OpenVLA-OFT and for pi0.5.

A fingerprint is named after its stage, and after a dot what policy it is of where that is another than OpenVLA-OFT.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path

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
STREAM = {"depth": 3, "heads": 2, "kv_heads": 1, "head_dim": 8, "mlp": 16, "activation": "gelu_tanh"}
FLOW_POLICY = {
    "name": "pi05",
    "config": {
        "vision": {"depth": 2, "width": 8, "heads": 2, "mlp": 16, "image_size": 16, "patch_size": 8},
        "language": {**STREAM, "width": 16, "norm": "rms_plus_one"},
        "action": {**STREAM, "width": 12, "norm": "scale_shift_gate", "final_norm": "scale_shift_gate"},
        "images": 2,
        "chunk": 2,
        "action_dim": 8,
        "max_text": 40,
        "flow": {"steps": 3},
    },
}
FLOW_RECIPE = json.dumps(json.loads(RECIPE) | {"draws": 2})
SUCCESS = {"column": "spatial", "protocol": json.dumps({"name": "closed", "trials": 6, "max_steps": 6, "seed": 7, "tasks": [0]})}
DATA = {"data": "IN/demos", "image-size": "16", "pictures": "OUT/state/pictures"}
TRAINING = {**DATA, "seed": "1", "recipe": RECIPE, "processes": "1", "state-dir": "OUT/state"}
DEMONSTRATE = {"suite": "embedded_spatial", "episodes": "1", "noise": "0.1", "scatter": "2", "let-go-m": "0.03", "seed": "3", "checks": "0"}
FLOW_TRAINING = {**TRAINING, "recipe": FLOW_RECIPE}
CALIBRATION = {"data": "IN/data", "metric": "gateprobe", "samples": "6", "seed": "2"}
ROLLOUT = {"suite": "embedded_spatial", "protocol": PROTOCOL, "workers": "1", "state-dir": "OUT/state"}
ROW = {"table": "table1", "row": "openvla_oft.half.language", "scale": "smoke"}
EPISODES = {"episodes": "IN/arm/seed0/spatial.jsonl", "baseline": "IN/baseline/seed0/spatial.jsonl"}
CELLS = [
    f"IN/cells/{row}.{column}.json"
    for row in ("openvla_oft.baseline", "openvla_oft.half.language")
    for column in ("size", "flops", "spatial", "average")
]
ROWS = json.dumps(
    [
        {"row": row, "model": "M", "setting": "S", "component": "-", "training": "t", "plan": f"IN/{plan}.json"}
        for row, plan in (("openvla_oft.baseline", "none"), ("openvla_oft.half.language", "plan"))
    ]
    + [{"row": "openvla_oft.ends.language", "model": "M", "setting": "E", "component": "language", "not_run": "no time"}]
)
TABLE: Mapping[str, str | list[str]] = {"columns": ["size", "flops", "spatial", "average"], "name": "table1", "scale": "smoke"}
AVERAGES = [path for path in CELLS if path.endswith("average.json")]
FRONTIER = [*AVERAGES, *(path for path in CELLS if path.endswith("flops.json"))]
CONTROL = ["IN/language_pressure.csv", "IN/language_pressure_contrasts.csv"]
CLAIMS: Mapping[str, str | list[str]] = {"claims": "IN/claims.tsv", "cells": AVERAGES, "reported": "IN/reported"}
COMMANDS: dict[str, Mapping[str, str | list[str]]] = {
    "demonstrate": {**DEMONSTRATE, "out": "OUT/demos"},
    "render": {"demos": "IN/demos", "image-size": "16", "out": "OUT/data"},
    "check_data": {"data": "IN/data", "suites": "embedded_spatial", "out": "OUT/found.json"},
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
    "table": {
        **TABLE,
        "cells": CELLS,
        "rows": ROWS,
        "gradients": "IN/gateprobe.json",
        "reported": "IN/reported/table1.csv",
        "out": "OUT/table.csv",
    },
    "verdict": {**CLAIMS, "scale": "smoke", "out": "OUT/verdicts.csv"},
    "pressure": {"played": "IN/played.json", "scale": "smoke", "out": "OUT/language_pressure.csv"},
    "figure": {"": "frontier", "files": FRONTIER, "out": "OUT/frontier.png"},
    "checkpoint.pi05": {
        **FLOW_TRAINING,
        "config": json.dumps(FLOW_POLICY),
        "words": "the green plate",
        "out": "OUT/policy.safetensors",
    },
    "score.pi05": {**CALIBRATION, "metric": "all", "policy": "IN/pi05.safetensors", "out": "OUT/scores"},
    "drop.pi05": {
        "policy": "IN/pi05.safetensors",
        "cut": "language-half+action-ends-mlp+vision-keep-0",
        "plan-out": "OUT/plan.json",
        "out": "OUT/p.safetensors",
    },
    "recover.pi05": {**FLOW_TRAINING, "policy": "IN/pi05.safetensors", "plan": "IN/pi05_plan.json", "out": "OUT/policy.safetensors"},
    "rollout.pi05": {**ROLLOUT, "policy": "IN/pi05.safetensors", "out": "OUT/spatial.jsonl"},
    "report": {"tables": "IN/table1.csv", "control": CONTROL, "configfile": "config/smoke.yaml", "out": "OUT/report.html"},
}
"""Fingerprint -> the options of its verb; IN is the folder of the fixed inputs, OUT where the stage writes."""


def arguments(name: str, inputs: Path, out: Path) -> list[str]:
    """The words of the command of a fingerprint."""
    words = [stage_of(name).replace("_", "-")]
    for option, value in COMMANDS[name].items():
        words += [*([f"--{option}"] if option else []), *([value] if isinstance(value, str) else value)]
    return [re.sub(r"\bIN/", f"{inputs}/", re.sub(r"^OUT/", f"{out}/", word)) for word in words]


def stage_of(name: str) -> str:
    """`score` of the fingerprint `score.pi05`."""
    return name.partition(".")[0]
