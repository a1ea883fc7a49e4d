"""`dtr rollout --robot`: a robot in a process of its own is driven over a socket, and what it cannot do is never counted as a failure."""

from __future__ import annotations

import json
import multiprocessing
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from serving_fakes import STARTS, Slider, slider
from tiny_policy import tiny

from dtr.cli import run
from dtr.errors import BadConfig, BadMessage, DtrError, Unreachable
from dtr.policies.file import save_policy
from dtr.report.outcomes import read_run
from dtr.rollout.episode import read_episodes
from dtr.rollout.hello import kept_hello, read_hello
from dtr.rollout.protocol import Protocol
from dtr.rollout.remote import RemoteSimulator, RobotLost, build_remote, check_shapes, remote
from dtr.rollout.run import orders_of
from dtr.rollout.session import Session
from dtr.rollout.worker import Array, play
from dtr.sim.simulator import Frame

PROTOCOL = Protocol("test", trials=3, chunk=3, batch=2, seed=5, image_size=8)


def walk(requests: Mapping[int, tuple[Frame, str]]) -> dict[int, Array]:
    """A policy that moves by 1/16 a step, away from 0."""
    return {row: np.full((8, 7), 0.0625 if frame.state[0] >= 0 else -0.0625) for row, (frame, _) in requests.items()}


def test_a_robot_is_driven_as_a_simulator_is(tmp_path: Path) -> None:
    with slider(tmp_path) as (address, _):
        arena, _ = remote(address)
        session = Session(walk, PROTOCOL, arena.suite, "0" * 16, 1, 60.0, arena.factory, arena.scenes)
        episodes = session.roll_out(orders_of(PROTOCOL, arena.suite, arena.states), tmp_path / "state", tmp_path / "out.jsonl")
    # From 0.5 eight steps lead to the goal, from 0.75 four, away from it none of 20; the first try of every `fails_once` is an error.
    assert [(e.task, e.init_state, e.outcome, e.steps, e.inferences) for e in episodes] == [
        (task, i, outcome, steps, -(-steps // 3))
        for task in ("plain", "fails_once")
        for i, (outcome, steps) in enumerate((("success", 8), ("success", 4), ("failure", 20)))
    ]
    notes = (tmp_path / "notes.txt").read_text().splitlines()
    assert notes.count("reset plain 0 5 10") == 1 and notes.count("reset fails_once 0 5 10") == 2
    assert read_episodes(tmp_path / "out.jsonl") == episodes and {e.suite for e in episodes} == {"sliders"}


def test_a_chunk_or_single_steps_with_a_film_are_the_same_episode(tmp_path: Path) -> None:
    with slider(tmp_path) as (address, _):
        arena, _ = remote(address)
        order = orders_of(PROTOCOL, arena.suite, arena.states)[1]
        ends = []
        for film in (False, True):
            here, there = multiprocessing.Pipe()
            for _ in range(2):
                there.send(np.full((3, 7), 0.0625))
            simulator = build_remote(address, order.task, 8)
            ends.append(play(simulator, replace(order, film=film), here))
            simulator.close()
    assert ends[0].film is None and ends[1].film is not None and len(ends[1].film) == 5
    assert ends[0] == replace(ends[1], film=None) and (ends[0].success, ends[0].steps) == (True, 4)


def test_what_a_robot_refuses_ends_the_run_and_what_fails_is_an_error(tmp_path: Path) -> None:
    with slider(tmp_path) as (address, process):
        arena, _ = remote(address)
        task = arena.suite.tasks[1]
        large = RemoteSimulator(address, task, 65)
        with pytest.raises(BadMessage, match="refuses 'reset': this camera has 64 pixels"):
            large.reset(np.zeros(1), 0, 0)
        large.close()
        robot = RemoteSimulator(address, task, 8)
        with pytest.raises(RobotLost, match="the slider stuck"):
            robot.reset(np.zeros(1), 0, 0)
        with pytest.raises(BadMessage, match="expects a task of sliders, a state below 3"):
            robot.reset(np.array([3.0]), 0, 0)
        robot.reset(np.zeros(1), 0, 0)  # the same connection
        with pytest.raises(ValueError, match="actions are finite"):
            robot.step(np.full(7, np.nan))
        with pytest.raises(BadMessage, match=r"actions \(k, 7\) in \[-1, 1\]"):
            robot.step(np.full(7, 1.5))
        assert robot.observe().state.tolist() == [STARTS[0]] * 8  # nothing was moved
        with pytest.raises(RobotLost, match="has gone"):
            robot.step(np.full(7, 0.987))  # the robot's process dies
        robot.close()
        process.wait(20)
        with pytest.raises(Unreachable, match="nobody answers at"):
            RemoteSimulator(address, task, 8)
    assert (tmp_path / "notes.txt").read_text().splitlines().count("halt") >= 2


def test_a_robot_that_says_nonsense_or_does_not_fit_is_refused() -> None:
    good = {"name": "r", "tasks": [{"name": "a", "language": "do a"}], "states": 2, "max_steps": 9, "scenes": "", "cameras": 2}
    good |= {"state_dim": 8, "action_dim": 7, "connections": 1, "told": "more than is asked"}
    hello = read_hello(good, "x")
    assert hello.tasks[0].language == "do a"
    for change in (
        {"tasks": []},
        {"tasks": good["tasks"] * 2},
        {"states": 0},
        {"name": "with blanks"},
        {"max_steps": "many"},
        {"tasks": 3},
    ):
        with pytest.raises(BadMessage, match="the robot at x"):
            read_hello(good | change, "x")
    check_shapes(hello, 2, 8, 7)
    for shapes in ((1, 8, 7), (2, 14, 7), (2, 8, 14)):
        with pytest.raises(BadConfig, match="use a policy made for it"):
            check_shapes(hello, *shapes)


def test_the_verb_drives_a_robot_over_a_unix_socket(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_policy(tmp_path / "p.safetensors", *tiny([task.language for task in Slider.hello.tasks]), {})
    protocol = json.dumps({"name": "robot", "trials": 1, "tasks": [0], "chunk": 8, "batch": 1})
    options = [
        "--policy",
        str(tmp_path / "p.safetensors"),
        "--protocol",
        protocol,
        "--state-dir",
        str(tmp_path / "state"),
        "--workers",
        "4",
    ]
    with slider(tmp_path, str(tmp_path / "s")) as (address, _):
        assert run(["rollout", *options, "--robot", address, "--out", str(tmp_path / "out.jsonl")]) == 0
    assert "1 episodes succeeded" in capsys.readouterr().err
    (episode,) = read_episodes(tmp_path / "out.jsonl")
    assert (episode.suite, episode.task, episode.error) == ("sliders", "plain", None) and episode.trace
    record = json.loads((tmp_path / "out.jsonl.run.json").read_text())
    assert record["workers"] == 1  # it has one body
    assert kept_hello(tmp_path / "out.jsonl", "sliders") == Slider.hello
    assert read_run(tmp_path / "out.jsonl", Protocol.read(protocol)).outcomes == {"plain": (episode.outcome == "success",)}
    assert run(["rollout", *options, "--robot", address, "--out", str(tmp_path / "other.jsonl")]) == 2
    assert "nobody answers at" in capsys.readouterr().err
    assert issubclass(Unreachable, DtrError)
