"""Verb `table`: put cells together to a table (CSV and markdown), show one, or compare a live sample with the full one."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from dtr.errors import BadConfig, BadRecord
from dtr.provenance import write_text
from dtr.report.cell import read_cell
from dtr.report.compare import compare, show
from dtr.report.table1 import csv_text, grid, markdown, wide


def add_parser(verbs: Any) -> None:
    """Declare `dtr table`."""
    p = verbs.add_parser("table", help="put cells together to a table, show one, or compare two")
    what = p.add_mutually_exclusive_group(required=True)
    what.add_argument("--cells", type=Path, nargs="+", help="the cells' JSON files, row by row; lines and columns come in this order")
    what.add_argument("--compare", type=Path, nargs=2, metavar=("LIVE", "FULL"), help="print two tables' CSV side by side")
    what.add_argument("--show", type=Path, metavar="CSV", help="print one table")
    p.add_argument("--out", type=Path, help="the table's CSV; the same as markdown goes beside it")
    p.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Assemble, show or compare."""
    if args.compare:
        print(compare(*args.compare))
    elif args.show:
        print(show(args.show))
    elif args.out is None:
        raise BadConfig("`dtr table --cells ...` needs --out for the CSV.")
    else:
        folders = sorted({str(path.parent) for path in args.cells})
        if len(folders) > 1:
            raise BadRecord(f"expected the cells of one table in one folder, got {', '.join(folders)}.")
        rows = grid(read_cell(path) for path in args.cells)
        write_text(args.out, csv_text(wide(rows, folders[0])))
        write_text(args.out.with_suffix(".md"), markdown(rows))
