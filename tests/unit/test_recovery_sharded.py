"""Training on several devices, here processes over gloo: the losses of one device and of the CPU's own loop, resumable, refused in a sentence."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import recovery_world as world
import torch
from test_recovery_train import Run
from test_recovery_verbs import checkpoint, recover, write

from dtr.cli import run
from dtr.policies.file import load_policy
from dtr.recovery.sharded import ShardedTraining

ROUNDING = 2e-5
"""How far losses may part in 6 steps, as a fraction: sums have another order, and every step builds on the one before."""
RECIPE = {"steps": 6, "batch": 8, "shards": 4, "lr": 3e-3, "report_every": 1, "val_fraction": 0.2, "ema": 0.8, "weight_decay": 0.01}
LOW_RANK = RECIPE | {"lora": {"rank": 2, "alpha": 4.0}, "lr": 1e-2}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with data/ (also as other/) and pretrained.safetensors."""
    folder = tmp_path_factory.mktemp("sharded")
    write(folder / "data", world.data())
    shutil.copytree(folder / "data", folder / "other")
    assert checkpoint(folder, "pretrained.safetensors", "state") == 0
    return folder


def curve(place: Path, name: str) -> list[dict[str, float]]:
    return [json.loads(line) for line in (place / f"{name}.safetensors.losses.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("recipe", [RECIPE, LOW_RANK], ids=["full", "lora"])
def test_two_devices_give_the_losses_of_one_and_of_the_cpu_s_loop(place: Path, recipe: dict[str, object]) -> None:
    """Four shards: two micro-batches are accumulated on each of two devices, four on one."""
    kind = "lora" if "lora" in recipe else "full"
    for name, how in (("cpu", {}), ("one", {"gpus": "1"}), ("two", {"gpus": "2"})):
        assert recover(place, f"{kind}_{name}.safetensors", recipe=json.dumps(recipe), **how) == 0
    expected = curve(place, f"{kind}_cpu")
    assert len(expected) == 6 and expected[0]["loss"] != expected[-1]["loss"]
    weights = load_policy(place / f"{kind}_cpu.safetensors").policy.state_dict()
    for name in ("one", "two"):
        for point, other in zip(curve(place, f"{kind}_{name}"), expected, strict=True):
            assert point == pytest.approx(other, rel=ROUNDING)
        loaded = load_policy(place / f"{kind}_{name}.safetensors")
        for key, tensor in loaded.policy.state_dict().items():
            torch.testing.assert_close(tensor, weights[key], rtol=1e-3, atol=1e-4)
        assert not list((place / f"state-{kind}_{name}.safetensors").iterdir())
