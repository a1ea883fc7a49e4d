"""Records with the real simulator: the same bits for any number of workers, after a kill, and when filmed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

sys.path.insert(0, str(Path(__file__).parents[1] / "unit"))

from tiny_policy import tiny

from dtr.dropping.plan import resolve
from dtr.policies.file import load_policy, read_header, save_policy
from dtr.provenance import canonical_json, read_json, sha256_file
from dtr.sim.suites import suite

pytestmark = pytest.mark.slow
PROTOCOL = '{"name": "t", "trials": 2, "max_steps": 20, "tasks": [0, 1], "batch": 3}'
NAME = "embedded_spatial"


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("policy") / "random.safetensors"
    save_policy(path, *tiny([task.language for task in suite(NAME).tasks]), {})
    return path


def command(policy: Path, folder: Path, out: str, workers: int, *more: str) -> list[str]:
    verb = [sys.executable, "-m", "dtr.cli", "rollout", "--policy", str(policy), "--suite", NAME, "--protocol", PROTOCOL]
    return [*verb, "--workers", str(workers), "--state-dir", str(folder / "state"), "--out", str(folder / out), *more]


@pytest.fixture(scope="module")
def reference(policy: Path, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    folder = tmp_path_factory.mktemp("reference")
    subprocess.run(command(policy, folder, "one.jsonl", 1), check=True)
    assert not list((folder / "state").iterdir())  # nothing is left when all is done
    return (folder / "one.jsonl").read_bytes()


def test_two_workers_and_films_give_the_same_bytes(policy: Path, reference: bytes, tmp_path: Path) -> None:
    # The films are played anew with every step rendered; dtr itself refuses when they end otherwise.
    subprocess.run(command(policy, tmp_path, "two.jsonl", 2, "--video", str(tmp_path / "v"), "--episodes", "0/1"), check=True)
    assert (tmp_path / "two.jsonl").read_bytes() == reference
    assert (tmp_path / "v" / f"{NAME}.0.1.failure.mp4").stat().st_size > 1000
    assert (tmp_path / "v" / "failures.png").read_bytes().startswith(b"\x89PNG")


def test_a_killed_run_goes_on_where_it_stopped(policy: Path, reference: bytes, tmp_path: Path) -> None:
    process = subprocess.Popen(command(policy, tmp_path, "x.jsonl", 1))
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and not any(f.stat().st_size for f in tmp_path.glob("state/*.jsonl")):
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "x.jsonl").exists()
    kept = sum(f.read_bytes().count(b"\n") for f in tmp_path.glob("state/*.jsonl"))
    assert kept >= 1
    subprocess.run(command(policy, tmp_path, "x.jsonl", 2), check=True)
    assert (tmp_path / "x.jsonl").read_bytes() == reference
    assert f'"played": {4 - kept}' in (tmp_path / "x.jsonl.run.json").read_text()


def test_ctrl_c_keeps_the_finished_and_says_so(policy: Path, tmp_path: Path) -> None:
    process = subprocess.Popen(command(policy, tmp_path, "x.jsonl", 1), stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and not any(f.stat().st_size for f in tmp_path.glob("state/*.jsonl")):
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, text = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "of 4 episodes are kept" in text and "Traceback" not in text


def test_a_varied_suite_says_so_and_repeats_also_when_filmed(policy: Path, reference: bytes, tmp_path: Path) -> None:
    varied = ("--perturbation", "noise-3", "--instruction", "swapped")
    subprocess.run(command(policy, tmp_path, "one.jsonl", 1, *varied), check=True)
    films = ("--video", str(tmp_path / "v"), "--episodes", "0/1")
    subprocess.run(command(policy, tmp_path, "two.jsonl", 2, *films, "--suite", f"{NAME}+noise-3+swapped"), check=True)
    found = (tmp_path / "one.jsonl").read_bytes()
    assert (tmp_path / "two.jsonl").read_bytes() == found != reference
    assert found.count(b'"perturbation": "noise-3"') == found.count(b'"instruction": "swapped"') == 4
    assert reference.count(b"perturbation") == 0


def test_an_arm_that_is_the_same_policy_takes_the_records(policy: Path, reference: bytes, tmp_path: Path) -> None:
    first, second, apart = (tmp_path / cut / "four.recover/seed0" for cut in ("language-half", "language-keep-0", "language-ends"))
    plan, header, weights = resolve("none", load_policy(policy).policy).to_json(), read_header(policy), load_file(policy)
    for folder in (first, second, apart):
        folder.mkdir(parents=True)
        plan["cut"] = folder.parents[1].name
        changed = {name: t + 1e-3 * (folder == apart) for name, t in weights.items()}
        save_file(changed, folder / "recovered.safetensors", {"dtr": canonical_json(header | {"plan": plan})})

    def played(folder: Path, *more: str) -> dict[str, Any]:
        out = f"{folder.relative_to(tmp_path)}/rollouts/t-n2/{NAME}.jsonl"
        (tmp_path / out).parent.mkdir(parents=True, exist_ok=True)
        subprocess.run(command(folder / "recovered.safetensors", tmp_path, out, 1, *more), check=True)
        return dict(read_json(tmp_path / f"{out}.run.json"))

    alone = played(first, "--siblings", str(tmp_path))
    assert alone["played"] == 4 and "shared_with" not in alone, "nobody has played before"
    lent = played(second, "--siblings", str(tmp_path))
    assert lent["shared_with"]["path"].endswith(f"language-half/four.recover/seed0/rollouts/t-n2/{NAME}.jsonl")
    records = [folder / f"rollouts/t-n2/{NAME}.jsonl" for folder in (first, second)]
    taken = records[1].read_bytes()
    names = [sha256_file(folder / "recovered.safetensors")[:16].encode() for folder in (first, second)]
    assert taken == records[0].read_bytes().replace(names[0], names[1]), "the same episodes, of this policy file"
    records[1].unlink()
    assert "shared_with" not in played(second) and records[1].read_bytes() == taken, "what its own rollout would have written"
    assert "shared_with" not in played(apart, "--siblings", str(tmp_path)), "the same blocks, but other weights"
