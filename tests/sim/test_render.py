"""Demonstrations drawn again: real scene, real pictures, LeRobot layout."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from dtr.data.demonstrations import TaskDemonstrations, read_demonstrations, write_demonstrations
from dtr.data.lerobot import read_lerobot
from dtr.data.lerobot_writer import Frames, write_frames, write_meta
from dtr.data.parts import clear, keep, kept
from dtr.data.pictures import know, known, note, read_data, with_pictures
from dtr.data.render import draw, render
from dtr.errors import BadDemonstrations
from dtr.sim.simulator import NO_OP, Simulator
from dtr.sim.suites import initial_states, suite

TASK = suite("embedded_goal").tasks[0]
SEEDS = (3, 4)


@pytest.fixture(scope="module")
def recorded() -> tuple[TaskDemonstrations, np.ndarray]:
    """Two episodes of three steps with the arm pushed about, and the pictures (6, 2, 32, 32, 3) seen on the way."""
    simulator = Simulator(TASK, image_size=32)
    steps, pictures = [], []
    for seed, state in zip(SEEDS, initial_states(TASK)[:2], strict=True):
        simulator.reset(state, seed)
        for k in range(3):
            frame = simulator.observe()
            pictures.append(frame.images)
            action = NO_OP + np.array([0.8, -0.5, 0.3 * k, 0, 0, 0, 0])
            steps.append((simulator.qpos(), frame.state, action))
            simulator.step(action)
    simulator.close()
    columns = [np.stack([step[k] for step in steps]) for k in range(3)]
    task = TaskDemonstrations(TASK.name, TASK.language, TASK.index, *columns, episode=np.repeat([0, 1], 3), seed=np.array(SEEDS))
    return task, np.stack(pictures)


def test_the_pictures_drawn_again_are_those_seen(recorded: tuple[TaskDemonstrations, np.ndarray], tmp_path: Path) -> None:
    task, seen = recorded
    write_demonstrations(tmp_path / "raw", "embedded_goal", [task], {})
    earlier = Frames(seen, task.state, task.actions, [3, 3], 0)
    write_meta(tmp_path / "a", [write_frames(tmp_path / "a", k, earlier, 2 * k, 6 * k, 20) for k in range(2)], ["x"], 20, {})
    (tmp_path / "a/data/notes.parquet").touch()  # no part of a data set
    for out in ("a", "b"):
        render(tmp_path / "raw", tmp_path / out, image_size=32)
    data = read_lerobot(tmp_path / "a")
    gap = np.abs(data.images.astype(int) - seen)
    assert gap.mean() < 0.2, "the grid of the raw files may move an edge by a hair, no more"
    (raw,) = read_demonstrations(tmp_path / "raw")
    assert np.array_equal(data.actions, raw.actions) and np.array_equal(data.state, raw.state)
    assert data.episode.tolist() == [0, 0, 0, 1, 1, 1]
    assert data.instructions == (TASK.language,)
    assert (tmp_path / "a/data/notes.parquet").exists()
    file = "data/chunk-000/file-000.parquet"
    assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_whoever_trains_finds_the_pictures_of_raw_demonstrations(recorded: tuple[TaskDemonstrations, np.ndarray], tmp_path: Path) -> None:
    raw, aside = tmp_path / "raw", tmp_path / "aside"
    write_demonstrations(raw, "embedded_goal", [recorded[0]], {})
    rendered = with_pictures(raw, 32, aside)
    made_ns = (rendered / "meta/info.json").stat().st_mtime_ns
    assert with_pictures(raw, 32, aside) == rendered == with_pictures(rendered, 64, aside)  # once; a LeRobot data set is what it is
    assert (rendered / "meta/info.json").stat().st_mtime_ns == made_ns
    assert with_pictures(raw, 16, aside) != rendered
    assert np.array_equal(read_data([raw], 32, aside).images, read_lerobot(rendered).images)
    assert known([raw], 32, aside) is None
    data = read_data([raw, raw], 32, aside)
    assert know([raw, raw], 32, aside, data) == known([raw, raw], 32, aside) == (data.sha256, len(data))
    assert known([raw], 32, aside) is known([raw, raw], 16, aside) is known([rendered, raw], 32, aside) is None
    assert know([rendered], 32, aside, data)[1] == len(data) and known([rendered], 32, aside) is None, "its content has no name"
    os.utime(rendered / "meta/info.json", ns=(1, 1))
    assert known([raw, raw], 32, aside) is None, "rendered again since"
    for damaged in ("{", "[]", "{}"):
        note([raw, raw], 32, aside).write_text(damaged)
        assert known([raw, raw], 32, aside) is None
    (rendered / "meta/info.json").unlink()  # as an interrupted run leaves it
    assert (with_pictures(raw, 32, aside) / "meta/info.json").exists()


def test_a_killed_rendering_goes_on_after_its_last_whole_file(recorded: tuple[TaskDemonstrations, np.ndarray], tmp_path: Path) -> None:
    raw, out, fresh = (tmp_path / name for name in ("raw", "out", "fresh"))
    goals = [dataclasses.replace(recorded[0], name=task.name, language=task.language) for task in suite("embedded_goal").tasks[:2]]
    write_demonstrations(raw, "embedded_goal", goals, {})
    command = [sys.executable, "-m", "dtr.cli", "render", "--demos", str(raw), "--out", str(out), "--image-size", "32"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        limit = time.monotonic() + 240
        while not (out / "parts/file-000.json").exists() and process.poll() is None and time.monotonic() < limit:
            time.sleep(0.01)
        process.terminate()
        said = process.communicate()[1]
    assert process.returncode == -signal.SIGTERM and "leaked" not in said and "Traceback" not in said, said
    first, second = (out / f"data/chunk-000/file-{k:03d}.parquet" for k in range(2))
    made = first.stat()
    assert not second.exists() and not (out / "meta/info.json").exists()
    (out / "data/chunk-000/.file-001.parquet.1.tmp").touch()  # begun by the killed process
    render(raw, out, image_size=32)
    assert (first.stat().st_ino, first.stat().st_mtime_ns) == (made.st_ino, made.st_mtime_ns), "a finished file was rendered again"
    render(raw, fresh, image_size=32)
    files = [{path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()} for folder in (out, fresh)]
    assert files[0] == files[1] and not (out / "parts").exists()


def test_only_whole_files_of_the_same_rendering_are_kept(tmp_path: Path) -> None:
    pictures = np.zeros((2, 1, 8, 8, 3), np.uint8)
    for k in range(3):
        record = write_frames(tmp_path, k, Frames(pictures, np.zeros((2, 8)), np.zeros((2, 7)), [2], 0), k, 2 * k, 20)
        keep(tmp_path, k, "other" if k == 1 else "same", record)
    with open(tmp_path / "data/chunk-000/file-002.parquet", "ab") as file:
        file.write(b"x")
    assert kept(tmp_path, "same").keys() == {0}
    clear(tmp_path, kept(tmp_path, "same"))
    assert sorted(path.name for path in tmp_path.rglob("file-*")) == ["file-000.json", "file-000.parquet"]
    (tmp_path / "meta").mkdir()
    (tmp_path / "meta/info.json").touch()  # finished: whoever renders it again means it
    assert not kept(tmp_path, "same")


def test_another_scene_is_noticed(recorded: tuple[TaskDemonstrations, np.ndarray]) -> None:
    task, _ = recorded
    simulator = Simulator(TASK, image_size=32)
    try:
        with pytest.raises(BadDemonstrations, match=r"positions a step, got"):
            draw(simulator, dataclasses.replace(task, qpos=task.qpos[:, :-1]))
        moved = task.state.copy()
        moved[4, 0] += 0.01
        with pytest.raises(BadDemonstrations, match=r"the hand stands 10.0 mm from where it was recorded \(step 4\)"):
            draw(simulator, dataclasses.replace(task, state=moved))
    finally:
        simulator.close()


def test_a_task_that_is_gone_is_noticed(recorded: tuple[TaskDemonstrations, np.ndarray], tmp_path: Path) -> None:
    write_demonstrations(tmp_path / "raw", "embedded_goal", [dataclasses.replace(recorded[0], name="juggle")], {})
    with pytest.raises(BadDemonstrations, match=r"suite embedded_goal has no task 'juggle' any more"):
        render(tmp_path / "raw", tmp_path / "out")
