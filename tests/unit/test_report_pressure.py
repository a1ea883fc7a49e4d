"""The control of language, from episodes that can be counted by hand: success, following, and what is refused."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from dtr import cli
from dtr.provenance import sha256_file
from dtr.rollout.episode import Episode, write_episodes
from dtr.rollout.protocol import Protocol, conditions_on

PROTOCOL = {"name": "closed", "trials": 10, "max_steps": 6, "seed": 7, "tasks": [0]}
SUITE = "embedded_goal"


def play(folder: Path, arm: str, variant: str, outcomes: str, followed: str = "") -> str:
    """A file of ten episodes: 1 where the task's goal was reached, in `followed` where that of what was said was."""
    path = folder / arm / "seed0" / f"{SUITE}{variant}.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    protocol = Protocol.from_dict(PROTOCOL)
    rest: dict[str, Any] = {"steps": 5, "inferences": 2, "trace": "0" * 16, "error": None, "policy": "0" * 16}
    rest |= {"conditions": conditions_on(protocol, f"{SUITE}{variant}"), "instruction": variant.removeprefix("+") or None}
    episodes = [
        Episode(SUITE, "t", 0, i, 7, "success" if outcomes[i] == "1" else "failure", **rest)
        if not followed
        else Episode(SUITE, "t", 0, i, 7, "success" if outcomes[i] == "1" else "failure", **rest, meant="u", followed=followed[i] == "1")
        for i in range(10)
    ]
    write_episodes(path, episodes)
    return str(path)


LABELS = {"model": "M", "component": "-", "data": "four", "recipe": "recover", "protocol": PROTOCOL, "baseline": "whole"}


@pytest.fixture
def played(tmp_path: Path) -> list[dict[str, Any]]:
    """An undropped arm that does what it is told, and a cut one that does what it was going to do."""
    records = {
        ("whole", "right"): play(tmp_path, "whole", "", "1111111110"),
        ("whole", "blank"): play(tmp_path, "whole", "+blank", "1100000000"),
        ("whole", "swapped"): play(tmp_path, "whole", "+swapped", "0000000000", "1111111100"),
        ("cut", "right"): play(tmp_path, "cut", "", "1111111111"),
        ("cut", "blank"): play(tmp_path, "cut", "+blank", "1111111111"),
        ("cut", "swapped"): play(tmp_path, "cut", "+swapped", "1111111111", "0000000001"),
    }
    lines = [
        LABELS | {"row": row, "setting": row.title(), "cut": row, "set": "instruction", "instruction": said}
        | {"episodes": [records[row, said]], "undropped": [records["whole", said]]}
        for row in ("whole", "cut") for said in ("right", "blank", "swapped")
    ]  # fmt: skip
    absent = LABELS | {"row": "one", "setting": "One block", "cut": "x", "set": "instruction", "not_run": "nobody has paid for it"}
    return lines + [absent | {"instruction": said} for said in ("right", "blank", "swapped")]


def pressure(folder: Path, played: list[dict[str, Any]]) -> int:
    (folder / "played.json").write_text(json.dumps(played))
    return cli.run(["pressure", "--played", str(folder / "played.json"), "--scale", "smoke", "--out", str(folder / "p.csv")])


def lines(folder: Path) -> dict[tuple[str, str], dict[str, str]]:
    with open(folder / "p.csv", newline="") as file:
        return {(line["row"], line["instruction"]): line for line in csv.DictReader(file)}


def test_following_is_counted_apart_from_succeeding(tmp_path: Path, played: list[dict[str, Any]]) -> None:
    assert pressure(tmp_path, played) == 0
    found = lines(tmp_path)
    whole, cut = found["whole", "swapped"], found["cut", "swapped"]
    assert (whole["success_k"], whole["followed_k"], whole["followed_n"]) == ("0", "8", "10")
    assert (cut["success_k"], cut["followed_k"], cut["followed"]) == ("10", "1", "0.1")
    assert float(cut["success_diff"]) == 1.0 and float(cut["followed_diff"]) == -0.7
    assert float(cut["success_p"]) == pytest.approx(2 / 2**10, rel=1e-4), "ten only it reached, none only the other"
    assert float(cut["followed_p"]) == pytest.approx(2 * (1 + 9) / 2**9, rel=1e-4), "one gained, eight lost"
    assert whole["success_p"] == whole["followed_p"] == "" and cut["baseline"] == "whole" and cut["seeds"] == "0"


def test_right_both_are_one_and_blank_there_is_nothing_to_follow(tmp_path: Path, played: list[dict[str, Any]]) -> None:
    assert pressure(tmp_path, played) == 0
    for line in lines(tmp_path).values():
        followed = {key.removeprefix("followed"): text for key, text in line.items() if key.startswith("followed")}
        success = {key.removeprefix("success"): text for key, text in line.items() if key.startswith("success")}
        if line["instruction"] == "right":
            assert followed == success
        if line["instruction"] == "blank" or line["status"] == "not run":
            assert set(followed.values()) == {""}
    text = (tmp_path / "p.md").read_text()
    assert "## instruction" in text and "not run: one: nobody has paid for it" in text
    assert "followed **10.0** (1/10)" in text and "success **100.0** (10/10)" in text and text.count("not run |") == 3


def test_what_cannot_be_followed_is_refused(tmp_path: Path, played: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]) -> None:
    play(tmp_path, "cut", "+swapped", "1111111111")
    assert pressure(tmp_path, played) == 2
    assert "which says nothing of following: roll out again" in capsys.readouterr().err and not (tmp_path / "p.csv").exists()


def test_episodes_of_another_instruction_are_refused(
    tmp_path: Path, played: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    played[4]["episodes"] = played[3]["episodes"]
    assert pressure(tmp_path, played) == 2
    assert "expected episodes under the blank instruction" in capsys.readouterr().err


def test_the_figure_repeats_and_shows_what_is_there(tmp_path: Path, played: list[dict[str, Any]]) -> None:
    assert pressure(tmp_path, played) == 0
    for name in ("a", "b"):
        assert cli.run(["figure", "language_pressure", "--files", str(tmp_path / "p.csv"), "--out", str(tmp_path / f"{name}.png")]) == 0
    assert sha256_file(tmp_path / "a.png") == sha256_file(tmp_path / "b.png")
    assert sha256_file(tmp_path / "a.pdf") == sha256_file(tmp_path / "b.pdf")
    from dtr.report.figures.language_pressure import draw

    (panel,) = [ax for ax in draw([tmp_path / "p.csv"]).axes if ax.get_visible()]
    said = [text.get_text() for text in panel.texts]
    assert said.count("not run") == 1 and said.count("*") == 3, "swapped: both rates; blank: success"


def test_a_table_that_is_none_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "t.csv").write_text("a,b\n1,2\n")
    assert cli.run(["figure", "language_pressure", "--files", str(tmp_path / "t.csv"), "--out", str(tmp_path / "x.png")]) == 2
    assert "expected a CSV of `dtr pressure`" in capsys.readouterr().err
