"""Data sets on the disk: v2.1 and v3, pictures in Parquet and in films, drawn lazily as they would be from memory; conventions refused."""

from __future__ import annotations

import json
import tracemalloc
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dtr.data import stored
from dtr.data.checks import TURNS, conventions, orientation
from dtr.data.dataset import Dataset, join
from dtr.data.films import Films
from dtr.data.lerobot import read_lerobot
from dtr.data.lerobot_writer import Frames, write_frames, write_meta
from dtr.data.stored import Encoded, Joined, Stored
from dtr.errors import BadDemonstrations
from dtr.hub.statistics import numbers

LENGTHS, SIDE = (5, 7), 64
COLOURS = 20


def written(folder: Path, seed: int = 0, side: int = SIDE) -> Frames:
    """Two tasks, four episodes; each picture of one colour, so that a film holds it."""
    rng, n = np.random.default_rng(seed), sum(LENGTHS)
    files = []
    for task in (0, 1):
        images = np.empty((n, 2, side, side, 3), np.uint8)
        images[:] = (COLOURS * (1 + np.arange(n)[:, None] % 10) + np.arange(2) * 5 + task)[..., None, None, None]
        made = Frames(images, rng.normal(size=(n, 8)).astype(np.float32), rng.normal(size=(n, 7)).astype(np.float32), LENGTHS, task)
        files.append(write_frames(folder, task, made, 2 * task, n * task, 20))
    write_meta(folder, files, ["lift it", "drop it"], 20, {"suite": "s"})
    return made


def as_v21(folder: Path) -> None:
    """The same data set in the layout of v2.1."""
    info = json.loads((folder / "meta/info.json").read_text())
    table = pa.concat_tables([pq.read_table(path) for path in sorted(folder.glob("data/chunk-000/*.parquet"))])
    for path in folder.glob("data/chunk-000/*.parquet"):
        path.unlink()
    episode = np.asarray(table["episode_index"])
    rows, stats = [], []
    for k in range(4):
        part = table.filter(pa.array(episode == k))
        pq.write_table(part, folder / f"data/chunk-000/episode_{k:06d}.parquet")
        rows.append({"episode_index": k, "tasks": ["x"], "length": len(part)})
        means = {c: {"mean": np.stack(part[c].to_numpy()).mean(0).tolist(), "count": [len(part)]} for c in ("observation.state", "action")}
        stats.append({"episode_index": k, "stats": means})
    tasks = [{"task_index": k, "task": text} for k, text in enumerate(("lift it", "drop it"))]
    for name, found in (("episodes", rows), ("episodes_stats", stats), ("tasks", tasks)):
        (folder / f"meta/{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in found))
    for name in ("stats.json", "tasks.parquet", "episodes/chunk-000/file-000.parquet"):
        (folder / "meta" / name).unlink()
    (folder / "meta/info.json").write_text(json.dumps(info | {"codebase_version": "v2.1"}))


def filmed(folder: Path, old: bool) -> None:
    """The pictures of the data set as films: one an episode in v2.1, one a camera in v3."""
    info = json.loads((folder / "meta/info.json").read_text())
    data = read_lerobot(folder)
    pattern = "videos/chunk-{episode_chunk:03d}/{video_key}/episode_{episode_index:06d}.mp4"
    pattern = pattern if old else "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"
    cameras = [name for name, feature in info["features"].items() if feature["dtype"] == "image"]
    starts = np.unique(data.episode, return_index=True)[1]
    for c, camera in enumerate(cameras):
        groups = np.split(np.arange(len(data)), starts[1:]) if old else [np.arange(len(data))]
        for k, group in enumerate(groups):
            path = folder / pattern.format(episode_chunk=0, video_key=camera, episode_index=k, chunk_index=0, file_index=0)
            path.parent.mkdir(parents=True, exist_ok=True)
            film = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"vp09"), 20, (SIDE, SIDE))
            for row in group:
                film.write(np.ascontiguousarray(data.images[row, c][:, :, ::-1]))
            film.release()
        info["features"][camera] |= {"dtype": "video"}
    if not old:
        path = folder / "meta/episodes/chunk-000/file-000.parquet"
        table = pq.read_table(path)
        for camera in cameras:
            for name in ("chunk_index", "file_index"):
                table = table.append_column(f"videos/{camera}/{name}", pa.array(np.zeros(4, np.int64)))
            table = table.append_column(f"videos/{camera}/from_timestamp", pa.array(starts / 20))
        pq.write_table(table, path)
    for path in folder.glob("data/chunk-000/*.parquet"):
        pq.write_table(pq.read_table(path).drop_columns(cameras), path)
    (folder / "meta/info.json").write_text(json.dumps(info | {"video_path": pattern}))


def same(a: Dataset, b: Dataset, rows: np.ndarray, tolerance: int = 0) -> None:
    assert np.abs(a.images[rows].astype(int) - b.images[rows]).max() <= tolerance
    for name in ("state", "actions", "episode", "task"):
        assert np.array_equal(getattr(a, name), getattr(b, name))
    assert a.instructions == b.instructions


@pytest.mark.parametrize("old", [False, True])
def test_pictures_on_the_disk_are_those_in_memory(tmp_path: Path, old: bool) -> None:
    written(tmp_path / "d")
    whole = read_lerobot(tmp_path / "d")
    if old:
        as_v21(tmp_path / "d")
    held, lazy = read_lerobot(tmp_path / "d"), read_lerobot(tmp_path / "d", tmp_path / "aside", 0)
    rows = np.random.default_rng(0).permutation(len(whole))[:9].reshape(3, 3)
    assert isinstance(held.images, np.ndarray) and isinstance(lazy.images, Encoded)
    same(held, whole, rows)
    same(lazy, whole, rows)
    assert all(np.array_equal(a, b) for a, b in zip(numbers(tmp_path / "d"), (whole.actions, whole.state), strict=True))
    assert held.sha256 == whole.sha256, "the layout is no part of the data"
    assert (
        lazy.sha256 == read_lerobot(tmp_path / "d", tmp_path / "aside", 0).sha256 == read_lerobot(tmp_path / "d", tmp_path / "b", 0).sha256
    )
    assert len(list((tmp_path / "aside").glob("d-encoded-*/index.npz"))) == 1, "copied once"


def test_an_excerpt_of_a_larger_data_set_is_the_same_on_the_disk_and_in_memory(tmp_path: Path) -> None:
    """Its frames keep the numbers that they had there."""
    written(tmp_path / "d")
    for path in (tmp_path / "d").glob("data/chunk-000/*.parquet"):
        table = pq.read_table(path)
        index = pa.array(np.asarray(table["index"]) + 100)
        pq.write_table(table.set_column(table.column_names.index("index"), "index", index), path)
    held, lazy = read_lerobot(tmp_path / "d"), read_lerobot(tmp_path / "d", tmp_path, 0)
    same(lazy, held, np.arange(len(held)))


@pytest.mark.parametrize("old", [False, True])
def test_films_are_read_frame_by_frame(tmp_path: Path, old: bool) -> None:
    written(tmp_path / "d")
    whole = read_lerobot(tmp_path / "d")
    if old:
        as_v21(tmp_path / "d")
    filmed(tmp_path / "d", old)
    lazy, held = read_lerobot(tmp_path / "d", tmp_path, 0), read_lerobot(tmp_path / "d")
    assert isinstance(lazy.images, Stored) and isinstance(held.images, np.ndarray)
    rows = np.random.default_rng(1).permutation(len(whole))
    same(lazy, whole, rows, tolerance=6)  # a film is lossy; neighbouring frames are 20 apart
    assert np.array_equal(lazy.images[rows], held.images[rows])
    films = lazy.images
    assert isinstance(films, Films)
    later = {k: [replace(film, first=film.first + 1) for film in some] for k, some in films.films.items()}
    assert Films(films.films, films.episode, films.step, films.fps, films.shape[1:]).digest == films.digest
    assert Films(later, films.episode, films.step, films.fps, films.shape[1:]).digest != films.digest, "the same films, cut elsewhere"
    film = next((tmp_path / "d").rglob("*.mp4"))
    film.write_bytes(b"no film")
    with pytest.raises(BadDemonstrations, match=r"cannot be decoded .*no AV1.*libx264"):
        read_lerobot(tmp_path / "d")
    film.unlink()
    with pytest.raises(BadDemonstrations, match="expected a film at"):
        read_lerobot(tmp_path / "d")


def test_drawing_takes_the_memory_of_a_batch_not_of_the_data(tmp_path: Path) -> None:
    written(tmp_path / "d", side=256)
    whole = 2 * sum(LENGTHS) * 2 * 256 * 256 * 3
    read_lerobot(tmp_path / "d", tmp_path, 0)
    tracemalloc.start()
    data = read_lerobot(tmp_path / "d", tmp_path, 0)
    for row in range(len(data)):
        data.images[np.array([row])]
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < whole / 4


def test_joined_data_is_drawn_from_each_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written(tmp_path / "a", 1)
    written(tmp_path / "b", 2)
    held = join([read_lerobot(tmp_path / name) for name in "ab"])
    lazy = join([read_lerobot(tmp_path / "a"), read_lerobot(tmp_path / "b", tmp_path, 0)])
    assert isinstance(held.images, np.ndarray) and isinstance(lazy.images, Joined)
    same(lazy, held, np.random.default_rng(0).permutation(len(held)))
    assert lazy.images[:].shape == held.images.shape == lazy.images.shape
    monkeypatch.setattr("dtr.data.dataset.KEPT_BYTES", 1)
    parts = [read_lerobot(tmp_path / name) for name in "ab"]
    joined = join(parts)
    assert isinstance(joined.images, Joined)
    same(joined, held, np.arange(len(held)))
    assert joined.sha256 == join([read_lerobot(tmp_path / name) for name in "ab"]).sha256
    assert isinstance(parts[1].images, np.ndarray)
    parts[1].images[-1, -1, -1, -1, -1] ^= 1
    assert join(parts).sha256 != joined.sha256, "the last byte of the last part counts"


def test_a_broken_picture_on_the_disk_says_where_it_is(tmp_path: Path) -> None:
    written(tmp_path / "d")
    data = read_lerobot(tmp_path / "d", tmp_path, 0)
    path = next(tmp_path.glob("d-encoded-*")) / "pictures.bin"
    content = bytearray(path.read_bytes())
    content[:40] = bytes(40)
    path.write_bytes(content)
    data = read_lerobot(tmp_path / "d", tmp_path, 0)
    with pytest.raises(BadDemonstrations, match=r"picture 0 of frame 0 in .* does not read"):
        data.images[[0]]
    assert stored.KEPT_BYTES == 4 * 2**30


def test_frames_that_the_meta_files_do_not_describe_are_refused(tmp_path: Path) -> None:
    written(tmp_path / "d")
    stats = json.loads((tmp_path / "d/meta/stats.json").read_text())
    wrong = json.loads(json.dumps(stats))
    wrong["action"]["mean"][3] += 0.5
    (tmp_path / "d/meta/stats.json").write_text(json.dumps(wrong))
    with pytest.raises(BadDemonstrations, match="states a mean of actions that its frames do not have"):
        read_lerobot(tmp_path / "d")
    (tmp_path / "d/meta/stats.json").write_text(json.dumps(stats))
    path = tmp_path / "d/meta/episodes/chunk-000/file-000.parquet"
    table = pq.read_table(path)
    pq.write_table(table.set_column(table.column_names.index("length"), "length", pa.array([5, 6, 5, 7])), path)
    with pytest.raises(BadDemonstrations, match=r"episode 1 has 6 frames, got 7"):
        read_lerobot(tmp_path / "d")


def test_another_convention_of_the_same_length_is_refused() -> None:
    rng = np.random.default_rng(0)
    state, actions = rng.normal(size=(50, 8)), rng.uniform(-1, 1, (50, 7))
    actions[:, -1] = np.sign(actions[:, -1])
    conventions(state, actions, "d")
    turned = state.copy()
    turned[:, 3:7] /= np.linalg.norm(turned[:, 3:7], axis=1, keepdims=True)
    with pytest.raises(BadDemonstrations, match="holds a quaternion and one finger, expected axis-angle x rad"):
        conventions(turned, actions, "d")
    opened = actions.copy()
    opened[:, -1] = (1 - actions[:, -1]) / 2
    with pytest.raises(BadDemonstrations, match=r"lies in \[0, 1\], expected gripper -1 opens \+1 closes"):
        conventions(state, opened, "d")
    closed = actions.copy()
    closed[:, -1] = 1
    conventions(state, closed, "d")  # always closed is no other convention


@pytest.mark.parametrize("how", list(TURNS))
def test_turned_pictures_are_recognised(how: str) -> None:
    from dtr.sim_check import GOLDEN

    with np.load(GOLDEN / "embedded_goal.npz") as arrays:
        reference = arrays["frame"][0]
    rng = np.random.default_rng(0)
    noisy = np.clip(reference + rng.normal(0, 30, (10, *reference.shape)), 0, 255).astype(np.uint8)
    rows, columns = TURNS[how]
    assert orientation(noisy[:, ::rows, ::columns], reference) == how
