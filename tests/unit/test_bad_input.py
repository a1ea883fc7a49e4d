"""Every bad input through the real command line: one sentence on stderr, an exit code that is not 0, and nothing half-written.

Each case is a file or an argument that a user can get wrong. What one module does with it in detail is tested beside that module.
What needs an environment, a disk or a signal of its own is a process; the other cases call the same command line in this one.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cut_world
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from dtr import cli
from dtr.data.demonstrations import TaskDemonstrations, write_demonstrations
from dtr.data.lerobot_writer import Frames, write_frames, write_meta
from dtr.dropping.plan import resolve
from dtr.dropping.scores import BlockScore, Score, write_score
from dtr.policies.file import read_header, save_policy
from dtr.provenance import canonical_json
from dtr.sim.suites import suite

RECIPE = '{"steps": 2, "batch": 4, "lr": 1e-3}'
PROTOCOL = '{"name": "t", "trials": 1, "max_steps": 4, "tasks": [0], "image_size": 28, "chunk": 2, "batch": 1}'


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Good inputs, and each bad one beside them."""
    root, random = tmp_path_factory.mktemp("inputs"), np.random.default_rng(0)
    good = root / "policy.safetensors"
    save_policy(good, cut_world.policy(), cut_world.PROCESSOR, {})
    (root / "truncated.safetensors").write_bytes(good.read_bytes()[:-1000])
    save_file({"x": torch.ones(2)}, root / "foreign.safetensors")
    (root / "text.safetensors").write_text("not a checkpoint")
    plan = {**resolve("none", cut_world.policy()).to_json(), "digest": "0" * 16}
    save_file(load_file(good), root / "other_plan.safetensors", metadata={"dtr": canonical_json({**read_header(good), "plan": plan})})
    blocks = {name: BlockScore(1.0, 0.1, False) for name in cut_world.policy().gates()}
    write_score(root / "other_scores.json", Score("gateprobe", "openvla_oft", "0" * 16, "0" * 64, ("d",), "0" * 64, 8, 0, blocks))
    for name, spoiled in (("data", False), ("nan_data", True)):
        images = random.integers(0, 256, (12, 2, 28, 28, 3), dtype=np.uint8)
        state, actions = (random.uniform(-1, 1, (12, n)).astype(np.float32) for n in (8, 7))
        record = write_frames(root / name, 0, Frames(images, state, actions, [6, 6], 0), 0, 0, 20)
        write_meta(root / name, [record], ["put the bowl on the plate"], 20, {})
        if spoiled:
            actions[7, 3] = np.nan
            write_frames(root / name, 0, Frames(images, state, actions, [6, 6], 0), 0, 0, 20)
    for name, array in (("nan_demos", np.full((5, 8), np.nan)), ("short_demos", np.zeros((5, 6)))):
        demonstrate(root / name, array)
    (root / "no_assets").mkdir()
    return root


def demonstrate(folder: Path, state: np.ndarray) -> None:
    """Raw demonstrations of one task, whose states are then replaced by `state`."""
    name = suite("embedded_spatial").tasks[0].name
    good = {"qpos": np.zeros((5, 9)), "state": np.zeros((5, 8)), "actions": np.zeros((5, 7)), "episode": np.zeros(5)}
    write_demonstrations(folder, "embedded_spatial", [TaskDemonstrations(name, "x", 0, **good, seed=np.zeros(1))], {})
    with np.load(folder / f"{name}.npz") as archive:
        arrays = {**archive, "state": state.astype(np.float32)}
    np.savez_compressed(folder / f"{name}.npz", **arrays)


@dataclass(frozen=True)
class Case:
    """`command`: words of the command line, IN and OUT standing for folders; `says`: texts that the sentence must hold."""

    command: str
    says: tuple[str, ...]
    json: str = ""
    environment: Callable[[Path], dict[str, str]] | None = None


def no_gl(folder: Path) -> dict[str, str]:
    """The dynamic linker finds these first, and they are no libraries."""
    for name in ("libEGL.so.1", "libOSMesa.so.8"):
        (folder / name).write_bytes(b"no library " * 64)
    return {"LD_LIBRARY_PATH": str(folder)}


RECOVER = "recover --policy IN/{} --data IN/{} --state-dir OUT/state --out OUT/x.safetensors --recipe"
DROP = "drop --policy IN/{} --plan-out OUT/plan.json --out OUT/x.safetensors --cut"
ROLLOUT = "rollout --policy IN/{} --state-dir OUT/state --workers 1 --out OUT/x.jsonl --suite {} --protocol"
SCORE = "score --policy IN/policy.safetensors --data IN/data --samples 4 --out OUT/x.json --metric"
GOOD = "policy.safetensors"

CASES = {
    "truncated checkpoint": Case(DROP.format("truncated.safetensors") + " none", ("truncated.safetensors", "fetch or make it again")),
    "no checkpoint at all": Case(RECOVER.format("text.safetensors", "data"), ("text.safetensors", "no safetensors file"), RECIPE),
    "foreign checkpoint": Case(
        ROLLOUT.format("foreign.safetensors", "embedded_spatial"), ("foreign.safetensors", "no policy of this project"), PROTOCOL
    ),
    "plan of another policy": Case(
        RECOVER.format("other_plan.safetensors", "data"), ("carries a plan that leaves 0000000000000000", "drop it again"), RECIPE
    ),
    "scores of another policy": Case(
        DROP.format(GOOD) + " language-gateprobe-2 --scores IN/other_scores.json", ("expected scores of", "run `dtr score`")
    ),
    "unknown cut": Case(DROP.format(GOOD) + " language-hlaf", ("did you mean 'language-half'",)),
    "unknown component": Case(DROP.format(GOOD) + " langauge-half", ("did you mean 'language'",)),
    "unknown metric": Case(SCORE + " gateprob", ("unknown metric 'gateprob'", "did you mean 'gateprobe'")),
    "unknown suite": Case(ROLLOUT.format(GOOD, "embedded_spacial"), ("did you mean 'embedded_spatial'",), PROTOCOL),
    "unknown verb": Case("recuver", ("did you mean 'recover'",)),
    "typo in a recipe": Case(RECOVER.format(GOOD, "data"), ("stepz", "steps"), RECIPE.replace("steps", "stepz")),
    "typo in a protocol": Case(
        ROLLOUT.format(GOOD, "embedded_spatial"), ("trails", "did you mean 'trials'"), PROTOCOL.replace("trials", "trails")
    ),
    "protocol without a name": Case(
        ROLLOUT.format(GOOD, "embedded_spatial"),
        ("the inline protocol must have 'name' (text of the form", "part of the paths", "got 'trials': add it (schemas/protocol"),
        '{"trials": 5}',
    ),
    "protocol of no number": Case(
        ROLLOUT.format(GOOD, "embedded_spatial"),
        ('protocol.trials must be a whole number from 1 on up to 50, got "5": correct it',),
        PROTOCOL.replace('"trials": 1', '"trials": "5"'),
    ),
    "protocol that is a list": Case(
        ROLLOUT.format(GOOD, "embedded_spatial"), ("--protocol must hold an object, got [5]: correct it",), "[5]"
    ),
    "recipe without steps": Case(
        RECOVER.format(GOOD, "data"), ("--recipe must have 'steps' (a whole number from 1 on", "got 'batch'", "add it"), '{"batch": 4}'
    ),
    "recipe that is a list": Case(RECOVER.format(GOOD, "data"), ("--recipe must hold an object, got [5]: correct it",), "[5]"),
    "rows without labels": Case("table --out OUT/x.csv --rows", ("--rows.0 must have 'plan', got nothing: add it",), "[{}]"),
    "no rows": Case("table --out OUT/x.csv --rows", ("--rows must be a list of 1 or more, got []",), "[]"),
    "played without an instruction": Case(
        "pressure --scale smoke --out OUT/x.csv --played", ("--played.0 must have 'episodes', got nothing: add it",), "[{}]"
    ),
    "entry without a revision": Case(
        "fetch --store OUT/x --config", ("hub must have 'revision'", "got 'id': add it (schemas/config"), '{"hub": {"id": "x"}}'
    ),
    "NaN in a data set": Case(RECOVER.format(GOOD, "nan_data"), ("actions must be finite", "frame 7", "episode 1"), RECIPE),
    "NaN in a demonstration": Case("render --demos IN/nan_demos --out OUT/x", ("state must be finite", "step 0")),
    "wrong shape in a demonstration": Case("render --demos IN/short_demos --out OUT/x", ("state must be (5, 8), got (5, 6)",)),
    "no data set": Case(RECOVER.format(GOOD, "no_assets"), ("raw demonstrations", "LeRobot data set", "with `dtr demonstrate`"), RECIPE),
    "no LIBERO assets": Case(
        ROLLOUT.format(GOOD, "libero_goal"), ("libero_goal needs", "set DTR_LIBERO_ASSETS"), PROTOCOL, lambda _: {"DTR_LIBERO_ASSETS": ""}
    ),
    "assets without scenes": Case(
        ROLLOUT.format(GOOD, "libero_goal"), ("DTR_LIBERO_ASSETS", "scenes/"), PROTOCOL, lambda folder: {"DTR_LIBERO_ASSETS": str(folder)}
    ),
    "no GL library": Case(ROLLOUT.format(GOOD, "embedded_spatial"), ("libEGL.so.1", "apt-get install"), PROTOCOL, no_gl),
}


def words(case: Case, inputs: Path, out: Path) -> list[str]:
    """The command line of a case."""
    line = [word.replace("IN/", f"{inputs}/").replace("OUT/", f"{out}/") for word in case.command.split()]
    return [sys.executable, "-m", "dtr.cli", *line, *([case.json] if case.json else [])]


def sentence(text: str) -> str:
    """The one sentence of a failed command's stderr."""
    errors = [line for line in text.splitlines() if line.startswith("error: ")]
    assert "Traceback" not in text and len(errors) == 1, text
    return errors[0]


def in_its_own_process(command: list[str], more: dict[str, str]) -> tuple[int, str]:
    """Exit code and stderr under an environment of the case's own."""
    environment = {key: value for key, value in (os.environ | more).items() if value and key != "MUJOCO_GL"}
    done = subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=500, check=False)
    return done.returncode, done.stderr


@pytest.mark.parametrize("name", CASES)
def test_bad_input_is_one_sentence(name: str, inputs: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    case, out = CASES[name], tmp_path / "out"
    out.mkdir()
    command = words(case, inputs, out)
    if case.environment:
        code, text = in_its_own_process(command, case.environment(tmp_path))
    else:
        code, text = cli.run(command[3:]), capfd.readouterr().err
    assert code == 2, text
    said = sentence(text)
    assert all(text in said for text in case.says), said
    assert text.count("\n") == 1, f"beside the sentence: {text}"
    assert not [path for path in out.rglob("*") if path.is_file() and path.stat().st_size], "something was left behind"


def full_disk_works() -> bool:
    """Whether a file system of our own, and so a disk that is really full, can be mounted here."""
    mount = ["unshare", "--mount", "mount", "-t", "tmpfs", "none", "/mnt"]
    try:
        return subprocess.run(mount, capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def test_a_full_disk_while_a_policy_is_written(inputs: Path, tmp_path: Path) -> None:
    """On a disk that is too small for the policy; mounted for this one process."""
    if not full_disk_works():
        pytest.skip("mounting needs root; tests/unit/test_recovery_train.py fills the disk by other means")
    disk = tmp_path / "disk"
    disk.mkdir()
    command = words(Case(DROP.format(GOOD) + " none", ()), inputs, disk)
    script = 'mount -t tmpfs -o size=48k none "$0" && "$@"; code=$?; ls -A "$0"; exit $code'
    done = subprocess.run(["unshare", "--mount", "sh", "-c", script, str(disk), *command], capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    said = sentence(done.stderr)
    assert f"no room on the disk for {disk}/x.safetensors" in said and "free some space" in said
    assert done.stdout == "", f"left behind on the full disk: {done.stdout}"


def test_a_full_disk_without_a_mount(
    inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same in this process, where root is not needed: safetensors says it in its own words."""
    from safetensors import SafetensorError

    from dtr.policies import file

    def full(tensors: object, path: Path, metadata: object = None) -> None:
        path.write_bytes(b"half")
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    monkeypatch.setattr(file, "save_file", full)
    assert cli.run(words(Case(DROP.format(GOOD) + " none", ()), inputs, tmp_path)[3:]) == 2
    assert "no room on the disk for" in sentence(capsys.readouterr().err)
    assert not list(tmp_path.iterdir())


def test_ctrl_c_during_training(inputs: Path, tmp_path: Path) -> None:
    """Saved, said, 130; the same command goes on."""
    recipe = '{"steps": 100000, "batch": 4, "lr": 1e-4, "report_every": 5}'
    command = words(Case(RECOVER.format(GOOD, "data"), (), recipe), inputs, tmp_path)
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, stdin=subprocess.DEVNULL)
    limit = time.monotonic() + 240
    while not list(tmp_path.glob("state/losses-*.jsonl")):  # after the first step
        assert process.poll() is None and time.monotonic() < limit, process.communicate()
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, text = process.communicate(timeout=120)
    assert process.returncode == 130, text
    said = sentence(text)
    assert "training stopped after step" in said and "the same command goes on" in said
    assert len(list(tmp_path.glob("state/state-*.safetensors"))) == 1
    assert not list(tmp_path.glob("x.safetensors*")) and not list(tmp_path.rglob(".*.tmp"))
