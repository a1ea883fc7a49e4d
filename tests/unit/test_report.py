"""Cells and tables from small episode files whose numbers can be counted by hand."""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pytest

from dtr.errors import BadConfig, BadRecord
from dtr.provenance import read_json, write_json
from dtr.report import cell, table
from dtr.report.cell import read_cell, success_cell
from dtr.report.compare import compare
from dtr.report.outcomes import Run, pair, training_seed
from dtr.report.reported import read_reported
from dtr.rollout.episode import Episode, write_episodes
from dtr.rollout.protocol import Protocol, conditions_on

PROTOCOL = Protocol("closed", trials=4, tasks=(0, 1))
REPORTED = Path(__file__).parents[2] / "results/reported/table1.csv"
SUITES = ("spatial", "object")
ARM = {"spatial": ("1111", "1101"), "object": ("1111", "0111")}  # 14 of 16
BASELINE = {"spatial": ("1100", "1110"), "object": ("1110", "0111")}  # 11 of 16: gains 0/2 0/3 1/3 object 0/3, loses 1/2


def write(path: Path, suite: str, tasks: tuple[str, ...], protocol: Protocol = PROTOCOL, error: str | None = None) -> Path:
    """Episodes spelled as in a cell; `x` is an error."""
    name = f"embedded_{suite}"
    kinds = {"1": "success", "0": "failure", "x": "error"}
    write_episodes(
        path,
        [
            Episode(name, f"task{t}", t, i, 0, kinds[mark], 9, 3, "a" * 16, error, conditions_on(protocol, name), "b" * 16)  # type: ignore[arg-type]
            for t, marks in enumerate(tasks)
            for i, mark in enumerate(marks)
        ],
    )
    return path


def files(folder: Path, outcomes: dict[str, tuple[str, ...]], name: str, protocol: Protocol = PROTOCOL) -> list[Path]:
    return [write(folder / name / "seed0" / f"{suite}.jsonl", suite, outcomes[suite], protocol) for suite in outcomes]


def test_a_cell_counted_by_hand(tmp_path: Path) -> None:
    found = success_cell(files(tmp_path, ARM, "arm"), files(tmp_path, BASELINE, "base"), PROTOCOL)
    assert (found["successes"], found["episodes"], found["value"]) == (14, 16, 0.875)
    d = found["difference"]
    assert (d["both"], d["gained"], d["lost"], d["neither"]) == (10, 4, 1, 1)
    assert d["value"] == pytest.approx(3 / 16)
    assert d["p"] == pytest.approx(2 * (1 + 5) / 32)  # 2 P(X <= 1), X ~ Binomial(5, 1/2)
    assert d["interval"]["low"] < 0 < d["interval"]["high"]
    assert found["value"] == pytest.approx(sum(s["successes"] / s["episodes"] for s in found["strata"]) / 2)  # the mean of the suites
    assert found["outcomes"]["embedded_spatial"]["0"]["task1"] == "1101"


def test_ancestry_names_every_file_by_its_hash(tmp_path: Path) -> None:
    arm, base = files(tmp_path, ARM, "arm"), files(tmp_path, BASELINE, "base")
    found = success_cell(arm, base, PROTOCOL)
    expected = {("episodes", str(p), hashlib.sha256(p.read_bytes()).hexdigest()) for p in arm}
    expected |= {("baseline", str(p), hashlib.sha256(p.read_bytes()).hexdigest()) for p in base}
    assert {(a["role"], a["path"], a["sha256"]) for a in found["ancestry"]} == expected


def test_the_baseline_is_not_compared_with_itself(tmp_path: Path) -> None:
    base = files(tmp_path, BASELINE, "base")
    assert success_cell(base, list(reversed(base)), PROTOCOL)["difference"] is None


def test_errors_make_no_number_and_name_the_command(tmp_path: Path) -> None:
    path = write(tmp_path / "e.jsonl", "spatial", ("11x1", "1111"))
    write_json(f"{path}.run.json", {"argv": ["rollout", "--policy", "a b.safetensors", "--out", str(path)]})
    with pytest.raises(BadRecord) as refused:
        success_cell([path], [], PROTOCOL)
    assert "1 of 8 episodes" in str(refused.value) and "embedded_spatial/0/2" in str(refused.value)
    assert f"`dtr rollout --policy 'a b.safetensors' --out {path}`" in str(refused.value)


@pytest.mark.parametrize(
    ("protocol", "message"),
    [
        (replace(PROTOCOL, trials=5), "initial states 0 to 4"),
        (replace(PROTOCOL, trials=3), "initial states 0 to 2"),
        (replace(PROTOCOL, chunk=2), "under the conditions"),
        (replace(PROTOCOL, tasks=(0, 1, 2)), "expected the tasks"),
        (replace(PROTOCOL, tasks=None), "expected the tasks"),
    ],
)
def test_episodes_of_another_protocol_are_refused(tmp_path: Path, protocol: Protocol, message: str) -> None:
    with pytest.raises(BadRecord, match=message):
        success_cell(files(tmp_path, ARM, "arm"), [], protocol)


def test_unequal_suites_and_unpaired_baselines_are_refused(tmp_path: Path) -> None:
    every, marks = replace(PROTOCOL, trials=1, tasks=None), ("1",) * 8
    with pytest.raises(BadRecord, match="equally many episodes"):
        success_cell(files(tmp_path, {"spatial": marks[:4], "pretrain": marks}, "more", every), [], every)
    with pytest.raises(BadRecord, match=r"expected the tasks \[0, 1\] of embedded_object"):
        success_cell(files(tmp_path, ARM | {"object": ("1111",)}, "few"), [], PROTOCOL)
    with pytest.raises(BadRecord, match="baseline's suites"):
        success_cell(files(tmp_path, ARM, "arm"), files(tmp_path, BASELINE, "base")[:1], PROTOCOL)
    one, other = (Run(tmp_path, "embedded_spatial", 0, {task: (True,)}) for task in ("old", "new"))
    with pytest.raises(BadRecord, match="different tasks"):
        pair([one], [other])
    with pytest.raises(BadRecord, match="once for each training seed"):
        success_cell(files(tmp_path, ARM, "arm") + files(tmp_path, ARM, "again"), [], PROTOCOL)


def test_training_seeds_are_pooled_and_kept_apart(tmp_path: Path) -> None:
    runs = [write(tmp_path / f"seed{s}" / "x.jsonl", "spatial", tasks) for s, tasks in enumerate([("1111", "1111"), ("1100", "1100")])]
    found = success_cell(runs, [], PROTOCOL)
    assert [(s["seed"], s["successes"]) for s in found["strata"]] == [(0, 8), (1, 4)]
    assert found["value"] == 0.75


def test_training_seed_of_a_path() -> None:
    assert training_seed(Path("artifacts/x/four.recover/seed12/rollouts/closed-n50/a.jsonl")) == 12
    assert training_seed(Path("/tmp/reseed3d/a.jsonl")) == 0


def parse(verb, *words: str) -> argparse.Namespace:  # type: ignore[no-untyped-def]
    parser = argparse.ArgumentParser()
    verb.add_parser(parser.add_subparsers())
    return parser.parse_args(list(words))


def build(folder: Path, results: str, arms: dict[str, dict[str, tuple[str, ...]]], trials: int = 4) -> Path:
    """Cells and table of several arms (the first is the baseline) through the verbs; the table's path."""
    protocol = replace(PROTOCOL, trials=trials)
    written: list[Path] = []
    episodes = {row: files(folder / results, outcomes, row, protocol) for row, outcomes in arms.items()}
    base = next(iter(episodes.values()))
    amount = {"total": 5, "fraction": 0.5, "by_component": {}}
    cost = {"policy": "openvla_oft", "digest": "0" * 16, "baseline": "1" * 16, "tokens": 9, "parameters": amount, "flops": amount}
    write_json(folder / "cost.json", cost)
    for row, runs in episodes.items():
        for column in ("size", "flops", *SUITES, "average"):
            out = folder / results / "cells" / "table1" / f"{row}.{column}.json"
            words = ["cell", "--table", "table1", "--row", row, "--column", column, "--scale", "embedded", "--reported", str(REPORTED)]
            words += ["--model", "OpenVLA-OFT", "--setting", "x", "--component", "y", "--out", str(out)]
            some = [SUITES.index(column)] if column in SUITES else [0, 1]
            words += (
                ["--cost", str(folder / "cost.json")] if column in ("size", "flops") else ["--protocol", json.dumps(protocol.to_dict())]
            )
            words += [] if column in ("size", "flops") else ["--episodes", *(str(runs[i]) for i in some)]
            words += [] if column in ("size", "flops") else ["--baseline", *(str(base[i]) for i in some)]
            args = parse(cell, *words)
            args.run(args)
            written.append(out)
    path = folder / results / "table1.csv"
    args = parse(table, "table", "--cells", *map(str, written), "--out", str(path))
    args.run(args)
    return path


ARMS = {"openvla_oft.baseline": BASELINE, "openvla_oft.half.language": ARM}


def test_table_from_cells(tmp_path: Path) -> None:
    path = build(tmp_path, "full", ARMS)
    with open(path, newline="") as file:
        base, half = csv.DictReader(file)
    assert (half["row"], half["average"], half["average_k"], half["average_n"]) == ("openvla_oft.half.language", "0.875", "14", "16")
    assert (half["average_diff"], half["average_reported"], half["size"], half["size_reported"]) == ("0.1875", "0.983", "0.5", "0.555")
    assert base["average_diff"] == base["average_p"] == "" and base["average"] == "0.6875"
    text = path.with_suffix(".md").read_text()
    assert "**87.5** (14/16)" in text and "scale: embedded" in text and "trials 4" in text and "paper 98.3" in text


def test_a_cell_regenerates_alone_to_the_same_bytes(tmp_path: Path) -> None:
    build(tmp_path, "full", ARMS)
    path = tmp_path / "full/cells/table1/openvla_oft.half.language.average.json"
    before, stamp = path.read_bytes(), read_cell(path)
    build(tmp_path, "full", ARMS)
    assert path.read_bytes() == before and stamp["quantity"] == "success_rate"


def test_compare_counts_shared_episodes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    full = build(tmp_path, "full", ARMS)
    # The first two states of every task, with one episode of the arm flipped.
    sample = {row: {suite: tuple(marks[:2] for marks in tasks) for suite, tasks in outcomes.items()} for row, outcomes in ARMS.items()}
    sample["openvla_oft.half.language"] = sample["openvla_oft.half.language"] | {"spatial": ("01", "11")}
    live = build(tmp_path, "live", sample, trials=2)
    capsys.readouterr()
    args = parse(table, "table", "--compare", str(live), str(full))
    args.run(args)
    text = capsys.readouterr().out
    assert "15 of 16 episodes on the same initial states ended alike" in text
    line = next(line for line in text.splitlines() if "half.language" in line and "spatial" in line)
    assert "75.0 (3/4)" in line and "87.5 (7/8)" in line and "3/4" in line
    args = parse(table, "table", "--show", str(full))
    args.run(args)
    assert "average 87.5 (14/16)" in capsys.readouterr().out


def test_tables_of_two_folders_are_compared_by_their_own_cells(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`make table1 FRESH=1` writes the same relative paths below fresh/."""
    flipped = {row: {suite: tuple(m.translate({48: 49, 49: 48}) for m in marks) for suite, marks in o.items()} for row, o in ARMS.items()}
    for folder, arms in ((tmp_path, ARMS), (tmp_path / "fresh", flipped)):
        folder.mkdir(exist_ok=True)
        monkeypatch.chdir(folder)
        build(Path(), "results", arms)
    monkeypatch.chdir(tmp_path)
    assert "\n0 of 32 episodes" in compare(Path("fresh/results/table1.csv"), Path("results/table1.csv"))


def test_tables_that_do_not_compare_are_refused(tmp_path: Path) -> None:
    one, two = (build(tmp_path, name, ARMS) for name in ("one", "two"))
    for old, new, what in (("embedded", "smoke", "scale"), ('""chunk"": 8', '""chunk"": 4', "protocol")):
        text = one.read_text()
        assert old in text
        two.write_text(text.replace(old, new))
        with pytest.raises(BadRecord, match=f"their {what} differs"):
            compare(one, two)


def test_a_table_of_mixed_or_missing_cells_is_refused(tmp_path: Path) -> None:
    path = build(tmp_path, "full", ARMS)
    folder = path.parent / "cells/table1"
    cells = sorted(folder.glob("*.json"))
    for some, message in ((cells[:-1], "lacks the cells"), ([*cells, cells[0]], "given twice")):
        args = parse(table, "table", "--cells", *map(str, some), "--out", str(tmp_path / "x.csv"))
        with pytest.raises(BadRecord, match=message):
            args.run(args)
    other = dict(read_json(folder / "openvla_oft.half.language.average.json"))
    write_json(folder / "openvla_oft.half.language.average.json", other | {"protocol": other["protocol"] | {"chunk": 2}})
    args = parse(table, "table", "--cells", *map(str, cells), "--out", str(tmp_path / "x.csv"))
    with pytest.raises(BadRecord, match="2 protocols"):
        args.run(args)


def test_a_cell_needs_its_input(tmp_path: Path) -> None:
    words = ["cell", "--table", "t", "--row", "r", "--scale", "s", "--out", str(tmp_path / "c.json"), "--column"]
    for column, message in (("size", "--cost"), ("average", "--episodes")):
        args = parse(cell, *words, column)
        with pytest.raises(BadConfig, match=message):
            args.run(args)


@pytest.mark.parametrize(("table", "arms", "whole"), [("table1", 14, 11), ("table7", 8, 8)])
def test_reported_averages_are_the_means_of_the_reported_suites(table: str, arms: int, whole: int) -> None:
    lines = read_reported(REPORTED.with_name(f"{table}.csv"))
    assert len(lines) == arms * 7
    rows: dict[str, dict[str, float]] = {}
    for line in lines:
        if line["percent"]:
            rows.setdefault(line["row"], {})[line["column"]] = float(line["percent"])
    complete = [row for row in rows.values() if {"average", "long"} <= row.keys()]
    assert len(complete) == whole
    for row in complete:
        assert row["average"] == pytest.approx(sum(row[c] for c in ("spatial", "object", "goal", "long")) / 4, abs=0.0501)


def test_a_reported_number_needs_a_source(tmp_path: Path) -> None:
    text = REPORTED.read_text()
    (tmp_path / "x.csv").write_text(text.replace('97.2,"arXiv 2606.27755v1, Table 1"', "97.2,", 1))
    with pytest.raises(BadRecord, match="needs a source"):
        read_reported(tmp_path / "x.csv")


def test_a_cell_is_said_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base, arm = (tmp_path / f"{name}/seed0/spatial.jsonl" for name in ("base", "arm"))
    write(base, "spatial", ("1111", "1110"))
    write(arm, "spatial", ("1110", "1001"))
    words = ["--table", "t", "--row", "r", "--column", "spatial", "--scale", "s", "--protocol", json.dumps(PROTOCOL.to_dict())]
    args = parse(cell, "cell", *words, "--episodes", str(arm), "--baseline", str(base), "--out", str(tmp_path / "said.json"))
    args.run(args)
    said = capsys.readouterr().out
    assert "said.json: 5 of 8 [24.5, 91.5] %, -25.0 points [" in said and "(1 won and 3 lost on the same states, p 0.62)" in said
    assert cell.summary({"quantity": "flops", "value": 0.5}) == "flops 0.5"
