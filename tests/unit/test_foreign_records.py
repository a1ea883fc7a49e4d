"""What foreign simulators play comes to cells and tables: LIBERO-Plus's and RoboTwin's fakes are driven, counted and refused by hand."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from plus_fakes import offered, plus
from robotwin_fakes import checkout
from test_report import write as write_ours
from test_robotwin import adapter

from dtr import cli
from dtr.errors import BadRecord
from dtr.foreign.robotwin import RoboTwin
from dtr.report.cell import read_cell, success_cell
from dtr.report.figures.strength import levels
from dtr.report.outcomes import read_run
from dtr.report.table1 import grid, legend
from dtr.rollout.episode import Episode, read_episodes, write_episodes
from dtr.rollout.hello import beside, conditions_of, keep_hello
from dtr.rollout.protocol import Protocol
from dtr.rollout.remote import remote
from dtr.rollout.run import ordered
from dtr.rollout.session import Session
from dtr.rollout.worker import Array
from dtr.sim.simulator import Frame
from dtr.wire.robot import RobotHello

ROOT = Path(__file__).parents[2]
PLUS = Protocol("plus", trials=1, chunk=2, batch=2, max_steps=6, image_size=16, seed=7)
TWIN = Protocol("robotwin", trials=4, chunk=2, batch=2, settle_steps=0, image_size=320)
FIRST = {"arm": 0.35, "base": 0.5}  # of ten tasks of goal, 4 and 5 have a lower threshold; of five of spatial 2 and 3
SCENES = {"arm": ("100002", "100005"), "base": ("100002", "100004")}
Infer = Callable[[Mapping[int, tuple[Frame, str]]], Mapping[int, Array]]


def steady(first: float) -> Infer:
    """A policy that always moves alike."""
    return lambda requests: {row: np.full((2, 7), first) for row in requests}


def turning(scenes: tuple[str, ...]) -> Infer:
    """A policy that turns the switch where it is told of these scenes."""
    return lambda requests: {row: np.full((2, 14), 2.5 if text.endswith(scenes) else 0.0) for row, (_, text) in requests.items()}


def play(address: str, infer: Infer, protocol: Protocol, policy: str, out: Path) -> Path:
    """As `dtr rollout --robot` does, with a policy of one line."""
    arena, hello = remote(address)
    session = Session(infer, protocol, arena.suite, policy * 16, 1, 60.0, arena.factory, arena.scenes)
    session.roll_out(ordered(protocol, arena), out.parent / "state", out)
    keep_hello(out, hello)
    return out


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """arm and base: two suites of LIBERO-Plus, of ten tasks and of five, and one task of RoboTwin in four scenes."""
    folder = tmp_path_factory.mktemp("foreign")
    for suite, tasks in (("libero_goal", 10), ("libero_spatial", 5)):
        with offered(folder / "s", suite, "camera", tasks) as address:
            for name, first in FIRST.items():
                play(address, steady(first), PLUS, name[0], folder / name / f"{suite}.jsonl")
    words = ["--root", checkout(folder / "twin"), "--task", "turn_switch", "--setting", "hard", "--states", 4, "--out", folder / "f.json"]
    freezing = adapter("freeze", *words)
    assert freezing.communicate(timeout=120) and freezing.returncode == 0
    process = adapter("offer", "--root", folder / "twin", "--frozen", folder / "f.json", "--address", folder / "t")
    try:
        assert process.stdout is not None
        address = process.stdout.readline().strip()
        for name, scenes in SCENES.items():
            play(address, turning(scenes), TWIN, name[0], folder / name / "turn_switch_hard.jsonl")
    finally:
        process.kill()
        process.communicate()
    return folder


def cell(folder: Path, table: str, row: str, column: str, protocol: Protocol, *suites: str) -> Path:
    """`dtr cell` of the arm or, for the row of the baseline, of the baseline."""
    out = folder / "cells" / table / f"{row}.{column}.json"
    runs = {name: [str(folder / name / f"{suite}.jsonl") for suite in suites] for name in FIRST}
    words = ["--table", table, "--row", row, "--column", column, "--scale", "paper", "--protocol", json.dumps(protocol.to_dict())]
    words += ["--model", "pi0.5", "--setting", "x", "--component", "language", "--reported", str(ROOT / f"results/reported/{table}.csv")]
    own = runs["base" if row.endswith("baseline") else "arm"]
    assert cli.run(["cell", *words, "--episodes", *own, "--baseline", *runs["base"], "--out", str(out)]) == 0
    return out


def test_records_of_libero_plus_become_a_line_of_table_6(played: Path) -> None:
    suites = ("libero_goal", "libero_spatial")
    cells = [cell(played, "table6", row, "camera", PLUS, *suites) for row in ("pi05.baseline", "pi05.gateprobe9")]
    found = read_cell(cells[1])
    assert (found["successes"], found["episodes"], found["value"]) == (6, 15, 0.4), "every episode counts alike"
    assert [(s["suite"], s["successes"], s["episodes"]) for s in found["strata"]] == [
        ("libero_plus_goal.camera", 4, 10),
        ("libero_plus_spatial.camera", 2, 5),
    ]
    assert [part["role"] for part in found["ancestry"]] == ["episodes"] * 2 + ["baseline"] * 2 + ["hello"] * 4
    d = found["difference"]
    assert (d["both"], d["gained"], d["lost"], d["neither"]) == (6, 0, 2, 7) and d["p"] == pytest.approx(0.5)
    assert found["outcomes"]["libero_plus_spatial.camera"]["0"] == {"t0": "1", "t1": "1", "t2": "0", "t3": "0", "t4": "0"}
    assert levels(found) == {}, "LIBERO-Plus's difficulties are no strengths of ours"
    assert set(found["foreign"]) == {"libero_plus_goal.camera", "libero_plus_spatial.camera"} and found["reported"]["value"] == 0.854
    assert cli.run(["table", "--cells", *map(str, cells), "--out", str(played / "table6.csv")]) == 0
    with open(played / "table6.csv", newline="") as file:
        base, arm = csv.DictReader(file)
    assert (base["camera_k"], base["camera_diff"], arm["camera_k"], arm["camera_n"]) == ("8", "", "6", "15")
    assert float(arm["camera_diff"]) == pytest.approx(-2 / 15, abs=1e-6) and arm["camera_reported"] == "0.854"
    text = (played / "table6.md").read_text()
    assert "- played by foreign simulators or robots: libero_plus_goal.camera, libero_plus_spatial.camera" in text
    assert "counts every episode alike" in text and "this project's own" not in text


def test_records_of_robotwin_become_a_cell_of_figure_4(played: Path) -> None:
    found = read_cell(cell(played, "figure4", "pi05.gateprobe9", "turn_switch_hard", TWIN, "turn_switch_hard"))
    d = found["difference"]
    assert (found["successes"], found["episodes"]) == (2, 4) and (d["both"], d["gained"], d["lost"], d["neither"]) == (1, 1, 1, 1)
    assert found["outcomes"] == {"robotwin_turn_switch_hard": {"0": {"turn_switch": "0101"}}} and found["reported"]["value"] == 0.14


def test_what_was_played_elsewhere_is_refused_beside_it(played: Path) -> None:
    """The same suite with another list of tasks; another suite; another robot; ours."""
    arm, base = (played / name / "libero_goal.jsonl" for name in ("arm", "base"))
    newer = written(played / "newer.jsonl", plus("libero_goal", "camera", 10, "listing 2").hello)
    with pytest.raises(BadRecord, match=r"different versions of libero_plus_goal.camera \("):
        success_cell([arm], [newer], PLUS)
    with pytest.raises(BadRecord, match=r"each in one version, got libero_plus_goal.camera \(foreign, .*libero_plus_goal.camera \(foreign"):
        success_cell([arm, written(played / "seed1/newer.jsonl", plus("libero_goal", "camera", 10, "listing 2").hello)], [], PLUS)
    with pytest.raises(BadRecord, match="expected the baseline's suites"):
        success_cell([arm], [played / "base/libero_spatial.jsonl"], PLUS)
    twin = written(played / "twin.jsonl", twin_hello(played), replace(PLUS, trials=1))
    with pytest.raises(BadRecord, match="foreign ones of one robot"):
        success_cell([arm, twin], [], PLUS)
    with pytest.raises(BadRecord, match=r"embedded_spatial \(ours\), libero_plus_goal.camera \(foreign"):
        success_cell([arm, write_ours(played / "ours.jsonl", "spatial", ("1",) * 4, PLUS)], [], PLUS)
    cells = [success_cell([path], [], PLUS) | {"row": str(k)} for k, path in enumerate((base, newer))]
    named = {"table": "table6", "column": "camera", "scale": "paper", "model": "pi0.5"}
    with pytest.raises(BadRecord, match="the cells of camera were played in different suites or versions"):
        grid(c | named for c in cells)


def test_a_hello_that_does_not_fit_its_records_is_refused(tmp_path: Path) -> None:
    hello = plus("libero_goal", "camera", 2).hello
    path = written(tmp_path / "e.jsonl", hello)
    assert read_run(path, PLUS).suite == "libero_plus_goal.camera"
    for wrong in (replace(PLUS, seed=8), replace(PLUS, max_steps=7)):
        with pytest.raises(BadRecord, match=r"under the conditions .* on what e.jsonl.hello.json beside it describes: roll out again"):
            read_run(path, wrong)
    keep_hello(path, replace(hello, scenes="another list"))
    with pytest.raises(BadRecord, match="under the conditions"):
        read_run(path, PLUS)
    keep_hello(path, replace(hello, name="libero_plus_goal.light"))
    with pytest.raises(BadRecord, match=r"expected in .* what libero_plus_goal.camera is, got libero_plus_goal.light"):
        read_run(path, PLUS)
    for text in ("{}", json.dumps(json.loads(beside(path).read_text()) | {"states": 0})):
        beside(path).write_text(text)
        with pytest.raises(BadRecord, match=r"is no hello: .*write it again with `dtr rollout --robot`"):
            read_run(path, PLUS)
    beside(path).unlink()
    with pytest.raises(BadRecord, match=r"beside them e.jsonl.hello.json, .* got libero_plus_goal.camera without one: copy"):
        read_run(path, PLUS)


def test_a_suite_of_ours_is_what_this_package_says(tmp_path: Path) -> None:
    """A hello beside its records changes nothing."""
    protocol = Protocol("closed", trials=1, tasks=(0,))
    path = write_ours(tmp_path / "e.jsonl", "spatial", ("1",), protocol)
    other = replace(plus("libero_goal", "camera", 1).hello, name="embedded_spatial", max_steps=9)
    write_episodes(path, [replace(e, conditions=conditions_of(other, protocol)) for e in read_episodes(path)])
    keep_hello(path, other)
    with pytest.raises(BadRecord, match="under the conditions"):
        read_run(path, protocol)


def test_the_legend_says_whose_perturbations_they_are() -> None:
    rows = {"r": {"camera": {"quantity": "success_rate"}}}
    assert "this project's own" in legend(["size", "camera"], rows) and "not LIBERO-Plus's" in legend(["camera"], {})
    assert "LIBERO-Plus" not in legend(["size", "spatial", "average"], {"r": {"spatial": {"quantity": "success_rate"}}})
    foreign = {"r": {"camera": {"quantity": "success_rate", "foreign": {"libero_plus_goal.camera": "0" * 16}}}}
    assert "counts every episode alike" in legend(["camera"], foreign) and "LIBERO-Plus" not in legend(["camera"], foreign)


def written(path: Path, hello: RobotHello, protocol: Protocol = PLUS) -> Path:
    """Records of a foreign suite, all successes, with their hello."""
    told = {"steps": 3, "inferences": 1, "trace": "0" * 16, "error": None, "conditions": conditions_of(hello, protocol), "policy": "a" * 16}
    write_episodes(
        path,
        [
            Episode(hello.name, task.name, k, state, protocol.seed, "success", **told)  # type: ignore[arg-type]
            for k, task in enumerate(hello.tasks)
            for state in range(protocol.trials)
        ],
    )
    keep_hello(path, hello)
    return path


def twin_hello(folder: Path) -> RobotHello:
    """What RoboTwin's adapter says of the frozen task."""
    return RoboTwin(json.loads((folder / "f.json").read_text()), None, {}).hello
