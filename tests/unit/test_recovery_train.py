"""Training: the result depends on policy, data, recipe and seed alone, whatever happens on the way."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import recovery_world as world
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor

from dtr.errors import BadCheckpoint, BadConfig, DiskFull, DtrError, Interrupted
from dtr.lifeline import fork
from dtr.recovery.recipe import Recipe
from dtr.recovery.state import State
from dtr.recovery.team import Team
from dtr.recovery.train import Curve, Training

REFERENCE = world.recipe(ema=0.8, val_fraction=0.2)


def trained(folder: Path, recipe: Recipe, processes: int = 1, save_every_s: float = 60.0, seed: int = 0) -> tuple[dict[str, Tensor], Curve]:
    """Weights and curve after training the little policy."""
    data = world.data()
    policy, processor = world.policy(data)
    curve = Training(policy, processor, data, recipe, seed, folder, save_every_s).run(processes)
    return policy.state_dict(), curve


def assert_same_bits(one: dict[str, Tensor], other: dict[str, Tensor]) -> None:
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Tensor], Curve]:
    """An uninterrupted run in one process."""
    return trained(tmp_path_factory.mktemp("reference"), REFERENCE)


def test_training_lowers_the_loss(tmp_path: Path) -> None:
    _, curve = trained(tmp_path, world.recipe(steps=60, lr=1e-2, report_every=20))
    assert [point["step"] for point in curve] == [20, 40, 60]
    assert curve[-1]["loss"] < 0.95 * curve[0]["loss"]  # most of what is left is noise in the labels


def test_draws_are_refused_where_no_noise_is_drawn(tmp_path: Path) -> None:
    with pytest.raises(BadConfig, match="loss of openvla_oft has none, got 4: leave draws out"):
        trained(tmp_path, world.recipe(draws=4))


def test_two_processes_give_the_bits_of_one(tmp_path: Path, reference: tuple[dict[str, Tensor], Curve]) -> None:
    weights, curve = trained(tmp_path, REFERENCE, processes=2)
    assert_same_bits(weights, reference[0])
    assert curve == reference[1]
    assert all("val_loss" in point for point in curve)


def test_another_seed_gives_another_result(tmp_path: Path, reference: tuple[dict[str, Tensor], Curve]) -> None:
    weights, _ = trained(tmp_path, REFERENCE, seed=1)
    assert not torch.equal(weights["language.norm.weight"], reference[0]["language.norm.weight"])


def test_the_kept_weights_are_the_moving_average(tmp_path: Path) -> None:
    """One step with decay d: mean = d * before + (1 - d) * after."""
    before = world.policy(world.data())[0].state_dict()
    after, _ = trained(tmp_path, world.recipe(steps=1))
    mean, _ = trained(tmp_path, world.recipe(steps=1, ema=0.75))
    name = "projector.fc.0.weight"
    assert not torch.equal(before[name], after[name])
    torch.testing.assert_close(mean[name], 0.75 * before[name] + 0.25 * after[name])


class Run:
    """The reference run in a process of its own (a fork: importing torch again takes seconds). It takes 50 ms and more a step."""

    def __init__(self, folder: Path, processes: int, save_every_s: float = 0.0, before: Callable[[], None] = lambda: None) -> None:
        self.folder, self.said = folder, folder / "said"
        self.process = fork(self.body, processes, save_every_s, before)
        self.pid = self.process.pid or 0

    def body(self, processes: int, save_every_s: float, before: Callable[[], None]) -> None:
        os.setsid()  # as from a terminal: a signal for the group reaches leader and helpers
        said = os.open(self.said, os.O_CREAT | os.O_WRONLY)
        os.dup2(said, 1), os.dup2(said, 2)
        sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w")
        step = Training.step

        def slow(self: Training, *args: Any) -> bool:
            time.sleep(0.05)
            return step(self, *args)

        Training.step = slow  # type: ignore[method-assign]
        before()
        code = 0
        try:
            trained(self.folder, REFERENCE, processes, save_every_s)
        except DtrError as error:
            code = 130 if isinstance(error, Interrupted) else 2
            print(error, flush=True)
        sys.stderr.flush()
        os._exit(code)

    def wait_for(self, happened: Callable[[], bool]) -> None:
        """Wait until something is seen in the folder."""
        limit = time.monotonic() + 300
        while not happened():
            assert self.process.is_alive() and time.monotonic() < limit, self.said.read_text()
            time.sleep(0.005)

    def end(self) -> int:
        """The exit code."""
        self.process.join(300)
        assert self.process.exitcode is not None, "the run hangs"
        return self.process.exitcode


def saved_steps(folder: Path) -> int:
    """How far the state in `folder` has come: every curve point and state is written in one step, so it can be read at any time."""
    for path in folder.glob("state-*.safetensors"):
        with safe_open(path, "pt") as file:
            return int(json.loads(file.metadata()["state"])["step"])
    return 0


@pytest.mark.parametrize("processes", [1, 2])
def test_a_killed_run_goes_on_to_the_same_bits(tmp_path: Path, reference: tuple[dict[str, Tensor], Curve], processes: int) -> None:
    run = Run(tmp_path, processes)
    run.wait_for(lambda: saved_steps(tmp_path) >= 4)
    os.killpg(run.pid, signal.SIGKILL)
    assert run.end() == -signal.SIGKILL
    assert 4 <= saved_steps(tmp_path) < 12
    weights, curve = trained(tmp_path, REFERENCE)
    assert_same_bits(weights, reference[0])
    assert curve == reference[1]


def test_a_helper_does_not_outlive_its_leader(tmp_path: Path) -> None:
    run = Run(tmp_path, 2)
    run.wait_for(lambda: saved_steps(tmp_path) >= 2)
    os.kill(run.pid, signal.SIGKILL)  # the leader alone
    run.end()
    limit = time.monotonic() + 60
    with pytest.raises(ProcessLookupError):
        while time.monotonic() < limit:
            os.killpg(run.pid, 0)
            time.sleep(0.01)


def test_a_dead_helper_is_an_error_and_not_a_hang(tmp_path: Path) -> None:
    def helper_dies_in_its_second_step() -> None:
        meet = Team.meet

        def die(self: Team, stop: bool) -> bool:
            if self.rank == 1 and self.turn == 1:
                os._exit(9)
            return meet(self, stop)

        Team.meet = die  # type: ignore[method-assign]

    run = Run(tmp_path, 2, before=helper_dies_in_its_second_step)
    assert run.end() == 2
    assert "a training process died (exit codes [9]" in run.said.read_text()
    assert saved_steps(tmp_path) == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_the_state_and_the_run_goes_on_to_the_same_bits(
    tmp_path: Path, reference: tuple[dict[str, Tensor], Curve], number: signal.Signals
) -> None:
    run = Run(tmp_path, 2, save_every_s=1e9)
    run.wait_for(lambda: bool(list(tmp_path.glob("losses-*"))))  # the first point of the curve: step 5
    os.killpg(run.pid, number)
    assert run.end() == 130
    said = run.said.read_text()
    assert "training stopped after step" in said and "the same command goes on" in said
    assert "Traceback" not in said
    assert 5 <= saved_steps(tmp_path) < 12
    weights, _ = trained(tmp_path, REFERENCE)
    assert_same_bits(weights, reference[0])


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system with room for one state of the little policy (220 KB) beside another, not for more."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=600k", "tmpfs", str(folder)], capture_output=True).returncode:
        pytest.skip("may not mount a file system here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_keeps_the_previous_state(small_disk: Path, reference: tuple[dict[str, Tensor], Curve]) -> None:
    filler = small_disk / "filler"
    save = State.save

    def fill_before_step_7(self: State, path: Path) -> None:
        if self.step == 7:
            with contextlib.suppress(OSError), open(filler, "wb") as file:
                for _ in range(1000):
                    file.write(bytes(1000))
        save(self, path)

    with pytest.MonkeyPatch.context() as patch, pytest.raises(DiskFull, match="free some space there and run the same command again"):
        patch.setattr(State, "save", fill_before_step_7)
        trained(small_disk, REFERENCE, save_every_s=0)
    assert saved_steps(small_disk) == 6
    assert not list(small_disk.glob(".*")), "no half-written file is left"
    filler.unlink()
    weights, _ = trained(small_disk, REFERENCE)
    assert_same_bits(weights, reference[0])


def test_a_finished_run_is_not_trained_again(tmp_path: Path, reference: tuple[dict[str, Tensor], Curve]) -> None:
    trained(tmp_path, REFERENCE)
    before = next(tmp_path.glob("state-*")).stat().st_mtime_ns
    weights, curve = trained(tmp_path, REFERENCE)
    assert_same_bits(weights, reference[0])
    assert curve == reference[1]
    assert next(tmp_path.glob("state-*")).stat().st_mtime_ns == before


def test_another_recipe_does_not_go_on_from_the_state_of_this_one(tmp_path: Path, reference: tuple[dict[str, Tensor], Curve]) -> None:
    trained(tmp_path, world.recipe(steps=3))
    weights, _ = trained(tmp_path, REFERENCE)
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
