"""Tables with gaps, measured columns, figures and the page, from cells that can be counted by hand."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cut_world
import pytest
from test_report import ARM, BASELINE, PROTOCOL, build, files

from dtr import cli
from dtr.cost import config_digest
from dtr.dropping.cut import parse_cut
from dtr.dropping.plan import resolve, write_plan
from dtr.dropping.scores import BlockScore, Score, write_score
from dtr.foreign.robotwin import SETTINGS
from dtr.policies.registry import skeleton
from dtr.provenance import read_json, sha256_file, write_json
from dtr.report import gaps
from dtr.report.cell import read_cell
from dtr.report.figures.failures import among, failures, worst
from dtr.report.figures.reported import draw as reported_figure
from dtr.report.figures.strength import draw as strength
from dtr.report.figures.strength import levels
from dtr.report.reported import read_reported
from dtr.rollout.episode import Episode, read_episodes, write_episodes

ROOT = Path(__file__).parents[2]
ARMS = {"openvla_oft.baseline": BASELINE, "openvla_oft.half.language": ARM, "openvla_oft.twin": ARM}
COLUMNS = ["size", "flops", "spatial", "object", "average"]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Cells of three arms, two of which chose the same blocks, and a table in which a fourth was not run."""
    folder = tmp_path_factory.mktemp("shown")
    build(folder, "full", ARMS)
    rows: list[dict[str, Any]] = []
    for row, cut in zip(ARMS, ("none", "vision-half", "vision.dino-half+vision.siglip-half"), strict=True):
        write_plan(folder / f"{row}.plan.json", resolve(cut, skeleton("openvla_oft", cut_world.CONFIG)))
        rows.append(labels(row) | {"plan": str(folder / f"{row}.plan.json")})
    rows.append(labels("openvla_oft.ends.language") | {"not_run": "nobody has paid for it"})
    assert table(folder, rows, [cell(folder, row, column) for row in ARMS for column in COLUMNS]) == 0
    return folder


def labels(row: str) -> dict[str, str]:
    return {"row": row, "model": "OpenVLA-OFT", "setting": "x", "component": "language"}


def cell(folder: Path, row: str, column: str) -> str:
    return str(folder / f"full/cells/table1/{row}.{column}.json")


def table(folder: Path, rows: list[dict[str, Any]], cells: list[str], columns: list[str] = COLUMNS, more: Sequence[str] = ()) -> int:
    words = ["table", *(["--cells", *cells] if cells else []), "--rows", json.dumps(rows), "--columns", *columns, "--name", "table1"]
    return cli.run(
        [*words, "--scale", "embedded", "--reported", str(ROOT / "results/reported/table1.csv"), "--out", str(folder / "table1.csv"), *more]
    )


def lines(path: Path) -> dict[str, dict[str, str]]:
    with open(path, newline="") as file:
        return {line["row"]: line for line in csv.DictReader(file)}


def test_what_was_not_run_is_not_filled_in(place: Path) -> None:
    found = lines(place / "table1.csv")
    absent, ran = found["openvla_oft.ends.language"], found["openvla_oft.half.language"]
    assert (absent["status"], absent["why"], absent["average"], absent["average_k"]) == ("not run", "nobody has paid for it", "", "")
    assert (absent["average_reported"], absent["size_reported"]) == ("0.951", "0.166")
    assert (ran["status"], ran["average_k"], ran["average_diff"]) == ("run", "14", "0.1875")
    text = (place / "table1.md").read_text()
    assert "not run<br>paper 95.1" in text and "- not run: openvla_oft.ends.language: nobody has paid for it" in text


def test_arms_of_the_same_blocks_say_so(place: Path) -> None:
    assert {row: line["same_blocks_as"] for row, line in lines(place / "table1.csv").items()} == {
        "openvla_oft.baseline": "",
        "openvla_oft.half.language": "",
        "openvla_oft.twin": "openvla_oft.half.language",
        "openvla_oft.ends.language": "",
    }
    assert "the same blocks as openvla_oft.half.language, so one training" in (place / "table1.md").read_text()
    plan = str(place / "openvla_oft.twin.plan.json")
    rows = [
        {"row": row, "plan": plan, "training": training}
        for row, training in (("a", "four.recover"), ("b", "five.recover"), ("c", "four.recover"))
    ]
    assert gaps.twins(rows) == {"c": "a"}, "the same blocks, but b learnt from other data"


def gradients(path: Path, change: dict[str, float]) -> list[str]:
    """Gate gradients of the policy that the plans are of: 1, but 0 for a dead block, and `change`."""
    policy = skeleton("openvla_oft", cut_world.CONFIG)
    blocks = {name: BlockScore(change.get(name, 0.0 if name in policy.dead else 1.0), 0.0, name in policy.dead) for name in policy.gates()}
    write_score(path, Score("gateprobe", policy.name, config_digest(policy), "0" * 64, ("x",), "0" * 64, 4, 0, blocks))
    return ["--gradients", str(path)]


def test_dead_blocks_are_told_apart(place: Path) -> None:
    """Both towers, 4 and 5 blocks deep, are read before their last one, which `half` drops where its index is odd: that much is free."""
    found = lines(place / "table1.csv")
    half, whole, absent = (found[f"openvla_oft.{name}"] for name in ("half.language", "baseline", "ends.language"))
    said = ("blocks_dropped", "blocks_free", "dead_dropped", "dead_kept")
    assert [half[key] for key in said] == ["4", "1", "vision.dino.3", "vision.siglip.4"]
    assert [whole[key] for key in said] == ["0", "0", "", "vision.dino.3 vision.siglip.4"]
    assert [absent[key] for key in said] == [""] * 4
    assert "| 4 (1 dead) |" in (place / "table1.md").read_text()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({}, None),
        ({"vision.dino.1": 0.0}, "vision.dino.1 is alive, but its gate gradient is 0 on every sample"),
        ({"language.1": 0.0}, None),  # no row drops it
    ],
)
def test_architecture_and_gradient_agree_on_what_is_dead(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], change: dict[str, float], says: str | None
) -> None:
    row = labels("openvla_oft.half.language") | {"plan": str(place / "openvla_oft.half.language.plan.json")}
    cells = [cell(place, "openvla_oft.half.language", column) for column in COLUMNS]
    code = table(tmp_path, [row], cells, more=gradients(tmp_path / "gateprobe.json", change))
    assert code == (0 if says is None else 2) and (says or "") in capsys.readouterr().err


def test_a_dead_block_with_a_gradient_is_refused(place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    row = labels("openvla_oft.half.language") | {"plan": str(place / "openvla_oft.half.language.plan.json")}
    cells = [cell(place, "openvla_oft.half.language", column) for column in COLUMNS]
    dead = lines(place / "table1.csv")["openvla_oft.half.language"]["dead_dropped"].split()[0]
    assert table(tmp_path, [row], cells, more=gradients(tmp_path / "gateprobe.json", {dead: 1e-30})) == 2
    assert f"{dead} is dead, but its gate gradient is not 0" in capsys.readouterr().err


def test_a_table_of_which_nothing_runs_holds_the_paper_s_numbers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert table(tmp_path, [labels("openvla_oft.baseline") | {"not_run": "no GPU"}], []) == 0
    assert lines(tmp_path / "table1.csv")["openvla_oft.baseline"]["average_reported"] == "0.95"
    assert table(tmp_path, [labels("openvla_oft.baseline") | {"plan": "p.json"}], []) == 2
    assert "cells of the rows that run" in capsys.readouterr().err


def speed(folder: Path, column: str, *words: str) -> dict[str, Any]:
    out = folder / f"{column}.json"
    names = ["--table", "table5", "--row", "openvla_oft.half.language", "--column", column, "--scale", "embedded"]
    reported = str(ROOT / "results/reported/table5.csv")
    assert cli.run(["cell", *names, *words, "--reported", reported, "--out", str(out)]) == 0
    return dict(read_json(out))


def test_speed_and_steps_by_hand(tmp_path: Path) -> None:
    arm, base = files(tmp_path, ARM, "arm")[:1], files(tmp_path, BASELINE, "base")[:1]
    write_episodes(arm[0], [Episode(**{**vars(e), "steps": 6 if e.init_state else 10}) for e in read_episodes(arm[0])])  # mean 7, of 9
    cuts = {"none": {"speedup": 1.0, "peak_gib": None, "weights_gib": 2.0}, "x": {"speedup": 1.4, "peak_gib": None, "weights_gib": 0.5}}
    write_json(tmp_path / "latency.json", {"cuts": cuts, "machine": {"cpu": "one", "cores": 2}})
    latency = ["--latency", str(tmp_path / "latency.json")]
    episodes = ["--episodes", str(arm[0]), "--baseline", str(base[0]), "--protocol", json.dumps(PROTOCOL.to_dict())]
    action = speed(tmp_path, "action_speedup", *latency)
    assert (action["value"], action["reported"]["value"], action["machines"]) == (1.4, 1.56, [{"cpu": "one", "cores": 2}])
    assert speed(tmp_path, "memory_gib", *latency)["value"] == 0.5
    assert speed(tmp_path, "step_ratio", *episodes)["value"] == pytest.approx(7 / 9)
    task = speed(tmp_path, "task_speedup", *episodes, *latency)
    assert task["value"] == pytest.approx(1.4 / (7 / 9)) and {a["role"] for a in task["ancestry"]} == {"episodes", "baseline", "latency"}


def draw(figure: str, out: Path, *inputs: str) -> bytes:
    assert cli.run(["figure", figure, "--files", *inputs, "--out", str(out)]) == 0
    assert out.read_bytes().startswith(b"\x89PNG") and out.with_suffix(".pdf").read_bytes().startswith(b"%PDF")
    return out.read_bytes() + out.with_suffix(".pdf").read_bytes()


def test_equal_input_draws_equal_bytes(place: Path, tmp_path: Path) -> None:
    averages = [cell(place, row, "average") for row in ARMS]
    flops = [cell(place, row, "flops") for row in ARMS]
    for figure, inputs in {"tasks": averages, "frontier": averages + flops}.items():
        first, again = (draw(figure, tmp_path / f"{figure}{i}.png", *inputs) for i in range(2))
        other = draw(figure, tmp_path / "other.png", *inputs[:1], *flops[:1] * (figure == "frontier"))
        assert first == again != other


def test_failures_are_spread_over_the_tasks() -> None:
    def episode(task: int, state: int, outcome: str) -> Episode:
        return Episode("s", f"t{task}", task, state, 0, outcome, 9, 3, None, None, "a" * 16, "b" * 16)  # type: ignore[arg-type]

    failed = [episode(0, i, "failure") for i in range(9)] + [episode(1, 5, "failure"), episode(2, 0, "success"), episode(3, 1, "error")]
    assert [(e.task_index, e.init_state) for e in failures(failed)[:3]] == [(0, 0), (1, 5), (0, 1)]


@pytest.mark.parametrize(
    ("rates", "which", "said"),
    [
        ([0.9, 0.0, 0.3, 0.3], 2, "4 cuts, leaving out 1 without any success"),
        ([0.0, 0.0], 0, "2 cuts"),
        ([0.5, 0.25], 1, "2 cuts"),
    ],
)
def test_of_several_cuts_the_worst_that_still_succeeds_is_shown(rates: list[float], which: int, said: str) -> None:
    assert worst(rates) == which and among(rates) == said


def test_failures_are_played_where_the_rollout_was(place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    episodes = place / "full/openvla_oft.half.language/seed0/spatial.jsonl"
    words = ["figure", "failures", "--episodes", str(episodes), "--protocol", json.dumps(PROTOCOL.to_dict()), "--policy", "policy"]
    assert cli.run([*words, "--device", "abacus", "--out", str(tmp_path / "failures.png")]) == 2
    assert "--device abacus does not work on" in capsys.readouterr().err
    assert cli.run([*words, "another", "--out", str(tmp_path / "failures.png")]) == 2
    assert "as many --episodes as policies; got 2 policies, 1 episode files and a protocol" in capsys.readouterr().err


def test_the_page_stands_alone_and_says_what_a_number_rests_on(place: Path, tmp_path: Path) -> None:
    draw("tasks", tmp_path / "tasks.png", cell(place, "openvla_oft.baseline", "average"))
    episodes = place / "full/openvla_oft.half.language/seed0/spatial.jsonl"
    write_json(
        f"{episodes}.run.json", {"wall_s": 61.0, "played": 8, "argv": ["rollout", "--out", str(episodes)], "cpu": "one", "versions": {}}
    )
    words = ["report", "--tables", str(place / "table1.csv"), "--figures", str(tmp_path / "tasks.png"), "--configfile", "config/x.yaml"]
    assert cli.run([*words, "--out", str(tmp_path / "report.html")]) == 0
    page = (tmp_path / "report.html").read_text()
    path = cell(place, "openvla_oft.half.language", "average")
    assert sha256_file(episodes) in page and "61 s for 8 episodes" in page and f"dtr rollout --out {episodes}" in page
    assert f"snakemake --configfile config/x.yaml -- {path}" in page
    assert "nobody has paid for it" in page and "the blocks of openvla_oft.half.language: one training" in page
    assert "87.5" in page and "(14/16)" in page and "data:image/png;base64," in page
    assert not re.findall(r"(?:src|href)=\"(?!#|data:)[^\"]*\"", page)  # nothing from elsewhere
    before = (tmp_path / "report.html").read_bytes()
    assert cli.run([*words, "--out", str(tmp_path / "report.html")]) == 0 and (tmp_path / "report.html").read_bytes() == before


def test_a_table_that_contradicts_its_cells_makes_no_page(place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "table1.csv").write_text((place / "table1.csv").read_text().replace("0.875", "0.975"))
    assert cli.run(["report", "--tables", str(tmp_path / "table1.csv"), "--out", str(tmp_path / "report.html")]) == 2
    assert "make the table again" in capsys.readouterr().err


def test_success_against_strength_counts_each_level(place: Path, tmp_path: Path) -> None:
    base = dict(read_json(Path(cell(place, "openvla_oft.baseline", "average"))))
    marks = {f"spatial+camera-{level}": {"0": {"a": "1" * (5 - level) + "0" * level, "b": "10"}} for level in (1, 3, 5)}
    write_json(tmp_path / "camera.json", base | {"outcomes": marks | {"goal+camera-3": {"0": {"a": "11"}, "1": {"a": "00"}}}})
    counted = levels(read_cell(tmp_path / "camera.json"))
    assert counted == {("camera", 1): (5, 7), ("camera", 3): (5, 11), ("camera", 5): (1, 7)}
    other = {"spatial+noise-2+blank": {"0": {"a": "1"}}, "plain": {"0": {"a": "1"}}}
    write_json(tmp_path / "noise.json", base | {"outcomes": other})
    assert levels(read_cell(tmp_path / "noise.json")) == {("noise", 2): (1, 1)}
    draw("strength", tmp_path / "strength.png", str(tmp_path / "camera.json"), str(tmp_path / "noise.json"))
    files = []
    for component in ("vision", "language"):  # two rows of one setting, as in Table 1
        files.append(tmp_path / f"{component}.json")
        row = {"row": f"openvla_oft.half.{component}", "setting": "Drop Half", "component": component}
        write_json(files[-1], base | row | {"outcomes": {"spatial+camera-1": {"0": {"a": "10"}}}})
    (panel,) = [ax for ax in strength(files).axes if ax.get_title()]
    assert panel.get_legend_handles_labels()[1] == ["OpenVLA-OFT Drop Half vision", "OpenVLA-OFT Drop Half language"]
    assert cli.run(["figure", "strength", "--files", cell(place, "openvla_oft.baseline", "average"), "--out", str(tmp_path / "x.png")]) == 2


def test_a_figure_of_reported_numbers_may_lack_lines_and_have_two_arms_of_a_setting(tmp_path: Path) -> None:
    lines = (ROOT / "results/reported/figure2.csv").read_text().splitlines()
    (tmp_path / "f.csv").write_text(
        "\n".join([*lines[:-1], lines[3].replace("pi05.gateprobe9,", "pi05.other,").replace("language", "vision")])
    )
    texts = [text.get_text() for text in reported_figure([tmp_path / "f.csv"]).axes[0].texts]
    assert texts.count("?") == 2 and len(texts) == 8


@pytest.mark.parametrize("figure", ["figure2", "figure3", "figure4"])
def test_the_paper_s_own_figures_are_marked_and_leave_gaps_open(figure: str, tmp_path: Path) -> None:
    path = ROOT / f"results/reported/{figure}.csv"
    drawn = reported_figure([path])
    texts = [text.get_text() for text in drawn.axes[0].texts]
    lines = read_reported(path)
    assert texts.count("?") == sum(not line["percent"] for line in lines) and len(texts) == len(lines)
    assert "REPORTED by the paper, not run here" in drawn.axes[0].get_title()
    draw("reported", tmp_path / "f.png", str(path))


def test_the_sheet_of_robotwin_asks_for_what_the_paper_reports() -> None:
    with open(ROOT / "config/experiments/robotwin.tsv", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    asked = {(row["row"], f"{row['task']}_{row['level']}") for row in rows}
    assert asked == {(line["row"], line["column"]) for line in read_reported(ROOT / "results/reported/figure4.csv")}
    assert {row["level"] for row in rows} == set(SETTINGS) and all(parse_cut(row["cut"]) for row in rows)
