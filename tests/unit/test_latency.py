"""Times of phases: they are there, they add up, and a dropped component's phase is what shrinks."""

from __future__ import annotations

import json
from pathlib import Path

import cut_world
import narrow_flow
import pytest
import torch

from dtr.cli import run
from dtr.latency import PHASES, compared, filled, request
from dtr.policies.file import save_policy
from dtr.policies.registry import skeleton


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("latency") / "policy.safetensors"
    save_policy(path, cut_world.policy(), cut_world.PROCESSOR, {})
    return path


def test_every_phase_is_timed_and_the_phases_are_the_whole(policy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "latency.json"
    words = ["latency", "--policy", str(policy), "--cut", "language-half", "action-half", "--repeats", "8", "--warmup", "2"]
    assert run([*words, "--out", str(out)]) == 0
    record = json.loads(out.read_text())
    assert list(record["cuts"]) == ["action-half", "language-half", "none"] and record["device"] and record["threads"] == 1
    for row in record["cuts"].values():
        assert set(row["median_ms"]) == {*PHASES, "total"}
        assert all(0 < row["median_ms"][phase] <= row["p95_ms"][phase] for phase in PHASES)
        assert sum(row["median_ms"][phase] for phase in PHASES) == pytest.approx(row["median_ms"]["total"], rel=0.3)
    none, half = record["cuts"]["none"], record["cuts"]["language-half"]
    assert half["parameters"] < none["parameters"] and half["weights_gib"] < none["weights_gib"]
    assert (none["speedup"], none["amdahl"]) == (1.0, 1.0)
    assert "ms a chunk (vision" in capsys.readouterr().out


def test_amdahl_s_bound_by_hand() -> None:
    flops = {"vision": 10, "language": 100, "action": 10}
    none = {"median_ms": {"vision": 2.0, "language": 6.0, "action": 2.0, "total": 10.0}, "flops_by_component": flops}
    half = {"median_ms": {"total": 8.0}, "flops_by_component": flops | {"language": 50}}
    assert compared(half, none) == {"speedup": 1.25, "amdahl": pytest.approx(1 / 0.7)}


@pytest.mark.parametrize("name", ["pi05", "gigabrain0"])
def test_flow_policies_mark_the_same_phases(name: str) -> None:
    policy = filled(skeleton(name, narrow_flow.narrow(name)), "cpu", torch.float32)
    seen: list[str] = []
    actions = policy.act(request(policy, 2, torch.float32), seen.append)
    assert tuple(seen) == PHASES and actions.shape == (2, 3, 5)


def test_what_cannot_be_measured_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words, sentence in (
        (["--full-size", "pi5"], "did you mean 'pi05'"),
        (["--full-size", "pi05", "--repeats", "0"], "of 1 or more"),
        (["--full-size", "pi05", "--device", "cuda"], "a GPU that torch can use"),
    ):
        if "cuda" in words and torch.cuda.is_available():
            continue
        assert run(["latency", *words, "--out", str(tmp_path / "x.json")]) == 2
        assert sentence in capsys.readouterr().err
