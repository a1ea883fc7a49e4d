"""A table of success after recovery: one line an arm, assembled from cells and nothing else.

CSV, for people and programs: fractions in [0, 1], empty where there is no number.
    row model setting component                     who: as in the table's sheet
    size size_reported flops flops_reported         of the undropped policy; the paper's beside it
    and for every suite's column c and for average:
    c c_k c_n c_low c_high                          success rate, k of n, 95 % Clopper-Pearson interval
    c_diff c_diff_low c_diff_high c_p               to the baseline on the same initial states: Tango's interval, exact McNemar p
    c_reported                                      the paper's rate
    scale seeds protocol cells                      training seeds; the protocol with every setting; the folder of the cells
Markdown, for people: the same in percent, with the machine.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from dtr.errors import BadRecord
from dtr.sim.perturbations.variant import CATEGORIES

Cell = Mapping[str, Any]
Cells = dict[str, dict[str, Cell]]
LABELS = ("model", "setting", "component")


def grid(cells: Iterable[Cell]) -> Cells:
    """Row -> column -> cell, in order of arrival. Raises BadRecord when a cell is missing, double, or of another table or scale."""
    rows: Cells = {}
    for cell in cells:
        if cell["column"] in rows.setdefault(cell["row"], {}):
            raise BadRecord(f"the cell {cell['row']}.{cell['column']} is given twice; give every cell once.")
        rows[cell["row"]][cell["column"]] = cell
    kinds = {(cell["table"], cell["scale"]) for row in rows.values() for cell in row.values()}
    if len(kinds) != 1:
        raise BadRecord(f"expected cells of one table at one scale, got {sorted(kinds) or 'none'}.")
    columns = list(next(iter(rows.values())))
    for name, row in rows.items():
        if set(row) != set(columns):
            raise BadRecord(f"row {name} lacks the cells {sorted(set(columns) ^ set(row))}; write them with `dtr cell`.")
    for model in dict.fromkeys(cell["model"] for cell in rates(rows)):
        if len(protocols := {json.dumps(cell["protocol"], sort_keys=True) for cell in rates(rows) if cell["model"] == model}) > 1:
            raise BadRecord(
                f"the cells of {model} were rolled out under {len(protocols)} protocols, so their rates do not compare: "
                f"{'; '.join(sorted(protocols))}."
            )
    refuse_mixtures(rows)
    return rows


def refuse_mixtures(rows: Cells) -> None:
    """Raise BadRecord when one column was played in several versions of a foreign suite, or in ours and in foreign ones."""
    for column in next(iter(rows.values())):
        kinds = {json.dumps(row[column].get("foreign", "ours"), sort_keys=True) for row in rows.values()}
        if len(kinds) > 1:
            raise BadRecord(
                f"the cells of {column} were played in different suites or versions of them, so their rates do not compare: "
                f"{'; '.join(sorted(kinds))}: roll out again what is of another one."
            )


def foreign(rows: Cells) -> list[str]:
    """The suites that a robot or a foreign simulator played."""
    return sorted({suite for cell in rates(rows) for suite in cell.get("foreign", ())})


def rates(rows: Cells) -> list[Cell]:
    """All cells that are success rates."""
    return [cell for row in rows.values() for cell in row.values() if cell["quantity"] == "success_rate"]


def wide(rows: Cells, folder: str) -> list[dict[str, str]]:
    """One record of text an arm: the lines of the CSV. `folder` is where the cells lie."""
    lines = []
    for name, row in rows.items():
        first = next(iter(row.values()))
        line = {"row": name} | {label: first[label] for label in LABELS}
        for column, cell in row.items():
            line |= {f"{column}{key}": text for key, text in columns_of(cell).items()}
        strata = [stratum for cell in row.values() for stratum in cell.get("strata", ())]
        seeds = " ".join(str(seed) for seed in sorted({stratum["seed"] for stratum in strata}))
        protocol = json.dumps(next((cell["protocol"] for cell in row.values() if "protocol" in cell), {}), sort_keys=True)
        lines.append(line | {"scale": first["scale"], "seeds": seeds, "protocol": protocol, "cells": folder})
    return lines


def columns_of(cell: Cell) -> dict[str, str]:
    """What a cell contributes to its line, by the ending of the column's name."""
    said = {"_reported": number(cell["reported"]["value"] if cell["reported"] else None)}
    if cell["quantity"] != "success_rate":
        return {"": number(cell["value"])} | said
    i, d = cell["interval"], cell["difference"]
    counts = {"": number(cell["value"]), "_k": str(cell["successes"]), "_n": str(cell["episodes"])}
    bounds = {"_low": number(i["low"]), "_high": number(i["high"])}
    keys = ("_diff", "_diff_low", "_diff_high", "_p")
    paired = (d["value"], d["interval"]["low"], d["interval"]["high"], d["p"]) if d else (None,) * 4
    return counts | bounds | {key: number(value) for key, value in zip(keys, paired, strict=True)} | said


def number(value: float | None) -> str:
    """Six significant digits; empty for None."""
    return "" if value is None else f"{value:.6g}"


def csv_text(lines: Sequence[Mapping[str, str]], head: Sequence[str] = ()) -> str:
    """The lines as CSV with a header: the keys of the first, or `head` where there may be no line."""
    text = io.StringIO()
    writer = csv.DictWriter(text, head or list(lines[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return text.getvalue()


def markdown(rows: Cells) -> str:
    """The table in percent, with what it rests on above and how to read it below."""
    first = next(iter(rows.values()))
    columns = list(first)
    head = ["model", "setting", "component", *columns]
    lines = [[*(next(iter(row.values()))[label] for label in LABELS), *(shown(row[column]) for column in columns)] for row in rows.values()]
    table = ["| " + " | ".join(line) + " |" for line in (head, ["---"] * len(head), *lines)]
    return "\n".join([f"# {next(iter(first.values()))['table']}", "", *basis(rows), "", *table, "", legend(columns, rows), ""])


def basis(rows: Cells) -> list[str]:
    """Scale, seeds, protocol and machine, one line each."""
    cells = rates(rows)
    facts = [f"- scale: {next(iter(next(iter(rows.values())).values()))['scale']}"]
    if cells:
        seeds = sorted({stratum["seed"] for cell in cells for stratum in cell["strata"]})
        facts += [f"- training seeds: {', '.join(map(str, seeds))}", *protocols(cells)]
    facts += [f"- played by foreign simulators or robots: {', '.join(found)}"] if (found := foreign(rows)) else []
    facts += ["- **stand-in assets**: the scenes are not LIBERO's own"] if any("assets" in cell for cell in cells) else []
    machines = sorted({machine_line(machine) for cell in cells for machine in cell["machines"]})
    return facts + [f"- rolled out on: {machine}" for machine in machines]


def protocols(cells: Sequence[Cell]) -> list[str]:
    """How the episodes were rolled out: one line, or one for the models of each protocol where they have official ones of their own."""
    played: dict[str, list[str]] = {}
    for cell in cells:
        settings = ", ".join(f"{key} {value}" for key, value in cell["protocol"].items() if value is not None)
        played.setdefault(settings, []).append(cell["model"])
    whose = {settings: f" of {', '.join(dict.fromkeys(models))}" if len(played) > 1 else "" for settings, models in played.items()}
    return [f"- protocol{of}: {settings}" for settings, of in whose.items()]


def machine_line(machine: Mapping[str, Any]) -> str:
    """Processor and versions in one line."""
    versions = ", ".join(f"{name} {version}" for name, version in machine.get("versions", {}).items())
    return f"{machine.get('cpu', '?')}, {machine.get('cores', '?')} cores, Python {machine.get('python', '?')}, {versions}"


def shown(cell: Cell) -> str:
    """One cell of the markdown, in percent."""
    paper = said(cell["reported"], cell["column"])
    if cell["quantity"] != "success_rate":
        return f"{plain(cell['value'], cell['column'])} ({paper})"
    i, d = cell["interval"], cell["difference"]
    counted = f"**{100 * cell['value']:.1f}** ({cell['successes']}/{cell['episodes']}) [{100 * i['low']:.1f}, {100 * i['high']:.1f}]"
    change = (
        f"{100 * d['value']:+.1f} [{100 * d['interval']['low']:+.1f}, {100 * d['interval']['high']:+.1f}] p {d['p']:.2g}"
        if d
        else "baseline"
    )
    return f"{counted}<br>{change}<br>{paper}"


UNITS = {"batch": "{:.0f}", "steps": "{:,.0f}", "action_speedup": "{:.2f}x", "step_ratio": "{:.2f}", "task_speedup": "{:.2f}x"}
UNITS |= {"memory_gib": "{:.3g} GiB"}


def plain(value: float, column: str) -> str:
    """A number as people read it: percent, but for the columns that are no fractions."""
    return UNITS[column].format(value) if column in UNITS else f"{100 * value:.1f}"


def said(reported: Mapping[str, Any] | None, column: str) -> str:
    """The paper's number."""
    return f"paper {plain(reported['value'], column)}" if reported else "paper -"


def legend(columns: Sequence[str], rows: Cells) -> str:
    """How to read a table of these columns and cells."""
    perturbed = [column for column in columns if column in CATEGORIES]
    ours = any(not any("foreign" in row.get(column, ()) for row in rows.values()) for column in perturbed)
    meanings = [meaning for column, meaning in MEANINGS.items() if column in columns]
    return "\n".join([LEGEND, *meanings, *([VARIANTS] if ours else []), *([FOREIGN] if foreign(rows) else [])])


LEGEND = """Success in percent (k/n) with the 95 % Clopper-Pearson interval; below it the difference to the baseline on the same initial
states in points, with Tango's 95 % interval and the exact McNemar p (not corrected for the number of comparisons; interval and p can
disagree by a hair, and the verdicts call better or worse only what both do); below that the paper's number. `average` is the mean of the
rates beside it, of equal n, and its interval that of the pooled count. Intervals cover other rollouts of these weights, not other training
seeds."""
MEANINGS = {
    "steps": "`batch`, `steps`: of the recovery.",
    "action_speedup": "`action_speedup`: time of one chunk of actions, undropped over this one, both in one run on one machine.",
    "step_ratio": "`step_ratio`: mean control steps of an episode over the baseline's; a failure counts with all steps it was given.",
    "task_speedup": "`task_speedup`: action_speedup / step_ratio.",
    "memory_gib": "`memory_gib`: most memory of the GPU in use; on a CPU weights and tensors alive at a time, counted.",
}
VARIANTS = """Columns of perturbations: this project's own, in LIBERO-Plus's seven categories over the usual suites, not LIBERO-Plus's
assets and tasks, of which the paper's numbers are."""
FOREIGN = """A rate of foreign suites counts every episode alike, also where they differ in size."""
