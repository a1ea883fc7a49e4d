"""The paper's own numbers: results/reported/<table>.csv, one number a line, each with its source. An empty one is not known to us."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

from dtr.errors import BadRecord

COLUMNS = ("row", "model", "setting", "component", "column", "percent", "source", "note")
VALUED = (*COLUMNS[:6], "value", *COLUMNS[6:])
"""Where a table has numbers that are no rates: `value` holds those."""


def read_reported(path: Path) -> list[dict[str, str]]:
    """The lines of the file. Raises BadRecord for other columns, a number without a source, or a number twice."""
    try:
        with open(path, newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            lines = list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise BadRecord(f"expected reported numbers at {path}, but they cannot be read ({error}).") from error
    if tuple(reader.fieldnames or ()) not in (COLUMNS, VALUED):
        raise BadRecord(f"expected the columns {', '.join(COLUMNS)} in {path}, got {', '.join(reader.fieldnames or ())}.")
    for number, line in enumerate(lines, 2):
        if bool(line["percent"] or line.get("value")) != bool(line["source"]):
            raise BadRecord(
                f"{path} line {number}: a number needs a source and a source a number; leave both empty where nothing is known."
            )
    if len({(line["row"], line["column"]) for line in lines}) < len(lines):
        raise BadRecord(f"{path} holds a number twice; keep one line for each row and column.")
    return lines


def reported(path: Path | None, row: str, column: str) -> dict[str, Any] | None:
    """The reported number of a cell as a fraction with its source; None where there is none."""
    for line in read_reported(path) if path else []:
        if (line["row"], line["column"]) == (row, column) and line["source"]:
            number = float(line["value"]) if line.get("value") else round(float(line["percent"]) / 100, 6)
            value = {"value": number, "source": line["source"]}
            return value | ({"note": line["note"]} if line["note"] else {})
    return None
