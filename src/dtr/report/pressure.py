"""Verb `pressure`: how much does language matter? Success, and following what was said, of every cut on every kind of task.

One line an arm, set of tasks and instruction in language_pressure.csv (fractions) and .md (percent):
    row model setting component cut data recipe             the arm, as in its sheet
    set instruction                                         what is played, and what was said: right, blank or swapped
    success success_k success_n success_low success_high    reached the *task's* goal: k of n, 95 % Clopper-Pearson
    success_diff success_diff_low success_diff_high success_p     minus the undropped policy's on the same states: Tango, exact McNemar
    success_tasks                                           k of each task, in the order of their names
    followed ...                                            reached the goal of what was *said*, the same columns
    status why scale seeds protocol baseline cells          the arm that it is held against; the folder of the cells

Right: what is said is the task, so both are one number. Swapped: said is another task of the suite that is possible in the same scene; its
goal was watched in the same episode, which ends when the task's own goal holds or the steps are used up. Blank: nothing is said, so there
is nothing to follow.

Beside it: each number with its ancestry, cells/language_pressure/<row>.<set>.<instruction>.<what>.json (schemas/cell.schema.json), and
language_pressure_contrasts.csv (dtr.report.contrasts).
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dtr.errors import BadRecord
from dtr.provenance import write_json, write_text
from dtr.records import check_given, listed, read_given, validate
from dtr.report import contrasts
from dtr.report.cell import success_cell
from dtr.report.differences import spelled
from dtr.report.outcomes import followed, succeeded
from dtr.report.table1 import csv_text, number
from dtr.rollout.protocol import Protocol

INSTRUCTIONS = tuple(contrasts.JUDGED)
JUDGES = {"success": succeeded, "followed": followed}
LABELS = ("row", "model", "setting", "component", "cut", "data", "recipe")
RATE = ("", "_k", "_n", "_low", "_high", "_diff", "_diff_low", "_diff_high", "_p", "_tasks")
HEAD = (*LABELS, "set", "instruction", *(f"{what}{key}" for what in ("success", "followed") for key in RATE))
TAIL = ("status", "why", "scale", "seeds", "protocol", "baseline", "cells")

Played = Mapping[str, Any]
"""What `dtr.workflow.pressure` says of one arm, set and instruction: labels, files of episodes, the undropped arm's, the protocol."""


def add_parser(verbs: Any) -> None:
    """Declare `dtr pressure`."""
    p = verbs.add_parser("pressure", help="put success and following under right, blank and swapped instructions together")
    p.add_argument(
        "--played",
        required=True,
        help="JSON, or a file of it with paths from its folder: every arm, set and instruction with its episode files",
    )
    p.add_argument("--scale", required=True, help="smoke, embedded or paper")
    p.add_argument("--out", type=Path, required=True, help="language_pressure.csv; markdown, contrasts and cells go beside it")
    p.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Count, compare and write."""
    played = read_given(args.played, "--played", list)
    check_given(played, listed(*LABELS, "set", "instruction", instead="episodes"), "--played")
    folder = Path() if args.played.lstrip().startswith("[") else Path(args.played).parent
    cells = {key: cell for one in played if "not_run" not in one for key, cell in counted(one, args.scale, folder, args.out.stem).items()}
    where = args.out.parent / "cells" / args.out.stem
    for (row, *column), cell in cells.items():
        validate(cell, "cell", path := where / f"{row}.{'.'.join(column)}.json")
        write_json(path, cell)
    lines = [line(one, args.scale, cells) | {"cells": str(where) if "not_run" not in one else ""} for one in played]
    compared = contrasts.contrasts(played, cells, args.scale)
    write_text(args.out, csv_text(lines))
    write_text(args.out.with_name(f"{args.out.stem}_contrasts.csv"), csv_text(compared, contrasts.HEAD))
    write_text(args.out.with_suffix(".md"), markdown(lines, args.scale, compared))
    print(f"{args.out}: {sum(line['status'] == 'run' for line in lines)} of {len(lines)} lines were run")


def counted(one: Played, scale: str, folder: Path, table: str) -> dict[contrasts.Key, dict[str, Any]]:
    """The cells of one arm, set and instruction; paths start in `folder`. Raises BadRecord."""
    protocol = Protocol.read(json.dumps(one["protocol"]))
    own, undropped = ([folder / path for path in one[key]] for key in ("episodes", "undropped"))
    told = {"right": "", "blank": "+blank", "swapped": "+swapped"}[one["instruction"]]
    wrong = [path for path in (*own, *undropped) if told not in path.stem or (not told and "+" in path.stem)]
    if wrong:
        raise BadRecord(f"expected episodes under the {one['instruction']} instruction, got {wrong[0]}: roll out <suite>{told}.")
    found = {}
    for what in contrasts.JUDGED[one["instruction"]]:
        key = one["row"], one["set"], one["instruction"], what
        name = {"table": table, "row": one["row"], "column": ".".join(key[1:]), "scale": scale}
        name |= {label: one[label] for label in ("model", "setting", "component")}
        found[key] = name | success_cell(own, undropped, protocol, JUDGES[what]) | {"reported": None}
    return found


def line(one: Played, scale: str, cells: contrasts.Cells) -> dict[str, str]:
    """The CSV's text of one arm, set and instruction."""
    empty = dict.fromkeys((*HEAD, *TAIL), "") | {key: str(one[key]) for key in (*LABELS, "set", "instruction")}
    empty |= {"scale": scale, "baseline": str(one.get("baseline", ""))}
    if "not_run" in one:
        return empty | {"status": "not run", "why": str(one["not_run"])}
    key = one["row"], one["set"], one["instruction"]
    success = cells[*key, "success"]
    seeds = " ".join(sorted({str(stratum["seed"]) for stratum in success["strata"]}))
    found = empty | {"status": "run", "seeds": seeds, "protocol": json.dumps(success["protocol"], sort_keys=True)}
    found |= texts("success", success)
    if one["instruction"] == "right":
        return found | texts("followed", success)
    return found if one["instruction"] == "blank" else found | texts("followed", cells[*key, "followed"])


def texts(what: str, cell: Mapping[str, Any]) -> dict[str, str]:
    """A rate with its interval and comparison, as the CSV has it."""
    i, d = cell["interval"], cell["difference"]
    change = (d["value"], d["interval"]["low"], d["interval"]["high"], d["p"]) if d else (None,) * 4
    values = [number(v) for v in (cell["value"], None, None, i["low"], i["high"], *change)]
    values[1:3] = str(cell["successes"]), str(cell["episodes"])
    values.append(" ".join(str(k) for k in by_task(cell).values()))
    return {f"{what}{key}": value for key, value in zip(RATE, values, strict=True)}


def by_task(cell: Mapping[str, Any]) -> dict[tuple[str, str], int]:
    """(suite, task) -> its successes, of all training seeds."""
    found: dict[tuple[str, str], int] = {}
    for (suite, _, task), marks in spelled(cell).items():
        found[suite, task] = found.get((suite, task), 0) + marks.count("1")
    return dict(sorted(found.items()))


def markdown(lines: Sequence[Mapping[str, str]], scale: str, compared: Sequence[Mapping[str, str]]) -> str:
    """One table a set of tasks, arms down and instructions across: success, and what was followed where that is another thing; then the
    contrasts."""
    parts = ["# language pressure", "", f"- scale: {scale}", *(f"- {fact}" for fact in facts(lines)), ""]
    head = ["model", "setting", "data", *INSTRUCTIONS]
    for name in dict.fromkeys(line["set"] for line in lines):
        rows: dict[tuple[str, ...], dict[str, str]] = {}
        for entry in (one for one in lines if one["set"] == name):
            rows.setdefault((entry["row"], entry["model"], entry["setting"], entry["data"]), {})[entry["instruction"]] = shown(entry)
        body = [[*key[1:], *(row.get(i, "-") for i in INSTRUCTIONS)] for key, row in rows.items()]
        parts += [f"## {name}", "", *("| " + " | ".join(cells) + " |" for cells in (head, ["---"] * len(head), *body)), ""]
    return "\n".join([*parts, LEGEND, "", *contrasts.markdown(compared)])


def facts(lines: Sequence[Mapping[str, str]]) -> list[str]:
    """Seeds and protocols, and what was not run and why."""
    ran = [line for line in lines if line["status"] == "run"]
    found = [f"training seeds: {', '.join(sorted({line['seeds'] for line in ran}))}"] if ran else ["nothing of this runs at this scale"]
    found += [f"protocol: {text}" for text in dict.fromkeys(line["protocol"] for line in ran)]
    why = dict.fromkeys((line["row"], line["why"]) for line in lines if line["status"] != "run")
    return found + others_data(lines) + [f"not run: {row}: {reason}" for row, reason in why]


def others_data(lines: Sequence[Mapping[str, str]]) -> list[str]:
    """Which arms are held against an undropped one that learnt from other data, because none learnt from theirs."""
    data = {line["row"]: line["data"] for line in lines}
    held = dict.fromkeys((line["row"], line["baseline"]) for line in lines if line["status"] == "run")
    return [
        f"{row}, of the data `{data[row]}`, is held against {other}, of the data `{data[other]}`: nothing undropped is of `{data[row]}`"
        for row, other in held
        if other in data and data[other] != data[row]
    ]


def shown(line: Mapping[str, str]) -> str:
    """One entry for people, in percent and points."""
    if line["status"] != "run":
        return "not run"
    parts = [rate(line, "success", "success")]
    if line["instruction"] == "swapped":
        parts.append(rate(line, "followed", "followed"))
    return "<br>".join(parts)


def rate(line: Mapping[str, str], what: str, name: str) -> str:
    """`success **98.0** (196/200) [95.0, 99.5], -2.0 [-5.0, +0.5] p 0.12`."""
    value, low, high, d, d_low, d_high = (
        100 * float(text) if (text := line[f"{what}{key}"]) else 0.0 for key in ("", "_low", "_high", "_diff", "_diff_low", "_diff_high")
    )
    tasks = f" by task {line[f'{what}_tasks']}" if " " in line[f"{what}_tasks"] else ""
    counted = f"{name} **{value:.1f}** ({line[f'{what}_k']}/{line[f'{what}_n']}{tasks}) [{low:.1f}, {high:.1f}]"
    return counted + (f", {d:+.1f} [{d_low:+.1f}, {d_high:+.1f}] p {float(line[f'{what}_p']):.2g}" if line[f"{what}_p"] else ", undropped")


LEGEND = """Percent (k/n) with 95 % Clopper-Pearson intervals; then points against the undropped policy on the same initial states, of
the same data where there is one (it is said where there is none): Tango's 95 % interval, exact McNemar p (not corrected for the number
of comparisons). At the edge the two can disagree: take a difference for shown where both say so. `success`: the task's own goal was
reached, whatever was said. `followed`: the goal of what was said held in some step of the episode, which its own goal or the step limit
ends; under the right instruction that is success, and under a blank one there is nothing to follow. No policy was trained on an empty
text, so a blank instruction is also unlike all that they have read. Intervals and p cover other states of these tasks under these
weights: no other training seeds, tasks or combinations of words. The states of a task often end alike, so look at `by task` (in the order
of their names) before a difference is called one of the set."""
