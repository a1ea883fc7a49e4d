"""Training: the result depends on policy, data, recipe and seed alone, whatever happens on the way."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import recovery_world as world
import torch
from safetensors.torch import load_file
from torch import Tensor

from dtr.errors import BadCheckpoint, BadConfig, DiskFull, DtrError
from dtr.recovery.recipe import Recipe
from dtr.recovery.state import State
from dtr.recovery.train import Curve, train

HERE = Path(__file__).parent


def trained(folder: Path, recipe: Recipe, processes: int = 1, save_every_s: float = 60.0, seed: int = 0) -> tuple[dict[str, Tensor], Curve]:
    """Weights and curve after training the little policy."""
    data = world.data()
    policy, processor = world.policy(data)
    curve = train(policy, processor, data, recipe, seed, folder, processes, save_every_s)
    return policy.state_dict(), curve


def assert_same_bits(one: dict[str, Tensor], other: dict[str, Tensor]) -> None:
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Tensor], Curve]:
    """An uninterrupted run in one process."""
    return trained(tmp_path_factory.mktemp("reference"), world.recipe(ema=0.8, val_fraction=0.2))


def test_training_lowers_the_loss(tmp_path: Path) -> None:
    _, curve = trained(tmp_path, world.recipe(steps=60, lr=1e-2, report_every=20))
    assert [point["step"] for point in curve] == [20, 40, 60]
    assert curve[-1]["loss"] < 0.8 * curve[0]["loss"]


def test_two_processes_give_the_bits_of_one(tmp_path: Path, reference: tuple[dict[str, Tensor], Curve]) -> None:
    weights, curve = trained(tmp_path, world.recipe(ema=0.8, val_fraction=0.2), processes=2)
    assert_same_bits(weights, reference[0])
    assert curve == reference[1]
    assert all("val_loss" in point for point in curve)


def test_another_seed_gives_another_result(tmp_path: Path, reference: tuple[dict[str, Tensor], Curve]) -> None:
    weights, _ = trained(tmp_path, world.recipe(ema=0.8, val_fraction=0.2), seed=1)
    assert not torch.equal(weights["language.norm.weight"], reference[0]["language.norm.weight"])


def test_the_kept_weights_are_the_moving_average(tmp_path: Path) -> None:
    """One step with decay d: mean = d * before + (1 - d) * after."""
    before = world.policy(world.data())[0].state_dict()
    after, _ = trained(tmp_path, world.recipe(steps=1))
    mean, _ = trained(tmp_path, world.recipe(steps=1, ema=0.75))
    name = "projector.fc.0.weight"
    assert not torch.equal(before[name], after[name])
    torch.testing.assert_close(mean[name], 0.75 * before[name] + 0.25 * after[name])


def child(folder: Path, processes: int, save_every_s: float = 0.0, code: str = "") -> subprocess.Popen[str]:
    """The reference run in a process of its own, which saves its state after every step and takes its time."""
    program = f"""
import sys, time
from pathlib import Path
sys.path.insert(0, {str(HERE)!r})
import recovery_world as world
from dtr.recovery.train import Training, train
step = Training.step
def slow(self, *args):
    time.sleep(0.05)
    return step(self, *args)
Training.step = slow
{code}
data = world.data()
policy, processor = world.policy(data)
recipe = world.recipe(ema=0.8, val_fraction=0.2)
from dtr.errors import Interrupted
try:
    train(policy, processor, data, recipe, 0, Path({str(folder)!r}), {processes}, {save_every_s})
except Interrupted as stop:
    print(stop)
    sys.exit(130)
"""
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    pipe = subprocess.PIPE
    return subprocess.Popen([sys.executable, "-c", program], stdout=pipe, stderr=pipe, text=True, env=environment, start_new_session=True)


def saved_steps(folder: Path) -> int:
    """How far the state in `folder` has come: every curve point and state is written in one step, so it can be read at any time."""
    import json

    from safetensors import safe_open

    for path in folder.glob("state-*.safetensors"):
        with safe_open(path, "pt") as file:
            return int(json.loads(file.metadata()["state"])["step"])
    return 0


def wait_for_step(folder: Path, step: int, run: subprocess.Popen[str]) -> None:
    limit = time.monotonic() + 120
    while saved_steps(folder) < step:
        assert run.poll() is None and time.monotonic() < limit, run.communicate()
        time.sleep(0.01)


@pytest.mark.parametrize("processes", [1, 2])
def test_a_killed_run_goes_on_to_the_same_bits(tmp_path: Path, reference: tuple[dict[str, Tensor], Curve], processes: int) -> None:
    run = child(tmp_path, processes)
    wait_for_step(tmp_path, 4, run)
    os.killpg(run.pid, signal.SIGKILL)
    run.communicate()
    assert 4 <= saved_steps(tmp_path) < 12
    weights, curve = trained(tmp_path, world.recipe(ema=0.8, val_fraction=0.2))
    assert_same_bits(weights, reference[0])
    assert curve == reference[1]


def test_a_helper_does_not_outlive_its_leader(tmp_path: Path) -> None:
    run = child(tmp_path, 2)
    wait_for_step(tmp_path, 2, run)
    os.kill(run.pid, signal.SIGKILL)  # the leader alone
    run.communicate(timeout=30)  # the helper holds the pipes open as long as it lives


def test_a_dead_helper_is_an_error_and_not_a_hang(tmp_path: Path) -> None:
    code = """
from dtr.recovery.team import Team
import os
meet = Team.meet
def die(self, stop):
    if self.rank == 1 and self.turn == 1:
        os._exit(9)
    return meet(self, stop)
Team.meet = die
"""
    run = child(tmp_path, 2, code=code)
    _, errors = run.communicate(timeout=120)
    assert run.returncode == 1
    assert "a training process died" in errors


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_the_state_and_the_run_goes_on_to_the_same_bits(
    tmp_path: Path, reference: tuple[dict[str, Tensor], Curve], number: signal.Signals
) -> None:
    run = child(tmp_path, 2, save_every_s=1e9)
    time.sleep(0.5)
    limit = time.monotonic() + 120
    while not list(tmp_path.glob("losses-*")):  # the first point of the curve: step 5
        assert run.poll() is None and time.monotonic() < limit, run.communicate()
        time.sleep(0.01)
    os.killpg(run.pid, number)
    out, errors = run.communicate(timeout=60)
    assert run.returncode == 130, errors
    assert "training stopped after step" in out and "the same command goes on" in out
    assert "Traceback" not in errors
    assert 5 <= saved_steps(tmp_path) < 12
    weights, _ = trained(tmp_path, world.recipe(ema=0.8, val_fraction=0.2))
    assert_same_bits(weights, reference[0])


def test_a_full_disk_keeps_the_previous_state(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reference: tuple[dict[str, Tensor], Curve]
) -> None:
    save = State.save
    fsync = os.fsync

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    def save_until_step_7(self: State, path: Path) -> None:
        if self.step == 7:
            monkeypatch.setattr("os.fsync", full)
        save(self, path)

    monkeypatch.setattr(State, "save", save_until_step_7)
    with pytest.raises(DiskFull, match="free some space there and run the same command again"):
        trained(tmp_path, world.recipe(ema=0.8, val_fraction=0.2), save_every_s=0)
    assert saved_steps(tmp_path) == 6
    assert not list(tmp_path.glob(".*")), "no half-written file is left"
    monkeypatch.setattr(State, "save", save)
    monkeypatch.setattr("os.fsync", fsync)
    weights, _ = trained(tmp_path, world.recipe(ema=0.8, val_fraction=0.2))
    assert_same_bits(weights, reference[0])


def test_a_finished_run_is_not_trained_again(tmp_path: Path, reference: tuple[dict[str, Tensor], Curve]) -> None:
    trained(tmp_path, world.recipe(ema=0.8, val_fraction=0.2))
    before = next(tmp_path.glob("state-*")).stat().st_mtime_ns
    weights, curve = trained(tmp_path, world.recipe(ema=0.8, val_fraction=0.2))
    assert_same_bits(weights, reference[0])
    assert curve == reference[1]
    assert next(tmp_path.glob("state-*")).stat().st_mtime_ns == before


def test_another_recipe_does_not_go_on_from_the_state_of_this_one(tmp_path: Path, reference: tuple[dict[str, Tensor], Curve]) -> None:
    trained(tmp_path, world.recipe(steps=3))
    weights, _ = trained(tmp_path, world.recipe(ema=0.8, val_fraction=0.2))
    assert_same_bits(weights, reference[0])
    assert len(list(tmp_path.glob("state-*"))) == 2


def test_a_damaged_state_is_refused(tmp_path: Path) -> None:
    trained(tmp_path, world.recipe(steps=3))
    path = next(tmp_path.glob("state-*"))
    path.write_bytes(path.read_bytes()[:-64])
    with pytest.raises(BadCheckpoint, match=r"is damaged .*: delete it, training then starts afresh"):
        trained(tmp_path, world.recipe(steps=3))


def test_a_diverging_run_says_so(tmp_path: Path) -> None:
    with pytest.raises(BadConfig, match=r"training diverged: the gradient of step .* lower lr"):
        trained(tmp_path, world.recipe(lr=1e30, warmup_steps=0), processes=2)


def test_processes_must_divide_the_shards(tmp_path: Path) -> None:
    with pytest.raises(DtrError, match="must divide the recipe's 2 shards, got 3"):
        trained(tmp_path, world.recipe(), processes=3)


def test_the_state_keeps_every_bit(tmp_path: Path) -> None:
    vectors = [torch.randn(7) for _ in range(4)]
    state = State(*vectors, step=3, loss_sum=0.1 + 0.2, curve=[{"step": 1, "loss": 1 / 3}])
    state.save(tmp_path / "s")
    again = State(*(torch.zeros(7) for _ in range(4)))
    assert again.restore(tmp_path / "s")
    assert (again.step, again.loss_sum, again.curve) == (3, 0.1 + 0.2, [{"step": 1, "loss": 1 / 3}])
    assert all(torch.equal(a, b) for a, b in zip(again.vectors().values(), vectors, strict=True))
    assert set(load_file(tmp_path / "s")) == {"theta", "m", "v", "mean"}
    assert not again.restore(tmp_path / "none")
