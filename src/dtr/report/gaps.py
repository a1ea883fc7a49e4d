"""A table of a sheet, of which not every arm runs at this scale: nothing is filled in, the paper's numbers stand, and the reason is said.

Beside the columns of every table (dtr.report.table1) a line of its CSV has
    status           run | not run
    why              why it was not run here
    same_blocks_as   an earlier row whose plan left the same policy: one training is behind both
    and what went, and how much of that was free (dtr.report.dead)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dtr.dropping.same_blocks import blocks_digest
from dtr.records import check_given, listed, read_given, read_record
from dtr.report.dead import COLUMNS, HEAD, MEANING, Gone
from dtr.report.reported import reported
from dtr.report.table1 import LABELS, Cell, Cells, basis, legend, machine_line, number, said, shown, wide

Row = Mapping[str, Any]
Cuts = Mapping[str, Gone]
"""Row -> what its plan drops, of the rows that run."""


def read_rows(text: str) -> list[dict[str, Any]]:
    """The rows of a table in order: labels, and `plan` of an arm that runs or `not_run` with the reason. Raises BadConfig."""
    rows: list[dict[str, Any]] = read_given(text, "--rows", list)
    check_given(rows, listed("row", *LABELS, instead="plan"), "--rows")
    return rows


def twins(rows: Sequence[Row]) -> dict[str, str]:
    """Row -> the first row before it that left the same blocks of the same policy, and trained them in the same way."""
    first: dict[tuple[str, str], str] = {}
    found = {}
    for row in rows:
        if plan := row.get("plan"):
            key = (blocks_digest(read_record(plan, "plan")), str(row.get("training", "-")))
            if key in first:
                found[row["row"]] = first[key]
            first.setdefault(key, row["row"])
    return found


def lines(
    cells: Cells, rows: Sequence[Row], cuts: Cuts, columns: Sequence[str], paper: Path | None, scale: str, folder: str
) -> list[dict[str, str]]:
    """One record of text a row, all of the same keys: the lines of the CSV."""
    numbers = {line["row"]: line for line in (wide(cells, folder) if cells else [])}
    keys = ["row", *LABELS, *(key for column in columns for key in keys_of(column, cells)), "scale", "seeds", "protocol", "cells"]
    same, out = twins(rows), []
    for row in rows:
        line = dict.fromkeys(keys, "") | {key: str(row[key]) for key in ("row", *LABELS)} | {"scale": scale}
        for column in columns:
            known = reported(paper, row["row"], column)
            line[f"{column}_reported"] = number(known["value"] if known else None)
        line |= numbers.get(row["row"], {})
        status = "run" if row["row"] in numbers else "not run"
        said = {"status": status, "why": row.get("not_run", ""), "same_blocks_as": same.get(row["row"], "")}
        out.append(line | said | (cuts[row["row"]].columns() if row["row"] in cuts else dict.fromkeys(COLUMNS, "")))
    return out


def keys_of(column: str, cells: Cells) -> list[str]:
    """The CSV columns of a column of the table; without any cell of it, only what the paper has."""
    some = next((row[column] for row in cells.values() if column in row), None)
    rate = ("", "_k", "_n", "_low", "_high", "_diff", "_diff_low", "_diff_high", "_p")
    return [f"{column}{key}" for key in (rate if some and some["quantity"] == "success_rate" else ("",))] + [f"{column}_reported"]


def markdown(name: str, cells: Cells, rows: Sequence[Row], cuts: Cuts, columns: Sequence[str], paper: Path | None, scale: str) -> str:
    """The table for people."""
    same = twins(rows)
    head = [*LABELS, HEAD, *columns]
    body = [
        [str(row[label]) for label in LABELS]
        + [cuts[row["row"]].shown() if row["row"] in cuts else "not run", *(entry(cells, row, column, paper) for column in columns)]
        for row in rows
    ]
    table = ["| " + " | ".join(line) + " |" for line in (head, ["---"] * len(head), *body)]
    notes = [f"- {row['row']}: the same blocks as {same[row['row']]}, so one training is behind both" for row in rows if row["row"] in same]
    reasons: dict[str, list[str]] = {}
    for row in rows:
        if "not_run" in row:
            reasons.setdefault(row["not_run"], []).append(row["row"])
    notes += [f"- not run: {', '.join(names)}: {why}" for why, names in reasons.items()]
    staying: dict[str, list[str]] = {}
    for name_, gone in cuts.items():
        if gone.dead_kept:
            staying.setdefault(", ".join(gone.dead_kept), []).append(name_)
    notes += [f"- dead, and kept: {blocks}, by {', '.join(names)}" for blocks, names in staying.items()]
    facts = basis(cells) if cells else [f"- scale: {scale}", "- nothing of this table runs at this scale"]
    timed = [
        machine for row in cells.values() for cell in row.values() if cell["quantity"] == "action_speedup" for machine in cell["machines"]
    ]
    facts += [f"- times measured on: {line}" for line in sorted({machine_line(machine) for machine in timed})]
    return "\n".join([f"# {name}", "", *facts, *notes, "", *table, "", legend(columns, cells), MEANING, ""])


def entry(cells: Cells, row: Row, column: str, paper: Path | None) -> str:
    """One entry of the markdown."""
    cell: Cell | None = cells.get(row["row"], {}).get(column)
    return shown(cell) if cell is not None else f"not run<br>{said(reported(paper, row['row'], column), column)}"
