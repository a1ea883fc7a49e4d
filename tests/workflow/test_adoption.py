"""Cached artifacts get Snakemake's record and one time; what was made or edited here keeps its own."""

import json
import os
from pathlib import Path

import pytest

from dtr.errors import BadRecord, DtrError
from dtr.provenance import write_json
from dtr.workflow import running
from dtr.workflow.adoption import CACHED_S, METADATA, TIMESTAMP, adopt, content, from_cache, record_path, records

FILE = "artifacts/embedded/p/pretrained.safetensors"
FOLDER = "artifacts/embedded/demos/s"


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """A pulled world: a file, a folder and what Snakemake knew about them."""
    monkeypatch.chdir(tmp_path)
    for path, text in ((FILE, "weights"), (f"{FOLDER}/meta.json", "{}"), (f"{FOLDER}/task.npz", "arrays")):
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_text(text)
    entries = {
        path: {"content": content(Path(path)), "record": {"rule": "r", "params": [f"'{path}'"], "endtime": 5.0}} for path in (FILE, FOLDER)
    }
    write_json("artifacts/embedded/records.json", entries)
    return entries


def time_of(path):
    return os.stat(path).st_mtime


def test_pulled_artifacts_are_adopted_once_whatever_their_times(cache):
    for path, seconds in ((FILE, 4e9), (f"{FOLDER}/task.npz", 7.0), (FOLDER, 3e9)):
        os.utime(path, (seconds, seconds))
    assert sorted(adopt("embedded")) == [FOLDER, FILE]
    assert {time_of(path) for path in (FILE, FOLDER, f"{FOLDER}/meta.json", f"{FOLDER}/{TIMESTAMP}")} == {CACHED_S}
    assert json.loads(record_path(FILE).read_text()) == cache[FILE]["record"]
    assert dict(records()) == {path: entry["record"] for path, entry in cache.items()}
    assert adopt("embedded") == []
    assert from_cache(Path(FOLDER)) and from_cache(Path(FILE))


def test_an_edited_artifact_gets_nothing(cache):
    Path(FILE).write_text("other weights")
    Path(FOLDER, "extra.npz").write_text("more")
    assert adopt("embedded") == []
    assert not METADATA.exists() and time_of(FILE) != CACHED_S


def test_what_was_made_here_keeps_its_record_even_with_the_same_bytes(cache):
    own = {"rule": "r", "params": ["'newer'"], "endtime": time_of(FILE)}
    write_json(record_path(FILE), own)
    assert FILE not in adopt("embedded")
    assert json.loads(record_path(FILE).read_text()) == own and time_of(FILE) != CACHED_S


def test_a_pull_over_what_was_made_here_does_not_keep_its_record(cache):
    """Made here under newer parameters, deleted, pulled again: the old bytes must not pass for the newer ones."""
    write_json(record_path(FILE), {"rule": "r", "params": ["'newer'"], "endtime": 1_700_000_000.0})
    assert FILE in adopt("embedded")
    assert json.loads(record_path(FILE).read_text()) == cache[FILE]["record"]


def test_an_adopted_artifact_that_changes_later_is_no_longer_from_the_cache(cache):
    adopt("embedded")
    Path(FILE).write_text("weights")
    assert not from_cache(Path(FILE))
    assert adopt("embedded") == [FILE]  # the same bytes again
    Path(f"{FOLDER}/task.npz").write_text("edited")
    assert not from_cache(Path(FOLDER)) and adopt("embedded") == []


def test_a_damaged_index_is_one_sentence(cache):
    Path("artifacts/embedded/records.json").write_text("{")
    with pytest.raises(BadRecord, match="damaged"):
        adopt("embedded")


def test_long_paths_are_split_as_snakemake_does(cache):
    from snakemake.persistence.file import FilePersistence

    theirs = FilePersistence(path=Path(".snakemake").absolute())
    for path in (FILE, "artifacts/" + "x/" * 130 + "recovered.safetensors"):
        assert Path(theirs._record_path(METADATA, path)) == record_path(path)
        write_json(record_path(path), {})
    assert "artifacts/" + "x/" * 130 + "recovered.safetensors" in dict(records())


def test_two_runs_in_one_folder_exclude_each_other(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(running, "_held", [])
    running.alone()
    with pytest.raises(DtrError, match="another run"):
        running.alone()
    running._held.pop().close()
    running.alone()
    running._held.pop().close()
