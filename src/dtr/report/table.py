"""Verb `table`: put cells together to a table (CSV and markdown), show one, or compare a live sample with the full one."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from dtr.errors import BadConfig, BadRecord
from dtr.provenance import write_text
from dtr.report import gaps
from dtr.report.cell import read_cell
from dtr.report.compare import compare, show
from dtr.report.dead import read_gone, read_gradients
from dtr.report.table1 import csv_text, grid, markdown, wide


def add_parser(verbs: Any) -> None:
    """Declare `dtr table`."""
    p = verbs.add_parser("table", help="put cells together to a table, show one, or compare two")
    p.add_argument("--cells", type=Path, nargs="+", default=[], help="the cells' JSON files, row by row; lines and columns in this order")
    what = p.add_mutually_exclusive_group()
    what.add_argument("--compare", type=Path, nargs=2, metavar=("LIVE", "FULL"), help="print two tables' CSV side by side")
    what.add_argument("--show", type=Path, metavar="CSV", help="print one table")
    what.add_argument("--rows", help="JSON: all rows in order, each with its plan or the reason why it is not run")
    p.add_argument("--columns", nargs="+", default=[], help="with --rows: the table's columns in order")
    p.add_argument("--name", default="table", help="with --rows: the table's name")
    p.add_argument("--scale", default="-", help="with --rows: the scale")
    p.add_argument("--reported", type=Path, help="with --rows: the paper's numbers")
    p.add_argument("--gradients", type=Path, nargs="*", default=[], help="with --rows: the policies' gateprobe.json, for dead blocks")
    p.add_argument("--out", type=Path, help="the table's CSV; the same as markdown goes beside it")
    p.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Assemble, show or compare."""
    if args.compare:
        print(compare(*args.compare))
    elif args.show:
        print(show(args.show))
    elif args.out is None or not (args.cells or args.rows):
        raise BadConfig("`dtr table` makes a table of --cells or --rows and needs --out for the CSV; or give --show or --compare.")
    elif args.rows:
        assemble(args)
    else:
        folders = sorted({str(path.parent) for path in args.cells})
        if len(folders) > 1:
            raise BadRecord(f"expected the cells of one table in one folder, got {', '.join(folders)}.")
        rows = grid(read_cell(path) for path in args.cells)
        write_text(args.out, csv_text(wide(rows, folders[0])))
        write_text(args.out.with_suffix(".md"), markdown(rows))


def assemble(args: argparse.Namespace) -> None:
    """A table of a sheet: all its arms, those that do not run too."""
    rows, cells = gaps.read_rows(args.rows), grid(read_cell(path) for path in args.cells) if args.cells else {}
    if set(cells) != (runs := {row["row"] for row in rows if "plan" in row}):
        raise BadRecord(
            f"expected the cells of the rows that run ({', '.join(sorted(runs)) or 'none'}), got {', '.join(sorted(cells)) or 'none'}."
        )
    scores = read_gradients(args.gradients)
    cuts = {row["row"]: read_gone(row["plan"], scores) for row in rows if "plan" in row}
    folder = str(args.cells[0].parent) if args.cells else ""
    write_text(args.out, csv_text(gaps.lines(cells, rows, cuts, args.columns, args.reported, args.scale, folder)))
    write_text(args.out.with_suffix(".md"), gaps.markdown(args.name, cells, rows, cuts, args.columns, args.reported, args.scale))
