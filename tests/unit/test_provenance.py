"""Files appear whole or not at all, with the rights that the user's umask gives."""

import errno
import os

import pytest

from dtr.errors import DiskFull
from dtr.provenance import atomic_path, canonical_json, digest, write_json


def test_a_failed_write_leaves_what_was_there(tmp_path):
    path = tmp_path / "value.json"
    write_json(path, {"a": 1})
    with pytest.raises(ZeroDivisionError), atomic_path(path) as temporary:
        temporary.write_text("half")
        raise ZeroDivisionError
    assert path.read_text() == canonical_json({"a": 1}) and os.listdir(tmp_path) == ["value.json"]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_one_sentence_and_leaves_nothing(tmp_path, number):
    with pytest.raises(DiskFull, match=r"no room on the disk for .*policy"), atomic_path(tmp_path / "policy") as temporary:
        temporary.write_text("half")
        raise OSError(number, "full")
    assert os.listdir(tmp_path) == []


def test_a_disk_without_room_for_the_folder_is_one_sentence_too(tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr("pathlib.Path.mkdir", full)
    with pytest.raises(DiskFull, match="no room on the disk"):
        write_json(tmp_path / "new" / "value.json", {})


def test_files_have_the_rights_of_the_umask(tmp_path):
    before = os.umask(0o022)
    try:
        with atomic_path(tmp_path / "policy") as temporary:
            temporary.touch(mode=0o600)
    finally:
        os.umask(before)
    assert (tmp_path / "policy").stat().st_mode & 0o777 == 0o644


def test_equal_values_have_one_text_and_one_digest():
    assert canonical_json({"b": [1, 2.5], "a": None}) == canonical_json({"a": None, "b": [1, 2.5]})
    assert digest({"b": 1, "a": 2}) == digest({"a": 2, "b": 1}) != digest({"a": 2, "b": 2})
    with pytest.raises(ValueError, match="nan"):
        canonical_json(float("nan"))
