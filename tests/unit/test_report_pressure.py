"""The control of language, from episodes that can be counted by hand: success, following, and what is refused."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from dtr import cli
from dtr.errors import BadRecord
from dtr.provenance import sha256_file, write_json
from dtr.report import contrasts
from dtr.report.cell import read_cell
from dtr.report.pressure import by_task, rate, texts
from dtr.rollout.episode import Episode, read_episodes, write_episodes
from dtr.rollout.protocol import Protocol, conditions_on
from dtr.stats import Paired, contrast_bootstrap, contrast_difference, paired_difference

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


SETS = {"instruction": ("1111111110", "1111100000"), "scene": ("1111111111", "1111111100")}
"""Set -> what the undropped arm reaches and what the cut one does, under the right instruction."""


@pytest.fixture
def contrasted(tmp_path: Path) -> list[dict[str, Any]]:
    """A cut on two sets, beside a policy of the same depth that was not dropped and one that was not run."""
    found = []
    for name, (whole, cut) in SETS.items():
        base, own = (play(tmp_path / name, row, "", outcomes) for row, outcomes in (("whole", whole), ("cut", cut)))
        exit_ = play(tmp_path / name, "exit", "", "1111100111")
        same = LABELS | {"set": name, "instruction": "right", "undropped": [base]}
        found += [
            same | {"row": "whole", "setting": "None", "cut": "none", "episodes": [base]},
            same | {"row": "cut", "setting": "Half", "cut": "half", "episodes": [own], "against": ["exit", "scratch"]},
            same | {"row": "exit", "setting": "Exit", "cut": "first", "episodes": [exit_], "data": "all"},
            LABELS | {"row": "scratch", "setting": "S", "cut": "x", "set": name, "instruction": "right", "not_run": "nobody paid"},
        ]
    return [one | ({"beyond": "scene"} if (one["row"], one["set"]) == ("cut", "instruction") else {}) for one in found]


def compared(folder: Path) -> dict[tuple[str, str, str], dict[str, str]]:
    with open(folder / "p_contrasts.csv", newline="") as file:
        return {(line["kind"], line["set"], line["against"]): line for line in csv.DictReader(file)}


def test_every_number_has_a_cell_with_what_it_was_computed_from(tmp_path: Path, played: list[dict[str, Any]]) -> None:
    assert pressure(tmp_path, played) == 0
    line = lines(tmp_path)["cut", "swapped"]
    cell = read_cell(Path(line["cells"]) / "cut.instruction.swapped.followed.json")
    assert (cell["successes"], cell["column"], cell["table"]) == (1, "instruction.swapped.followed", "p")
    files = [("episodes", tmp_path / f"cut/seed0/{SUITE}+swapped.jsonl"), ("baseline", tmp_path / f"whole/seed0/{SUITE}+swapped.jsonl")]
    assert cell["ancestry"] == [{"role": role, "path": str(path), "sha256": sha256_file(path)} for role, path in files]
    assert lines(tmp_path)["one", "right"]["cells"] == "" and len(list(Path(line["cells"]).iterdir())) == 8


def test_contrasts_by_hand(tmp_path: Path, contrasted: list[dict[str, Any]]) -> None:
    assert pressure(tmp_path, contrasted) == 0
    found = compared(tmp_path)
    assert set(found) == {("depth", name, row) for name in SETS for row in ("exit", "scratch")} | {("beyond", "instruction", "scene")}
    depth, beyond = found["depth", "instruction", "exit"], found["beyond", "instruction", "scene"]
    pairs = paired_difference(Paired(5, 0, 3, 2))  # 1111100000 against 1111100111
    assert (depth["value"], depth["p"], depth["method"]) == ("-0.3", "0.25", "tango")
    assert (float(depth["low"]), float(depth["high"])) == (pytest.approx(pairs.low, rel=1e-5), pytest.approx(pairs.high, rel=1e-5))
    here, there = Paired(5, 0, 4, 1), Paired(8, 0, 2, 0)
    drawn = contrast_bootstrap([here], [there])
    assert (beyond["value"], beyond["p"], beyond["method"]) == ("-0.2", "", "bootstrap")
    assert (float(beyond["low"]), float(beyond["high"])) == (pytest.approx(drawn.low), pytest.approx(drawn.high))
    assert float(beyond["wide_low"]) == pytest.approx(contrast_difference(here, there).low, rel=1e-5)
    assert [beyond[key] for key in ("n", "gained", "lost", "other_n", "other_gained", "other_lost")] == ["10", "0", "4", "10", "0", "2"]
    absent = found["depth", "scene", "scratch"]
    assert (absent["status"], absent["why"], absent["value"]) == ("not run", "scratch: nobody paid", "")
    text = (tmp_path / "p.md").read_text()
    assert "-30.0 [" in text and "p 0.25 (0 gained, 3 lost of 10)" in text and "; there 0, 2 of 10)" in text
    assert "exit, of the data `all`, is held against whole, of the data `four`: nothing undropped is of `all`" in text
    assert text.count("is held against") == 1


def test_contrasts_are_stratified_by_task() -> None:
    arms = [
        {"row": row, "column": "c", "outcomes": {"s": {"0": marks}}}
        for row, marks in (("a", {"t": "11", "u": "00"}), ("b", {"t": "11", "u": "11"}))
    ]
    tasks = contrasts.strata(*arms)
    assert tasks == [Paired(2, 0, 0, 0), Paired(0, 0, 2, 0)]
    found = contrasts.beyond(tasks, [Paired(2, 0, 0, 0)])
    assert (found["low"], found["high"]) == ("-0.5", "-0.5"), "drawn within tasks: pooled, some draws would lose one or three of four"
    with pytest.raises(BadRecord, match="same suites, training seeds, tasks and initial states"):
        contrasts.strata(arms[0], arms[1] | {"outcomes": {"s": {"1": {"t": "11", "u": "11"}}}})


def test_a_contrast_with_what_was_not_played_is_refused(
    tmp_path: Path, contrasted: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert pressure(tmp_path, [one for one in contrasted if (one["row"], one["set"]) != ("exit", "scene")]) == 2
    assert "expected exit on scene under the right instruction in --played" in capsys.readouterr().err
    assert pressure(tmp_path, [one for one in contrasted if (one["row"], one["set"]) != ("whole", "scene")]) == 2
    assert "expected whole on scene in --played, which cut is held against" in capsys.readouterr().err


@pytest.fixture
def shown(tmp_path: Path, contrasted: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The words that put the control on a page, beside a table of which nothing runs."""
    monkeypatch.chdir(tmp_path)
    told = [one | {"instruction": said, "episodes": files, "undropped": others}
            for one in contrasted for said in ("right", "blank", "swapped")
            for files, others in [tuple(again(one.get(key, []), said) for key in ("episodes", "undropped"))]]  # fmt: skip
    assert pressure(tmp_path, told) == 0
    rows = [{"row": "r", "model": "M", "setting": "S", "component": "-", "not_run": "no time"}]
    assert cli.run(["table", "--rows", json.dumps(rows), "--columns", "average", "--scale", "smoke", "--out", "t.csv"]) == 0
    return ["report", "--tables", "t.csv", "--control", "p.csv", "p_contrasts.csv", "--configfile", "c.yaml", "--out", "report.html"]


def again(files: list[str], said: str) -> list[str]:
    """The same outcomes under another instruction."""
    return [
        path
        if said == "right"
        else play(Path(path).parents[2], Path(path).parts[-3], f"+{said}", marks(path), "1" * 10 * (said == "swapped"))
        for path in files
    ]


def marks(path: str) -> str:
    return "".join("01"[episode.outcome == "success"] for episode in read_episodes(Path(path)))


def test_the_page_says_what_the_control_rests_on(tmp_path: Path, shown: list[str]) -> None:
    own, other, base = (tmp_path / f"instruction/{row}/seed0/{SUITE}.jsonl" for row in ("cut", "exit", "whole"))
    machine = {"wall_s": 61.0, "played": 10, "argv": ["rollout", "--out", "x"], "cpu": "one", "cores": 3, "python": "3", "versions": {}}
    write_json(f"{own}.run.json", machine)
    assert cli.run(["pressure", "--played", "played.json", "--scale", "smoke", "--out", "p.csv"]) == 0
    assert cli.run(shown) == 0
    page = (tmp_path / "report.html").read_text()
    assert all(sha256_file(path) in page for path in (own, other, base, tmp_path / "p.csv", tmp_path / "p_contrasts.csv"))
    assert "one, 3 cores" in page and "61 s for 10 episodes" in page and "dtr rollout --out x" in page
    assert "snakemake --configfile c.yaml -- p.csv" in page and "snakemake --configfile c.yaml -- p_contrasts.csv" in page
    assert "held against whole" in page and "nothing undropped is of all" in page
    rates, depth, beyond, gaps = (
        page.split(f'<h2 id="{name}">')[1] for name in ("control-instruction", "control-depth", "control-beyond", "not-run")
    )
    assert "(5/10)" in rates and "18.7 to 81.3" in rates and "p 0.12 (gained 0, lost 4 of 10)" in rates
    assert "0 gained, 3 lost of 10" in depth and "(tango)" in depth and "against <code>" in depth
    assert "there 0, 2 of 10" in beyond and "(bootstrap)" in beyond and "baseline there <code>" in beyond
    assert "(b) the instruction alone determines it" in gaps and "nobody paid" in gaps and "cut on scene against scratch" in gaps


def test_the_page_leaves_open_what_was_not_played(tmp_path: Path, shown: list[str]) -> None:
    told = json.loads((tmp_path / "played.json").read_text())
    assert pressure(tmp_path, [one for one in told if one["instruction"] == "right"]) == 0
    assert cli.run(shown) == 0
    rates = (tmp_path / "report.html").read_text().split('<h2 id="control-instruction">')[1].split("</table>")[0]
    assert rates.count("<td><b>-</b>") == 3 * 3, "three arms, three columns of a blank or swapped instruction"


@pytest.mark.parametrize(("name", "old", "new"), [("p.csv", ",0.5,5,", ",0.6,5,"), ("p_contrasts.csv", ",-0.2,", ",-0.25,")])
def test_a_control_that_contradicts_its_cells_makes_no_page(
    tmp_path: Path, shown: list[str], name: str, old: str, new: str, capsys: pytest.CaptureFixture[str]
) -> None:
    text = (tmp_path / name).read_text()
    assert old in text
    (tmp_path / name).write_text(text.replace(old, new))
    assert cli.run(shown) == 2
    assert "make both again with `dtr pressure`" in capsys.readouterr().err and not (tmp_path / "report.html").exists()


def test_a_table_that_is_none_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "t.csv").write_text("a,b\n1,2\n")
    assert cli.run(["figure", "language_pressure", "--files", str(tmp_path / "t.csv"), "--out", str(tmp_path / "x.png")]) == 2
    assert "expected a CSV of `dtr pressure`" in capsys.readouterr().err


def test_each_task_is_counted_apart(tmp_path: Path) -> None:
    """Three of six on two tasks: one always, one never, which the pooled rate does not show; two seeds are added."""
    cell = {"outcomes": {"s": {"0": {"b": "111", "a": "000"}, "1": {"a": "001", "b": "111"}}}}
    assert by_task(cell) == {("s", "a"): 1, ("s", "b"): 6}
    interval = {"low": 0.1, "high": 0.9}
    line = texts("success", cell | {"value": 7 / 12, "successes": 7, "episodes": 12, "interval": interval, "difference": None})
    assert line["success_tasks"] == "1 6" and "(7/12 by task 1 6)" in rate(line, "success", "success")
