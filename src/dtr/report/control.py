"""The control of language on the page: its sets of tasks and its contrasts as tables, each number with what it rests on.

They come in the shape of `dtr.report.page.table_of`, so the page prints them, their machines and what was not run as it does of any table.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from dtr.errors import BadRecord
from dtr.provenance import sha256_file
from dtr.report import contrasts
from dtr.report.compare import cell_of, read_table
from dtr.report.figures.captions import SETS
from dtr.report.pressure import LEGEND, others_data

COLUMNS = [f"{said}: {what}" for said, judged in contrasts.JUDGED.items() for what in judged]
TITLE = "How much language matters"
NOTHING = dict.fromkeys(("interval", "counts", "change", "test", "paper", "seeds", "command"), "") | {"value": "-"}
NOTHING_READ: dict[str, list[str]] = {"machines": [], "ancestry": []}
"""What the page shows where an instruction was not played."""
SAME = 1e-6
"""Two numbers that are written to six digits are one below this."""

Lines = Sequence[Mapping[str, str]]
Cell = Mapping[str, Any]
Shown = Callable[[Cell, Path], dict[str, Any]]
"""A cell and the target of Snakemake that makes it again -> the cell as the page shows it."""


def control_of(csv_path: Path, contrasts_path: Path, shown: Shown) -> list[dict[str, Any]]:
    """A table a set of tasks and a table a kind of contrast. Raises BadRecord where a number is not what its cells say."""
    lines = read_table(csv_path)
    with open(contrasts_path, newline="", encoding="utf-8") as file:
        compared = list(csv.DictReader(file))
    if compared and not set(contrasts.HEAD) <= set(compared[0]):
        raise BadRecord(f"expected the contrasts of `dtr pressure` at {contrasts_path}, got other columns; write it again.")
    folder = next((line["cells"] for line in lines if line["cells"]), "")
    sets = [
        of_set(csv_path, name, [line for line in lines if line["set"] == name], shown)
        for name in dict.fromkeys(line["set"] for line in lines)
    ]
    notes = [LEGEND, *others_data(lines)]
    sets = [table | {"note": " ".join(notes).replace("`", "") if table is sets[0] else ""} for table in sets]
    kinds = [kind for kind in contrasts.TITLES if any(line["kind"] == kind for line in compared)]
    return sets + [
        of_kind(contrasts_path, kind, [line for line in compared if line["kind"] == kind], csv_path, folder, shown) for kind in kinds
    ]


def of_set(path: Path, name: str, lines: Lines, shown: Shown) -> dict[str, Any]:
    """The rates on one set of tasks."""
    rows = []
    for row in dict.fromkeys(line["row"] for line in lines):
        own = {line["instruction"]: line for line in lines if line["row"] == row}
        first = next(iter(own.values()))
        cells = {}
        for said, line in own.items():
            for what in contrasts.JUDGED[said] if line["status"] == "run" else ():
                cell = cell_of(path, line, f"{name}.{said}.{what}")
                agree(path, line[what], cell["value"], f"{row} on {name} ({said}: {what})")
                cells[f"{said}: {what}"] = shown(cell, path) | {"column": f"{said}: {what}", "paper": ""}
        held = first["baseline"] if first["baseline"] != row else ""
        rows.append(labelled(first) | {"row": row, "held": held, "cells": cells, "why": first["why"]})
    return tabled(path, f"control-{name}", f"{TITLE}: {SETS.get(name, name)}", lines[0]["scale"], rows)


def of_kind(
    path: Path,
    kind: str,
    lines: Lines,
    csv_path: Path,
    folder: str,
    shown: Shown,
) -> dict[str, Any]:
    """The contrasts of one kind, each beside the cells that it was computed from."""
    rows: dict[tuple[str, str, str], dict[str, Any]] = {}
    for line in lines:
        key = line["row"], line["set"], line["against"]
        where = f"on {SETS.get(line['set'], line['set'])}, "
        where += f"{contrasts.AGAINST[kind]} {line['against'] if kind == 'depth' else SETS.get(line['against'], line['against'])}"
        names = labelled(line) | {
            "setting": f"{line['setting']}, {where}",
            "row": f"{line['row']} on {line['set']} {contrasts.AGAINST[kind]} {key[2]}",
        }
        row = rows.setdefault(key, names | {"held": "", "cells": {}, "why": line["why"]})
        if line["status"] != "run":
            continue
        sides = [(line["row"], line["set"]), (line["against"], line["set"]) if kind == "depth" else (line["row"], line["against"])]
        cells = [cell_of(csv_path, {"row": side[0], "cells": folder}, f"{side[1]}.{line['instruction']}.{line['what']}") for side in sides]
        values = [cell["value"] if kind == "depth" else cell["difference"]["value"] for cell in cells]
        agree(path, line["value"], values[0] - values[1], row["row"])
        found = contrast(line, [shown(cell, path) for cell in cells])
        row["cells"][found["column"]] = found
    table = tabled(path, f"control-{kind}", f"{TITLE}: {contrasts.TITLES[kind]}", lines[0]["scale"], list(rows.values()))
    return table | {"note": contrasts.LEGENDS[kind]}


def contrast(line: Mapping[str, str], sides: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """One contrast as the page shows a cell: what it rests on is what its two cells do."""
    points = {key: f"{100 * float(line[key]):+.1f}" for key in ("value", "low", "high", "wide_low", "wide_high") if line[key]}
    counts = f"{line['gained']} gained, {line['lost']} lost of {line['n']}"
    counts += f"; there {line['other_gained']}, {line['other_lost']} of {line['other_n']}" if line["other_n"] else ""
    depth = line["kind"] == "depth"
    parts = [part for part in sides[0]["ancestry"] if part["role"] == "episodes" or not depth]
    parts += [
        part | {"role": "against" if depth else f"{part['role']} there"}
        for part in sides[1]["ancestry"]
        if part["role"] == "episodes" or not depth
    ]
    return dict(sides[0]) | {
        "column": f"{line['instruction']}: {line['what']}",
        "value": points["value"],
        "counts": counts,
        "interval": f"{points['low']} to {points['high']} ({line['method']})",
        "change": f"p {float(line['p']):.2g}" if line["p"] else f"wide {points['wide_low']} to {points['wide_high']}",
        "test": "",
        "paper": "",
        "machines": list(dict.fromkeys(machine for side in sides for machine in side["machines"])),
        "ancestry": parts,
    }


def labelled(line: Mapping[str, str]) -> dict[str, Any]:
    """What the page says of an arm."""
    return {"model": line["model"], "setting": line["setting"], "component": "-", "twin": "", "dropped": 0, "free": 0}


def tabled(path: Path, name: str, title: str, scale: str, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Rows as a table of the page."""
    whole = [
        dict(row) | {"cells": [row["cells"].get(c, {**NOTHING, **NOTHING_READ, "column": c}) for c in COLUMNS] if row["cells"] else []}
        for row in rows
    ]
    whole = [row | {"paper": [""] * len(COLUMNS), "training": []} for row in whole]
    split = {"ran": [row for row in whole if row["cells"]], "absent": [row for row in whole if not row["cells"]]}
    about = {"name": name, "title": title, "scale": scale, "path": str(path), "sha256": sha256_file(path), "note": "", "reported": False}
    return about | {"columns": COLUMNS, "rows": whole} | split


def agree(path: Path, text: str, value: float, where: str) -> None:
    """Raise BadRecord unless a number of a CSV is that of its cells."""
    if abs(float(text) - value) > SAME:
        raise BadRecord(f"{path} says {text} for {where}, its cells {value:.6g}: make both again with `dtr pressure`.")
