"""LIBERO's initial states: read without executing them, known by hash, converted once."""

import argparse
import shutil

import numpy as np
import pytest
import torch

from dtr.errors import MissingAssets
from dtr.sim import assets, official_states
from dtr.sim.assets import git_id
from dtr.sim.official_states import array_sha256, convert, manifest, read_pickle, suites
from dtr.sim.setup import libero_root


def test_the_manifest_names_ten_tasks_of_each_of_the_four_suites():
    assert suites() == ["libero_10", "libero_goal", "libero_object", "libero_spatial"]
    assert all(sum(name.startswith(f"{suite}/") for name in manifest()) == 10 for suite in suites())


def test_the_package_ships_the_files_of_libero_s_repository():
    for name, known in manifest().items():
        assert git_id((libero_root() / "init_files" / f"{name}.pruned_init").read_bytes()) == known.blob


def test_all_four_suites_become_plain_arrays_of_the_known_hashes(tmp_path, capsys):
    assets.run(argparse.Namespace(folder=None, states=tmp_path))
    assert capsys.readouterr().out.count("initial states of 10 tasks, each with the known hash") == 4
    for suite in suites():
        with np.load(tmp_path / f"{suite}.npz", allow_pickle=False) as arrays:
            assert len(arrays.files) == 10
            for task in arrays.files:
                assert arrays[task].shape[0] == 50 and array_sha256(arrays[task]) == manifest()[f"{suite}/{task}"].sha256


def test_states_are_converted_once_and_a_changed_copy_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    first = official_states.official_states("libero_goal", "turn_on_the_stove")
    assert first.shape == (50, 79)
    monkeypatch.setattr(official_states, "read_pickle", lambda path: pytest.fail("it is converted already"))
    assert np.array_equal(official_states.official_states("libero_goal", "turn_on_the_stove"), first)
    path = tmp_path / "dtr/libero_states/libero_goal.npz"
    with np.load(path) as arrays:
        changed = {name: arrays[name] + (name == "turn_on_the_stove") * 1e-9 for name in arrays.files}
    np.savez_compressed(path, **changed)
    with pytest.raises(MissingAssets, match="are not LIBERO's: expected SHA-256"):
        official_states.official_states("libero_goal", "turn_on_the_stove")
    path.write_bytes(b"")
    with pytest.raises(MissingAssets, match="delete the file, it is made again"):
        official_states.official_states("libero_goal", "turn_on_the_stove")


class Trap:
    def __reduce__(self):
        return (open, ("executed", "w"))


def test_a_file_of_that_format_is_read_and_one_that_runs_code_is_not(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    states = np.random.default_rng(0).normal(size=(50, 9))
    torch.save(states, "a.pruned_init")
    assert np.array_equal(read_pickle(tmp_path / "a.pruned_init"), states)
    torch.save(Trap(), "b.pruned_init")
    (tmp_path / "c.pruned_init").write_bytes((tmp_path / "a.pruned_init").read_bytes()[:-200])
    for name in ("b", "c", "none"):
        with pytest.raises(MissingAssets, match="reinstall hf-libero"):
            read_pickle(tmp_path / f"{name}.pruned_init")
    assert not (tmp_path / "executed").exists()


def test_a_package_with_other_states_is_refused(tmp_path):
    shutil.copytree(libero_root() / "init_files/libero_goal", tmp_path / "goal")
    torch.save(np.zeros((50, 79)), tmp_path / "goal/turn_on_the_stove.pruned_init")
    with pytest.raises(MissingAssets, match=r"libero_goal/turn_on_the_stove in .* are not LIBERO's"):
        convert("libero_goal", tmp_path / "out.npz", tmp_path / "goal")
    assert not (tmp_path / "out.npz").exists()
