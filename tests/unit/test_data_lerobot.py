"""LeRobot v3: written and read back; public data sets of several files and shuffled rows; refusals."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dtr.data.lerobot import read_lerobot
from dtr.data.lerobot_writer import Frames, merged, pictures, write_frames, write_meta
from dtr.data.normalisation import summary
from dtr.errors import BadDemonstrations

LENGTHS = ((4, 5), (6,))


def frames(task: int) -> Frames:
    rng = np.random.default_rng(task)
    n = sum(LENGTHS[task])
    images = rng.integers(0, 256, (n, 2, 8, 8, 3)).astype(np.uint8)
    return Frames(images, rng.normal(size=(n, 8)).astype(np.float32), rng.normal(size=(n, 7)).astype(np.float32), LENGTHS[task], task)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A data set of two tasks, three episodes, fifteen frames."""
    files = [write_frames(tmp_path, 0, frames(0), 0, 0, 20), write_frames(tmp_path, 1, frames(1), 2, 9, 20)]
    write_meta(tmp_path, files, ["lift it", "drop it"], 20, {"suite": "s"})
    return tmp_path


def edit_info(folder: Path, **changes: object) -> None:
    path = folder / "meta/info.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_written_and_read_data_agree(folder: Path) -> None:
    data = read_lerobot(folder)
    for name in ("images", "state", "actions"):
        assert np.array_equal(getattr(data, name), np.concatenate([getattr(frames(0), name), getattr(frames(1), name)]))
    assert data.episode.tolist() == [0] * 4 + [1] * 5 + [2] * 6
    assert data.task.tolist() == [0] * 9 + [1] * 6
    assert data.instructions == ("lift it", "drop it")


def test_the_meta_files_say_what_lerobot_reads(folder: Path) -> None:
    info = json.loads((folder / "meta/info.json").read_text())
    assert info["codebase_version"] == "v3.0"
    assert (info["total_episodes"], info["total_frames"], info["total_tasks"]) == (3, 15, 2)
    columns = pq.read_schema(folder / "data/chunk-000/file-000.parquet").names
    assert set(info["features"]) == set(columns)
    assert info["features"]["observation.images.image2"] == {"dtype": "image", "shape": [8, 8, 3], "names": ["height", "width", "channels"]}
    episodes = pq.read_table(folder / "meta/episodes/chunk-000/file-000.parquet").to_pydict()
    assert episodes["dataset_from_index"] == [0, 4, 9]
    assert episodes["dataset_to_index"] == [4, 9, 15]
    assert episodes["data/file_index"] == [0, 0, 1]
    assert episodes["tasks"] == [["lift it"], ["lift it"], ["drop it"]]
    frame = pq.read_table(folder / "data/chunk-000/file-001.parquet").to_pydict()
    assert frame["timestamp"] == pytest.approx([k / 20 for k in range(6)])
    assert frame["index"] == list(range(9, 15))
    tasks = pytest.importorskip("pandas").read_parquet(folder / "meta/tasks.parquet")
    assert tasks.loc["drop it", "task_index"] == 1


def test_statistics_of_several_files_are_those_of_all_frames(folder: Path) -> None:
    stats = json.loads((folder / "meta/stats.json").read_text())
    whole = summary(np.concatenate([frames(0).actions, frames(1).actions]))
    for key in ("min", "max", "mean", "std", "count"):
        assert stats["action"][key] == pytest.approx(whole[key])
    assert merged([whole]) == whole


def test_a_public_data_set_with_shuffled_files_and_openpi_names_is_read(folder: Path) -> None:
    """As in the wild: a second chunk, tasks mixed in a file, rows out of order, openpi's column names, an unnamed index of tasks."""
    table = pa.concat_tables([pq.read_table(folder / f"data/chunk-000/file-00{k}.parquet") for k in (0, 1)])
    names = {
        "observation.images.image": "image",
        "observation.images.image2": "wrist_image",
        "observation.state": "state",
        "action": "actions",
    }
    table = table.rename_columns([names.get(name, name) for name in table.column_names])
    order = np.random.default_rng(0).permutation(15)
    for k in (0, 1):
        (folder / f"data/chunk-000/file-00{k}.parquet").unlink()
    (folder / "data/chunk-001").mkdir()
    pq.write_table(table.take(order[:7]), folder / "data/chunk-000/file-000.parquet")
    pq.write_table(table.take(order[7:]), folder / "data/chunk-001/file-000.parquet")
    pq.write_table(pa.table({"task_index": [1, 0], "__index_level_0__": ["drop it", "lift it"]}), folder / "meta/tasks.parquet")
    features = json.loads((folder / "meta/info.json").read_text())["features"]
    edit_info(folder, features={names.get(name, name): feature for name, feature in features.items()})
    data = read_lerobot(folder)
    assert np.array_equal(data.images[:9], frames(0).images)
    assert np.array_equal(data.actions[9:], frames(1).actions)
    assert data.instructions == ("lift it", "drop it")


def test_an_older_layout_is_refused(folder: Path) -> None:
    edit_info(folder, codebase_version="v2.0")
    with pytest.raises(BadDemonstrations, match=r"expected LeRobot layout v3 or v2.1 .* got v2.0"):
        read_lerobot(folder)


def test_a_truncated_data_file_is_refused(folder: Path) -> None:
    path = folder / "data/chunk-000/file-001.parquet"
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(BadDemonstrations, match=r"file-001.parquet must be a whole data file"):
        read_lerobot(folder)


def test_a_missing_data_file_is_refused(folder: Path) -> None:
    (folder / "data/chunk-000/file-001.parquet").unlink()
    with pytest.raises(BadDemonstrations, match=r"must hold 15 frames as its info\.json says, got 9"):
        read_lerobot(folder)


def test_a_picture_of_another_size_is_refused(folder: Path) -> None:
    path = folder / "data/chunk-000/file-001.parquet"
    table = pq.read_table(path)
    small = pictures(np.zeros((6, 4, 4, 3), np.uint8))
    pq.write_table(table.set_column(table.column_names.index("observation.images.image"), "observation.images.image", small), path)
    with pytest.raises(BadDemonstrations, match=r"a picture of \(4, 4, 3\) where info.json says \(8, 8, 3\)"):
        read_lerobot(folder)


def test_a_broken_picture_is_refused(folder: Path) -> None:
    """Cut off, or with a chunk that is none: Pillow has another exception for each."""
    path = folder / "data/chunk-000/file-001.parquet"
    table, camera = pq.read_table(path), "observation.images.image"
    encoded = table[camera].combine_chunks().field("bytes").to_pylist()
    data = encoded[0].index(b"IDAT")
    length = int.from_bytes(encoded[0][data - 4 : data], "big")
    for broken in (encoded[0][:60], encoded[0][: data - 4] + (length // 2).to_bytes(4, "big") + encoded[0][data:]):
        column = pa.StructArray.from_arrays([pa.array([broken, *encoded[1:]]), pa.nulls(6, pa.string())], ["bytes", "path"])
        pq.write_table(table.set_column(table.column_names.index(camera), camera, column), path)
        with pytest.raises(BadDemonstrations, match=r"file-001.parquet must be a whole data file"):
            read_lerobot(folder)


IMAGE = "observation.images.image"
FEATURES = ({IMAGE: {}}, {IMAGE: 5}, {IMAGE: {"dtype": "image"}}, {IMAGE: {"dtype": "image", "shape": ["a", 8, 3]}})


@pytest.mark.parametrize("wrong", [{"features": None}, {"total_frames": None}, {"total_frames": 0}, *({"features": f} for f in FEATURES)])
def test_an_info_without_its_fields_is_refused(folder: Path, wrong: dict[str, object]) -> None:
    edit_info(folder, **wrong)
    with pytest.raises(BadDemonstrations, match="must say total_frames"):
        read_lerobot(folder)


@pytest.mark.parametrize("text", [b"[]", b"{", b'{"codebase_version": "v3\xff"}'])
def test_an_info_that_does_not_read_is_refused(folder: Path, text: bytes) -> None:
    (folder / "meta/info.json").write_bytes(text)
    with pytest.raises(BadDemonstrations, match="got neither"):
        read_lerobot(folder)


def test_tasks_without_numbers_are_refused(folder: Path) -> None:
    pq.write_table(pa.table({"task_index": [0, None], "task": ["lift it", "drop it"]}), folder / "meta/tasks.parquet")
    with pytest.raises(BadDemonstrations, match="must map sentences to task_index"):
        read_lerobot(folder)


def test_no_data_set_at_all(tmp_path: Path) -> None:
    with pytest.raises(BadDemonstrations, match=r"got neither: .* `dtr demonstrate`"):
        read_lerobot(tmp_path)


def test_equal_frames_give_equal_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_frames(tmp_path / name, 0, frames(0), 0, 0, 20)
    one, other = ((tmp_path / name / "data/chunk-000/file-000.parquet").read_bytes() for name in ("a", "b"))
    assert one == other
