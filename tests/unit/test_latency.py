"""Times of phases: they are there, they add up, and a dropped component's phase is what shrinks."""

from __future__ import annotations

import json
from pathlib import Path

import cut_world
import four_policies
import narrow_flow
import pytest
import torch

from dtr import device_memory
from dtr.benchmarks import full_size
from dtr.benchmarks.full_size import probed
from dtr.cli import run
from dtr.device_memory import call_bytes
from dtr.latency import DTYPES, PHASES, clock, compared, filled, request
from dtr.policies.file import save_policy
from dtr.policies.registry import skeleton


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("latency") / "policy.safetensors"
    save_policy(path, cut_world.policy(), cut_world.PROCESSOR, {})
    return path


def test_the_phases_of_a_call_are_the_whole_call() -> None:
    policy = cut_world.policy()
    times = clock(policy, request(policy, 1, torch.float32), warmup=1, repeats=4, cuda=False)
    assert len(times["total"]) == 4 and all(min(times[phase]) > 0 for phase in PHASES)
    for total, *parts in zip(times["total"], *(times[phase] for phase in PHASES), strict=True):
        assert sum(parts) == pytest.approx(total, abs=1e-6)


def test_every_phase_of_every_cut_is_timed(policy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "latency.json"
    words = ["latency", "--policy", str(policy), "--cut", "language-half", "action-half", "--repeats", "8", "--warmup", "2"]
    assert run([*words, "--out", str(out)]) == 0
    record = json.loads(out.read_text())
    assert list(record["cuts"]) == ["action-half", "language-half", "none"] and record["device"] and record["threads"] == 1
    for row in record["cuts"].values():
        assert set(row["median_ms"]) == {*PHASES, "total"}
        assert all(0 < row["median_ms"][phase] <= row["p95_ms"][phase] for phase in PHASES)
    none, half = record["cuts"]["none"], record["cuts"]["language-half"]
    assert half["parameters"] < none["parameters"] and half["weights_gib"] < none["weights_gib"]
    assert (none["speedup"], none["amdahl"]) == (1.0, 1.0)
    assert all(row["weights_gib"] < row["peak_gib"] < 2 * row["weights_gib"] + 0.01 for row in record["cuts"].values())
    assert "ms a chunk (vision" in capsys.readouterr().out


def test_the_phases_of_a_repeat_are_its_total() -> None:
    policy = filled(skeleton("pi05", narrow_flow.narrow("pi05")), "cpu", torch.float32)
    times = clock(policy, request(policy, 1, torch.float32), warmup=1, repeats=4, cuda=False)
    assert all(len(values) == 4 for values in times.values())
    for *phases, total in zip(*(times[name] for name in (*PHASES, "total")), strict=True):
        assert sum(phases) == pytest.approx(total, rel=1e-6) and min(phases) > 0


def test_amdahl_s_bound_by_hand() -> None:
    flops = {"vision": 10, "language": 100, "action": 10}
    none = {"median_ms": {"vision": 2.0, "language": 6.0, "action": 2.0, "total": 10.0}, "flops_by_component": flops}
    half = {"median_ms": {"total": 8.0}, "flops_by_component": flops | {"language": 50}}
    assert compared(half, none) == {"speedup": 1.25, "amdahl": pytest.approx(1 / 0.7)}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", four_policies.NAMES)
def test_every_policy_marks_the_same_phases_in_every_type(name: str, dtype: str) -> None:
    policy = filled(skeleton(name, four_policies.config(name)), "cpu", DTYPES[dtype])
    seen: list[str] = []
    actions = policy.act(request(policy, 2, DTYPES[dtype]), seen.append)
    assert tuple(seen) == PHASES and actions.shape == (2, policy.config.chunk, policy.config.action_dim)


def test_a_request_stays_in_small_tables() -> None:
    """Of words, and of robots."""
    policy = filled(skeleton("gigabrain0", narrow_flow.narrow("gigabrain0", embodiments=1)), "cpu", torch.float32)
    given = request(policy, 2, torch.float32)
    assert given["attention_mask"].all() and given["attention_mask"].dtype == torch.bool
    assert policy.act(given).isfinite().all()


@pytest.mark.parametrize("name", four_policies.NAMES)
def test_every_policy_acts_and_is_scored_in_bf16(name: str) -> None:
    policy = skeleton(name, four_policies.config(name))
    found = probed(policy, "cpu", torch.bfloat16, batches=1, size=2)
    assert found["blocks"] == len(policy.stacks()["language"].kept) and found["samples"] == 2 and found["seconds"] > 0
    assert all(p.dtype == torch.bfloat16 for p in policy.parameters())
    assert policy.act(request(policy, 2, torch.bfloat16)).isfinite().all()


def test_without_a_gpu_nothing_is_measured(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert full_size.measure() == {"gpu": None} and "nothing was measured" in capsys.readouterr().out


def test_the_tensors_of_a_call_by_hand() -> None:
    """1,000 numbers and their successor at a time; a view is no memory, and what was there before is not the call's."""
    before = torch.zeros(1000)

    def work() -> torch.Tensor:
        h = before
        for _ in range(5):
            h = (h + 1).view(10, 100).view(1000)
        return h

    assert call_bytes(work) == 2 * 4000


def test_what_does_not_fit_is_refused_before_it_is_made(
    policy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "meminfo").write_text("MemTotal:  9 kB\nMemAvailable:     2097152 kB\n")
    monkeypatch.setattr(device_memory, "MEMINFO", tmp_path / "meminfo")
    words = ["latency", "--full-size", "openvla_oft", "--cut", "language-half", "--out", str(tmp_path / "x.json")]
    assert run(words) == 2
    said = capsys.readouterr().err
    assert "in float32, but cpu has 2.0 GiB left: measure on a larger device" in said and not (tmp_path / "x.json").exists()
    (tmp_path / "meminfo").write_text("MemAvailable: 1 kB\n")
    assert run(["latency", "--policy", str(policy), "--out", str(tmp_path / "x.json")]) == 2
    monkeypatch.setattr(device_memory, "MEMINFO", tmp_path / "none")
    assert device_memory.free_bytes("cpu") is None


def test_what_cannot_be_measured_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words, sentence in (
        (["--full-size", "pi5"], "did you mean 'pi05'"),
        (["--full-size", "pi05", "--repeats", "0"], "--repeats of 1 or more"),
        (["--full-size", "pi05", "--warmup", "-1"], "--warmup of 0 or more, got 1, 30 and -1"),
        (["--full-size", "pi05", "--cut", "language-half", "language-hlaf"], "did you mean 'language-half'"),
        (["--full-size", "pi05", "--cut", "language-gateprobe-9"], "keep-"),
        (["--full-size", "pi05", "--device", "gpu"], "expected --device cpu or cuda, got 'gpu'"),
        (["--full-size", "pi05", "--device", "cuda"], "a GPU that torch can use"),
    ):
        if "cuda" in words and torch.cuda.is_available():
            continue
        assert run(["latency", *words, "--out", str(tmp_path / "x.json")]) == 2
        assert sentence in capsys.readouterr().err
