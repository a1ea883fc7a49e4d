"""Two tables side by side: a live sample and the full one, number by number and episode by episode."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
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
    ours, others = read_table(live), read_table(full)
    check_comparable(live, ours, full, others)
    theirs = {line["row"]: line for line in others}
    columns = [key.removesuffix("_k") for key in ours[0] if key.endswith("_k")]
    out = [f"{'row':<32}{'column':<10}{'live':>16}{'full':>16}  {'live 95 %':<16}{'same outcome':>14}"]
    same = pairs = 0
    for line in ours:
        other = theirs.get(line["row"])
        if other is None:
            out.append(f"{line['row']:<32}not in {full}")
            continue
        for column in columns:
            if not (line[f"{column}_k"] and other[f"{column}_k"]):
                out.append(f"{line['row']:<32}{column:<10}not run")
                continue
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
        if columns and not line[f"{columns[0]}_k"]:
            out.append(f"{line['row']:<32}not run: {line['why']}")
            continue
        rates = "  ".join(
            f"{column} {rate(line, column)} [{percent(line[f'{column}_low'])}, {percent(line[f'{column}_high'])}]" for column in columns
        )
        out.append(f"{line['row']:<32}{rates}")
    return "\n".join(out)


def cell_of(table: Path, line: Mapping[str, str], column: str) -> dict[str, Any]:
    """The cell behind a number of a table. Its folder stands in the line, relative to where the table was made: the table's own folder or
    one above it. The nearest counts: a table of `fresh/` and the one beside `fresh/` name their cells alike."""
    root, name = Path(line["cells"]), f"{line['row']}.{column}.json"
    above = [parent / root / name for parent in table.absolute().parents]
    return read_cell(next((path for path in above if path.is_file()), root / name))


def check_comparable(live: Path, ours: Sequence[Mapping[str, str]], full: Path, theirs: Sequence[Mapping[str, str]]) -> None:
    """Raises BadRecord unless two tables are of one scale, and their episodes of one protocol but for the number of trials."""
    for what in ("scale", "protocol"):
        one, two = ({comparable(line, what) for line in lines} for lines in (ours, theirs))
        if one != two:
            said = " against ".join(", ".join(sorted(values)) or "none" for values in (one, two))
            raise BadRecord(f"{live} and {full} cannot be compared, their {what} differs ({said}): name two tables of one {what}.")


def comparable(line: Mapping[str, str], what: str) -> str:
    """The scale of a line, or its protocol without the number of trials."""
    if what == "scale":
        return line[what]
    return json.dumps({key: value for key, value in json.loads(line[what] or "{}").items() if key != "trials"}, sort_keys=True)


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
