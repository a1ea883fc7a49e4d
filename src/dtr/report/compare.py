"""Two tables side by side: a live sample and the full one, number by number and episode by episode."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dtr.errors import BadRecord
from dtr.report.cell import read_cell


def read_table(path: Path) -> list[dict[str, str]]:
    """The lines of a table's CSV. Raises BadRecord when it is none of ours."""
    try:
        with open(path, newline="", encoding="utf-8") as file:
            lines = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise BadRecord(f"expected a table at {path}, but it cannot be read ({error}); write it with `dtr table`.") from error
    if not lines or not {"row", "scale", "cells"} <= set(lines[0]):
        raise BadRecord(f"{path} is no table of ours: expected the columns row, scale, cells and others; write it with `dtr table`.")
    return lines


def compare(live: Path, full: Path) -> str:
    """Text: for every row and column the live rate, the full one, and how many shared episodes ended alike."""
    ours, theirs = read_table(live), {line["row"]: line for line in read_table(full)}
    columns = [key.removesuffix("_k") for key in ours[0] if key.endswith("_k")]
    out = [f"{'row':<32}{'column':<10}{'live':>16}{'full':>16}  {'live 95 %':<16}{'same outcome':>14}"]
    same = pairs = 0
    for line in ours:
        other = theirs.get(line["row"])
        if other is None:
            out.append(f"{line['row']:<32}not in {full}")
            continue
        for column in columns:
            alike, shared = shared_outcomes(cell_of(live, line, column), cell_of(full, other, column))
            same, pairs = (same, pairs) if column == "average" else (same + alike, pairs + shared)
            low, high = line[f"{column}_low"], line[f"{column}_high"]
            outside = "" if float(low) <= float(other[column]) <= float(high) else "  full is outside"
            rates = f"{rate(line, column):>16}{rate(other, column):>16}  {f'[{percent(low)}, {percent(high)}]':<16}"
            out.append(f"{line['row']:<32}{column:<10}{rates}{f'{alike}/{shared}':>14}{outside}")
    out.append(f"{same} of {pairs} episodes on the same initial states ended alike ({live} against {full}).")
    return "\n".join(out)


def show(path: Path) -> str:
    """Text: every row's rates with their intervals."""
    lines = read_table(path)
    columns = [key.removesuffix("_k") for key in lines[0] if key.endswith("_k")]
    out = [f"{path} ({lines[0]['scale']})"]
    for line in lines:
        rates = "  ".join(
            f"{column} {rate(line, column)} [{percent(line[f'{column}_low'])}, {percent(line[f'{column}_high'])}]" for column in columns
        )
        out.append(f"{line['row']:<32}{rates}")
    return "\n".join(out)


def cell_of(table: Path, line: Mapping[str, str], column: str) -> Mapping[str, Any]:
    """The cell behind a number of a table: its folder is written in the line, relative to where the table was made, or beside the table."""
    name = f"{line['row']}.{column}.json"
    root = Path(line["cells"])
    beside = [parent / root for parent in table.absolute().parents]
    found = next((folder / name for folder in (root, *beside) if (folder / name).is_file()), root / name)
    return read_cell(found)


def shared_outcomes(one: Mapping[str, Any], other: Mapping[str, Any]) -> tuple[int, int]:
    """How many episodes of the same suite, training seed, task and initial state ended alike, and how many there are."""
    alike = shared = 0
    for suite, seeds in one["outcomes"].items():
        for seed, tasks in seeds.items():
            for task, outcomes in tasks.items():
                others = other["outcomes"].get(suite, {}).get(seed, {}).get(task, "")
                pairs = list(zip(outcomes, others, strict=False))
                alike, shared = alike + sum(a == b for a, b in pairs), shared + len(pairs)
    return alike, shared


def rate(line: Mapping[str, str], column: str) -> str:
    """For example `83.0 (166/200)`."""
    return f"{percent(line[column])} ({line[f'{column}_k']}/{line[f'{column}_n']})"


def percent(text: str) -> str:
    """A fraction as percent with one decimal."""
    return f"{100 * float(text):.1f}"
