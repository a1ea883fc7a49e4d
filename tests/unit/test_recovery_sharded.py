"""Training on several devices, here processes over gloo: the losses of one device and of the CPU's own loop, resumable, or refused."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from multiprocessing.context import ForkProcess
from pathlib import Path
from typing import Any

import four_policies
import pytest
import recovery_world as world
import test_recovery_verbs
import torch
from test_recovery_verbs import checkpoint, recover, write

from dtr.errors import BadConfig, DtrError
from dtr.lifeline import fork
from dtr.policies.file import load_policy
from dtr.recovery.fleet import watch
from dtr.recovery.sharded import ShardedTraining, shard

pytestmark = pytest.mark.slow
ROUNDING = 2e-5
"""How far losses may part in 6 steps, as a fraction: sums have another order, and every step builds on the one before."""
RECIPE: dict[str, object] = {"steps": 6, "batch": 8, "shards": 4, "lr": 3e-3, "report_every": 1, "val_fraction": 0.2, "ema": 0.8}
RECIPE |= {"weight_decay": 0.01}
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


def assert_alike(place: Path, one: str, other: str, rel: float = ROUNDING) -> None:
    """Two runs with the same losses and weights but for rounding, and no state left behind by the first."""
    for point, expected in zip(curve(place, one), curve(place, other), strict=True):
        assert point == pytest.approx(expected, rel=rel)
    weights = load_policy(place / f"{other}.safetensors").policy.state_dict()
    for key, tensor in load_policy(place / f"{one}.safetensors").policy.state_dict().items():
        torch.testing.assert_close(tensor, weights[key], rtol=50 * rel, atol=5 * rel)
    assert not list((place / f"state-{one}.safetensors").iterdir())


def recover_apart(place: Path, out: str, **options: str) -> int | None:
    """`dtr recover` in a process of its own: a process group leaves threads behind, and what is forked next to them may hang."""
    process = fork(lambda: os._exit(recover(place, out, **options)))
    process.join(300)
    return process.exitcode


@pytest.mark.parametrize("recipe", [RECIPE, LOW_RANK], ids=["full", "lora"])
def test_two_devices_give_the_losses_of_one_and_of_the_cpu_s_loop(place: Path, recipe: dict[str, object]) -> None:
    """Four shards: two micro-batches are accumulated on each of two devices, four on one."""
    kind = "lora" if "lora" in recipe else "full"
    for name, how in (("cpu", {}), ("one", {"gpus": "1"}), ("two", {"gpus": "2"})):
        assert recover_apart(place, f"{kind}_{name}.safetensors", recipe=json.dumps(recipe), **how) == 0
    points = curve(place, f"{kind}_cpu")
    assert len(points) == 6 and points[0]["loss"] != points[-1]["loss"]
    assert_alike(place, f"{kind}_one", f"{kind}_cpu")
    assert_alike(place, f"{kind}_two", f"{kind}_cpu")


def test_bfloat16_and_blocks_run_again_on_the_way_back(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = json.dumps(RECIPE | {"precision": "bf16", "steps": 3})
    assert recover(place, "half_cpu.safetensors", recipe=recipe) == 0
    init = ShardedTraining.__init__

    def recomputing(self: ShardedTraining, *args: Any) -> None:
        init(self, *args[:-1], True)

    monkeypatch.setattr(ShardedTraining, "__init__", recomputing)
    assert recover(place, "half_two.safetensors", recipe=recipe, gpus="2") == 0
    assert_alike(place, "half_two", "half_cpu", rel=2e-3)
    exact = json.dumps(RECIPE | {"steps": 3})
    assert recover(place, "whole_cpu.safetensors", recipe=exact) == 0
    losses = [[point["loss"] for point in curve(place, name)] for name in ("half_cpu", "whole_cpu")]
    assert losses[0] != losses[1] and losses[0] == pytest.approx(losses[1], rel=0.02)
    loaded = load_policy(place / "half_two.safetensors")
    assert all(t.dtype == torch.float32 for t in loaded.policy.parameters())
    assert loaded.header["provenance"]["recipe"]["precision"] == "bf16"


def test_the_processes_of_torchrun_are_taken_as_they_are(place: Path) -> None:
    recipe = json.dumps(RECIPE | {"steps": 2})
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])

    def body(rank: int) -> None:
        os.environ |= {"RANK": str(rank), "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        os._exit(recover(place, "torchrun.safetensors", recipe=recipe))

    processes = [fork(body, rank) for rank in range(2)]
    assert recover(place, "alone.safetensors", recipe=recipe) == 0
    for process in processes:
        process.join(300)
    assert [process.exitcode for process in processes] == [0, 0]
    assert_alike(place, "torchrun", "alone")


def test_torchrun_itself_starts_them(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command of torch's own package, which finds the port, numbers the processes and waits for them."""
    recipe = json.dumps(RECIPE | {"steps": 2})
    command = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "dtr.cli"]
    started: list[subprocess.CompletedProcess[str]] = []

    def run_by_torchrun(argv: list[str]) -> int:
        started.append(subprocess.run([sys.executable, *command, *argv], capture_output=True, text=True, timeout=500, check=False))
        return started[0].returncode

    monkeypatch.setattr(test_recovery_verbs, "run", run_by_torchrun)
    assert recover(place, "itself.safetensors", recipe=recipe) == 0, started[0].stderr[-2000:]
    monkeypatch.undo()
    assert recover(place, "by_itself.safetensors", recipe=recipe) == 0
    assert_alike(place, "itself", "by_itself")
    assert "Traceback" not in started[0].stderr


def slow_run(place: Path, out: str, save_every: str) -> ForkProcess:
    """`dtr recover --gpus 2` in a process of its own, in slow steps."""

    def body() -> None:
        advance = ShardedTraining.advance

        def slow(self: ShardedTraining) -> tuple[bool, bool]:
            time.sleep(0.2)
            return advance(self)

        ShardedTraining.advance = slow  # type: ignore[method-assign]
        os._exit(recover(place, out, recipe=json.dumps(RECIPE), gpus="2", **{"save-every": save_every}))

    return fork(body)


def until(happened: Callable[[], bool], process: ForkProcess | None = None) -> None:
    limit = time.monotonic() + 300
    while not happened():
        assert time.monotonic() < limit and (process is None or process.is_alive())
        time.sleep(0.01)


def ended(pid: int) -> bool:
    """Whether a process is gone, or waits to be counted by whoever adopted it."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return True


def test_a_stopped_and_then_killed_run_goes_on_even_on_another_number_of_devices(place: Path) -> None:
    assert recover(place, "calm.safetensors", recipe=json.dumps(RECIPE)) == 0
    state = place / "state-stopped.safetensors"
    saved = lambda: [int(p.name[5:]) for p in state.glob("sharded-*/step-*")]  # noqa: E731
    run = slow_run(place, "stopped.safetensors", "1e9")
    until(lambda: bool(list(state.glob("losses-*"))), run)
    os.kill(run.pid or 0, signal.SIGTERM)
    run.join(300)
    assert run.exitcode == 130 and len(saved()) == 1 and 1 <= saved()[0] < 6
    first = saved()[0]
    run = slow_run(place, "stopped.safetensors", "0")
    until(lambda: max(saved(), default=0) > first, run)
    copies = [int(pid) for pid in Path(f"/proc/{run.pid}/task/{run.pid}/children").read_text().split()]
    assert len(copies) == 2
    os.kill(run.pid or 0, signal.SIGKILL)
    until(lambda: all(ended(pid) for pid in copies))  # nobody trains on behind the back of a killed command
    run.join(300)
    (next(state.glob("sharded-*")) / "half").mkdir(exist_ok=True)  # what a process leaves that dies while it writes
    assert first < max(saved()) < 6
    assert recover_apart(place, "stopped.safetensors", recipe=json.dumps(RECIPE), gpus="1") == 0
    assert_alike(place, "stopped", "calm")


@pytest.mark.parametrize(
    ("how", "sentence"),
    [
        ({"gpus": "3"}, "each of 3 devices must get the same number of the recipe's 4 shards: set the recipe's shards to a multiple of 3"),
        ({"gpus": "2", "processes": "2"}, "takes one process a device, got --processes 2: say --gpus instead"),
        ({"gpus": "0"}, "each of 0 devices"),
        ({"device": "cuda"}, "needs GPU 0, torch sees 0"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_read(
    place: Path, capsys: pytest.CaptureFixture[str], how: dict[str, str], sentence: str
) -> None:
    if how.get("device") == "cuda" and torch.cuda.is_available():
        pytest.skip("has a GPU")
    assert recover(place, "x.safetensors", policy="no/such", recipe=json.dumps(RECIPE), **how) == 2
    assert sentence in capsys.readouterr().err.strip().splitlines()[-1]


def test_what_torchrun_started_is_not_started_again(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "4")
    assert recover(place, "x.safetensors", policy="no/such", recipe=json.dumps(RECIPE), gpus="2") == 2
    assert "--gpus 2 contradicts the 4 processes that torchrun started" in capsys.readouterr().err


def test_every_policy_taken_apart_has_its_losses_and_gradients() -> None:
    """Also with blocks run once more on the way back. All copies have the same batch, so the mean of their gradients is the whole's."""

    def compare(args: argparse.Namespace) -> None:
        for name in four_policies.NAMES:
            whole, parts, batch = four_policies.made(name), four_policies.made(name), four_policies.batch(name)
            for stack in parts.stacks().values():
                stack.recompute = True
            losses = []
            for ask in (whole.losses, shard(parts, args.fleet)):
                torch.manual_seed(0)  # of noise and time
                losses.append(ask(batch))
                losses[-1].sum().backward()
            torch.testing.assert_close(losses[1], losses[0])
            pieces = dict(parts.named_parameters())
            for key, p in whole.named_parameters():
                q = pieces[key].grad
                assert (q is None) == (p.grad is None), key
                if q is not None:
                    torch.testing.assert_close(q.full_tensor(), p.grad, rtol=1e-4, atol=1e-5)  # type: ignore[attr-defined]

    watch(argparse.Namespace(device="cpu", run=compare), 2)


def test_the_first_copy_that_ends_badly_ends_all() -> None:
    def one_dies(args: argparse.Namespace) -> None:
        if args.fleet.rank == 1:
            os._exit(9)
        time.sleep(300)

    def all_refuse(args: argparse.Namespace) -> None:
        raise BadConfig("the same in all of them.")

    with pytest.raises(DtrError, match=r"a training process died \(exit codes \[None, 9\]"):
        watch(argparse.Namespace(device="cpu", run=one_dies), 2)
    with pytest.raises(BadConfig, match=r"^the same in all of them\.$"):
        watch(argparse.Namespace(device="cpu", run=all_refuse), 2)
