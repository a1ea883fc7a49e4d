"""RoboTwin's adapter, in a process of its own, on a simulator of RoboTwin's interface: frozen as upstream finds its scenes, then driven."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from robotwin_fakes import checkout

from dtr.errors import BadConfig, BadMessage
from dtr.foreign.robotwin import REVISION
from dtr.rollout.protocol import Protocol
from dtr.rollout.remote import RemoteSimulator, check_shapes, remote
from dtr.rollout.run import orders_of

SOURCE = Path(__file__).resolve().parents[2] / "src"


def adapter(*words: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "dtr.foreign.robotwin", *map(str, words)]
    environment = os.environ | {"PYTHONPATH": str(SOURCE)}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


@pytest.fixture
def frozen(tmp_path: Path) -> Path:
    process = adapter(
        "freeze",
        "--root",
        checkout(tmp_path / "twin"),
        "--task",
        "turn_switch",
        "--setting",
        "hard",
        "--states",
        4,
        "--out",
        tmp_path / "f.json",
    )
    _, said = process.communicate(timeout=60)
    assert process.returncode == 0, said
    return tmp_path / "f.json"


def test_scenes_are_those_that_the_expert_solves_in_words_that_are_drawn_once(frozen: Path) -> None:
    written = json.loads(frozen.read_text())
    seeds = [scene["seed"] for scene in written["scenes"]]
    # 100000 is 1 modulo 9, so it falls over; 100003 has no plan; of 100006 the plan failed.
    assert seeds == [100001, 100002, 100004, 100005]
    for seed, scene in zip(seeds, written["scenes"], strict=True):
        drawn = np.random.RandomState(seed).choice([f"turn the switch {seed}", f"flip the switch {seed}"])
        assert scene["instruction"] == drawn
    assert (written["setting"], written["max_steps"], len(written["revision"])) == ("hard", 12, 40)


def test_a_frozen_task_is_driven_over_a_socket(frozen: Path, tmp_path: Path) -> None:
    process = adapter("offer", "--root", tmp_path / "twin", "--frozen", frozen, "--address", tmp_path / "s")
    try:
        assert process.stdout is not None
        address = process.stdout.readline().strip()
        arena, hello = remote(address)
        assert (hello.name, hello.robot, hello.max_steps, hello.cameras) == ("robotwin_turn_switch_hard", "aloha", 12, 3)
        assert arena.told["turn_switch", 1].endswith("100002")
        order = orders_of(Protocol("p", trials=4, image_size=320, settle_steps=0), arena.suite, arena.states)[3]
        robot = RemoteSimulator(address, order.task, 320)
        robot.reset(order.state, 0, 0)
        frame = robot.observe()
        assert frame.images.shape == (3, 320, 320, 3) and frame.state.shape == (14,)
        assert frame.images[:, 40:280].min() == 200 and frame.images[:, :40].max() == 0 and frame.images[2, 160, 0, 0] == 202
        turn = np.zeros((3, 14))
        turn[:, 0] = [1.5, 2.5, 3.0]  # rad: more than 1, and the goal holds at the second
        assert robot.execute(turn) == (2, True)
        with pytest.raises(BadMessage, match=r"actions \(k, 14\) that are finite"):
            robot.ask("step", "stepped", {"actions": np.full((1, 14), np.inf)})
        with pytest.raises(BadMessage, match="needs settle_steps 0 and image_size 320"):
            robot.reset(order.state, 0, 10)
        robot.close()
        check_shapes(hello, 3, 14, 14, "aloha")
        with pytest.raises(BadConfig, match="speaks of the robot libero, but robotwin_turn_switch_hard is aloha"):
            check_shapes(hello, 3, 14, 14)
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize(
    ("task", "damage", "said"),
    [
        ("turn_swich", "", "UnknownName"),
        ("turn_switch", "envs/_base_task.py", "expected a checkout of RoboTwin"),
        ("turn_switch", "assets/embodiments/aloha/config.yml", "fetch RoboTwin's assets"),
    ],
)
def test_what_is_missing_is_said(tmp_path: Path, task: str, damage: str, said: str) -> None:
    root = checkout(tmp_path / "twin")
    if damage:
        (root / damage).unlink()
    process = adapter("freeze", "--root", root, "--task", task, "--setting", "easy", "--states", 1, "--out", tmp_path / "f.json")
    _, printed = process.communicate(timeout=60)
    assert process.returncode != 0 and said in printed and not (tmp_path / "f.json").exists()


def test_the_image_is_pinned_labelled_and_tried() -> None:
    """Base by digest, git sources by commit, packages by version; the revision is the adapter's."""
    text = (SOURCE.parent / "containers/robotwin.def").read_text()
    sections = {part.split("\n", 1)[0]: part for part in text.split("\n%")[1:]}
    pins = dict(line.strip().split("=", 1) for line in sections["arguments"].splitlines()[1:] if "=" in line)
    assert "\nFrom: {{ base }}\n" in text and re.fullmatch(r"[\w/]+@sha256:[0-9a-f]{64}", pins.pop("base"))
    assert set(pins) == {"pytorch3d", "curobo"} and all(re.fullmatch(r"[0-9a-f]{40}", commit) for commit in pins.values())
    assert "pytorch3d.git@{{ pytorch3d }}" in text and 'rev-parse HEAD)" = "{{ curobo }}"' in text
    asked = [line for line in (SOURCE.parent / "envs/robotwin.txt").read_text().splitlines() if line and line[0] != "#"]
    assert all(re.fullmatch(r"[\w-]+==[\w.]+", line) for line in asked), asked
    assert f"robotwin.revision {REVISION}" in sections["labels"] and "{{ base }}" in sections["labels"]
    assert "import sapien" in sections["test"] and "dtr.wire.robot" in sections["test"]


def test_the_adapter_imports_nothing_of_ours_but_the_wire() -> None:
    """Its environment has RoboTwin's packages, and neither torch of ours nor MuJoCo."""
    code = "import sys, dtr.foreign.robotwin; print(sorted(m for m in sys.modules if m.split('.')[0] in ('torch', 'mujoco', 'robosuite')))"
    code += "; print(sorted({m.split('.')[1] for m in sys.modules if m.startswith('dtr.')}))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=os.environ | {"PYTHONPATH": str(SOURCE)}, check=True
    )
    assert done.stdout.splitlines() == ["[]", "['errors', 'foreign', 'robots', 'wire']"]
