"""LIBERO's assets: recognised by content, stand-ins marked in records and kept out of the paper's tables."""

import argparse
from dataclasses import replace
from pathlib import Path

import pytest

from dtr.errors import BadRecord, MissingAssets
from dtr.report import cell
from dtr.report.outcomes import read_run
from dtr.rollout.episode import Episode, write_episodes
from dtr.rollout.protocol import Protocol, conditions_on
from dtr.sim import assets
from dtr.sim.setup import ASSETS_VARIABLE

TINY = {"scenes/a.xml": b"<mujoco/>\n", "b/c.obj": b"v 0 0 0\n"}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A complete copy of a small manifest."""
    lines = [f"{assets.git_id(content)} {path}" for path, content in TINY.items()]
    (tmp_path / "manifest.txt").write_text("\n".join([assets.MANIFEST.read_text().split("\n", 1)[0], *lines]) + "\n")
    monkeypatch.setattr(assets, "MANIFEST", tmp_path / "manifest.txt")
    for path, content in TINY.items():
        (tmp_path / "assets" / path).parent.mkdir(parents=True)
        (tmp_path / "assets" / path).write_bytes(content)
    monkeypatch.setenv(ASSETS_VARIABLE, str(tmp_path / "assets"))
    assets.manifest.cache_clear()
    assets.mark.cache_clear()
    yield tmp_path / "assets"
    assets.manifest.cache_clear()
    assets.mark.cache_clear()


def test_the_id_is_git_s():
    assert assets.git_id(b"what is up, doc?") == "bd9dbf5aae1a3862dd1526723246b20206e5fc37"  # Pro Git, 10.2


def test_the_manifest_is_whole():
    entries = assets.manifest()
    assert len(entries) == 585
    assert all(len(blob) == 40 for blob in entries.values()) and len(assets.revision()) == 40
    assert "stable_hope_objects/milk/milk.xml" in entries


def test_a_complete_copy_is_official(folder, capsys):
    assets.run(argparse.Namespace(folder=None, states=None))
    assert "official: all 2 files" in capsys.readouterr().out
    assert assets.mark("libero_goal") is None and assets.mark("embedded_goal") is None


@pytest.mark.parametrize(("damage", "said"), [("missing", "1 of 2 files are missing (b/c.obj)"), ("other", "have other content (b/c.obj)")])
def test_a_partial_or_changed_copy_is_a_stand_in(folder, capsys, damage, said):
    file = folder / "b/c.obj"
    file.unlink() if damage == "missing" else file.write_bytes(b"v 1 0 0\n")
    with pytest.raises(MissingAssets, match=r"is no complete copy .*clone .*check out [0-9a-f]{40}"):
        assets.run(argparse.Namespace(folder=None, states=None))
    assert said in capsys.readouterr().out
    assert assets.mark("libero_goal") == "stand-in" and assets.mark("embedded_goal") is None


def test_without_a_folder_it_says_how_to_get_them(monkeypatch, capsys):
    monkeypatch.delenv(ASSETS_VARIABLE, raising=False)
    assets.run(argparse.Namespace(folder=None, states=None))
    assert f"set {ASSETS_VARIABLE} to its folder libero/libero/assets" in capsys.readouterr().out


def test_stand_ins_have_conditions_of_their_own_and_enter_no_paper_table(tmp_path):
    protocol = Protocol("closed", trials=1, tasks=(0,))
    conditions = conditions_on(protocol, "libero_goal", "stand-in")
    assert conditions != conditions_on(protocol, "libero_goal")
    episode = Episode("libero_goal", "t", 0, 0, 0, "success", 9, 3, "0" * 16, None, conditions, "1" * 16, assets="stand-in")
    path = tmp_path / "seed0/libero_goal.jsonl"
    write_episodes(path, [episode])
    assert read_run(path, protocol).assets == "stand-in"
    names = {"table": "t", "row": "r", "column": "goal", "model": "-", "setting": "-", "component": "-", "reported": None, "cost": None}
    given = {"episodes": [path], "baseline": [], "protocol": '{"name": "closed", "trials": 1, "tasks": [0]}', "out": tmp_path / "cell.json"}
    with pytest.raises(BadRecord, match="rolled out with stand-in assets, so it is no number of the paper's scale"):
        cell.run(argparse.Namespace(**names, **given, scale="paper"))
    cell.run(argparse.Namespace(**names, **given, scale="smoke"))
    assert cell.read_cell(tmp_path / "cell.json")["assets"] == "stand-in"
    write_episodes(path, [replace(episode, assets=None)])
    with pytest.raises(BadRecord, match="roll out again"):
        read_run(path, protocol)
