"""`dtr check-data`: demonstrations that are as they should be pass, and each way of being otherwise is one line with its remedy."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tiny_policy import tiny

from dtr import cli
from dtr.check_data import FAR, findings, normalised
from dtr.data.lerobot import read_lerobot
from dtr.data.lerobot_writer import Frames, write_frames, write_meta
from dtr.policies.file import save_policy
from dtr.records import read_record
from dtr.recovery.batches import statistics
from dtr.sim.suites import suite
from dtr.sim_check import golden

SUITE, LENGTHS = "embedded_goal", (5, 7)


def written(folder: Path, turned: bool = False, scale: float = 1.0) -> Path:
    """A LeRobot data set of the suite's first task, with its golden picture."""
    rng, n = np.random.default_rng(0), sum(LENGTHS)
    frame = golden(suite(SUITE))
    assert frame is not None
    frame = frame[:, ::-1, ::-1] if turned else frame
    numbers = rng.uniform(-scale, scale, (n, 7)).astype(np.float32)
    numbers[:, -1] = np.where(np.arange(n) % 2, 1, -1)
    state = rng.normal(size=(n, 8)).astype(np.float32)
    files = [write_frames(folder, 0, Frames(np.stack([frame] * n), state, numbers, LENGTHS, 0), 0, 0, 20)]
    write_meta(folder, files, [suite(SUITE).tasks[0].language], 20, {"suite": SUITE})
    return folder


def asked(*words: object) -> list[str]:
    arguments = cli.parser(["check-data"]).parse_args(["check-data", *map(str, words)])
    return [finding.line() for finding in findings(arguments)]


def test_data_that_are_right_pass(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = written(tmp_path / "d")
    assert cli.run(["check-data", "--data", str(folder), "--suites", SUITE]) == 0
    rows, stated, numbers, stands = capsys.readouterr().out.splitlines()
    assert all(line.startswith("ok") for line in (rows, stated, numbers, stands))
    assert "12 frames, 2 episodes of 5 to 7, 1 task" in rows and "means of state and actions" in stated
    assert "gripper -1.00 to 1.00" in numbers and "agent view as it is, wrist view as it is" in stands


def test_turned_pictures_and_actions_of_another_unit_fail(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = written(tmp_path / "d", turned=True, scale=20.0)
    assert cli.run(["check-data", "--data", str(folder), "--suites", SUITE]) == 2
    said = capsys.readouterr()
    assert said.out.count("FAIL") == 2 and "agent view turned by 180 degrees" in said.out and "of another unit" in said.out
    assert "2 checks of the demonstrations failed" in said.err


def test_what_was_found_is_written_only_when_nothing_failed(tmp_path: Path) -> None:
    right, turned = written(tmp_path / "right"), written(tmp_path / "turned", turned=True)
    words = ["check-data", "--suites", SUITE, "--out", str(tmp_path / "found.json"), "--data"]
    assert cli.run([*words, str(turned)]) == 2 and not (tmp_path / "found.json").exists()
    assert cli.run([*words, str(right)]) == 0
    record = read_record(tmp_path / "found.json", "check")
    assert (record["data"], record["suites"], record["policy"]) == ([str(right)], [SUITE], None)
    assert [(one["check"], one["ok"]) for one in record["findings"]] == [
        (name, True) for name in ("rows", "statistics", "actions", "orientation")
    ]
    assert cli.run(["check-data", "--data", str(right), "--suites", "embedded_object"]) == 2, "nothing was judged"


def test_what_does_not_read_is_one_line_and_the_next_is_looked_at(tmp_path: Path) -> None:
    short, whole = written(tmp_path / "short"), written(tmp_path / "whole")
    path = short / "meta/stats.json"
    stats = json.loads(path.read_text())
    stats["action"]["mean"][0] += 1
    path.write_text(json.dumps(stats))
    (whole / "meta/stats.json").unlink()
    lines = asked("--data", short, whole)
    assert lines[0].startswith("FAIL  rows") and "a mean of actions that its frames do not have" in lines[0]
    assert lines[1].startswith("ok") and lines[2].startswith("note") and "state no means" in lines[2]


def test_a_suite_that_is_not_shown_is_not_compared(tmp_path: Path) -> None:
    assert "no episode is told" in asked("--data", written(tmp_path / "d"), "--suites", "embedded_object")[-1]


def test_a_policy_of_other_data_is_noticed(tmp_path: Path) -> None:
    folder = written(tmp_path / "d")
    data, (policy, processor) = read_lerobot(folder), tiny([suite(SUITE).tasks[0].language])
    save_policy(tmp_path / "p.safetensors", policy, processor, {})
    assert "normalised" in asked("--data", folder, "--policy", tmp_path / "p.safetensors")[-1]
    own = statistics(data.actions, data.state, type(processor.actions_bounds))
    fitting = replace(processor, actions_bounds=own[0], proprio_bounds=own[1])
    assert normalised(data, fitting).ok and "off by 0.00 (actions) and 0.00 (state)" in normalised(data, fitting).found
    wide = replace(own[0], q99=tuple(4 * value for value in own[0].q99))
    other = normalised(data, replace(fitting, actions_bounds=wide))
    low, high = np.array(own[0].q01)[:6], np.array(own[0].q99)[:6]
    x = data.actions[:, :6].astype(float)
    apart = 2 * (x - low) / (4 * high - low) - 2 * (x - low) / (high - low)
    assert not other.ok and f"{np.sqrt((apart**2).mean(0)).max():.2f} (actions)" in other.found and FAR == 0.5


def test_a_policy_is_asked_by_its_header_alone(tmp_path: Path) -> None:
    """Of a large one the weights may lie elsewhere: statistics stand in the header."""
    folder = written(tmp_path / "d")
    policy, processor = tiny([suite(SUITE).tasks[0].language])
    save_policy(tmp_path / "p.safetensors", policy, processor, {}, shard_bytes=1000)
    for shard in tmp_path.glob("p-*.safetensors"):
        shard.unlink()
    assert "normalised" in asked("--data", folder, "--policy", tmp_path / "p.safetensors")[-1]
