"""Verb `report`: one self-contained page with every table, figure and verdict.

For every number its interval, what it was computed from by hash,
training seeds, machine, wall time, and the command that makes it again; and what was not run, with the reason.

Everything comes from tables, cells and run records; equal input gives equal bytes, so the page names no time of its own.
"""

from __future__ import annotations

import argparse
import base64
import csv
import shlex
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from dtr.errors import BadRecord
from dtr.provenance import read_run_record, sha256_file, write_text
from dtr.report.compare import cell_of as read_cell_of
from dtr.report.compare import read_table
from dtr.report.control import control_of
from dtr.report.figures.captions import caption
from dtr.report.table1 import machine_line, plain, said

TITLES = {
    "table1": "components",
    "table2": "granularity",
    "table3": "metrics of importance",
    "table4": "recovery at equal FLOPs",
    "table5": "speed, and other ways to save",
    "table6": "LIBERO-Plus",
    "table7": "other policies",
}
"""What each table of the paper is about."""


def add_parser(verbs: Any) -> None:
    """Declare `dtr report`."""
    p = verbs.add_parser("report", help="write one self-contained page with every table, figure and verdict and what they rest on")
    p.add_argument("--tables", type=Path, nargs="+", required=True, help="CSV of the tables, their cells where they say")
    p.add_argument(
        "--control", type=Path, nargs=2, metavar=("CSV", "CONTRASTS"), help="language_pressure.csv and language_pressure_contrasts.csv"
    )
    p.add_argument("--figures", type=Path, nargs="*", default=[], help="PNG of the figures")
    p.add_argument("--verdicts", type=Path, help="verdicts.csv")
    p.add_argument("--configfile", default="", help="configuration by which Snakemake makes a number again")
    p.add_argument("--out", type=Path, required=True, help="report.html")
    p.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Read everything and write the page."""
    tables = [table_of(path, args.configfile) for path in args.tables]
    if args.control:
        rates, contrasts = args.control
        control = control_of(rates, contrasts, lambda cell, path: shown_cell(cell, path, args.configfile))
        tables += [table | {"ran": [row | {"training": trainings(row["cells"])} for row in table["ran"]]} for table in control]
    page = environment().get_template("page.html.j2")
    context = {
        "scale": tables[0]["scale"],
        "tables": tables,
        "verdicts": verdicts_of(args.verdicts) if args.verdicts else [],
        "figures": [figure_of(path) for path in args.figures],
        "machines": sorted({machine for table in tables for row in table["rows"] for cell in row["cells"] for machine in cell["machines"]}),
        "not_run": [gap for table in tables for gap in gaps_of(table)],
    }
    write_text(args.out, page.render(context))
    print(f"{args.out}: {len(tables)} tables, {len(args.figures)} figures")


def environment() -> Environment:
    """Templates that escape what they print and refuse a name that is not there."""
    return Environment(
        loader=PackageLoader("dtr.report", "."), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )


def table_of(path: Path, configfile: str) -> dict[str, Any]:
    """A table with its cells. Raises BadRecord when a cell is missing or is not what the table shows."""
    lines = read_table(path)
    columns = [key.removesuffix("_reported") for key in lines[0] if key.endswith("_reported")]
    rows = []
    for line in lines:
        ran = line.get("status", "run") == "run"
        cells = [cell_of(path, line, column, configfile) for column in columns] if ran else []
        paper = [said({"value": float(text)} if (text := line[f"{column}_reported"]) else None, column) for column in columns]
        labels = {key: line[key] for key in ("row", "model", "setting", "component")}
        more = {"held": "", "why": line.get("why", "") if not ran else "", "twin": line.get("same_blocks_as", "")}
        went = {"dropped": int(line.get("blocks_dropped") or 0), "free": int(line.get("blocks_free") or 0)}
        rows.append(labels | more | went | {"cells": cells, "paper": paper, "training": trainings(cells)})
    about = {"name": path.stem, "title": title(path.stem), "scale": lines[0]["scale"], "path": str(path), "sha256": sha256_file(path)}
    split = {"ran": [row for row in rows if row["cells"]], "absent": [row for row in rows if not row["cells"]]}
    return about | {"columns": columns, "rows": rows, "note": "", "reported": True} | split


def title(table: str) -> str:
    """`Table 1: components` for `table1`; the name of a table that the paper does not have."""
    return f"Table {table.removeprefix('table')}: {TITLES[table]}" if table in TITLES else table


def gaps_of(table: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Why arms of a table were not run, and which."""
    found: dict[str, list[str]] = {}
    for row in table["absent"]:
        found.setdefault(row["why"], []).append(row["row"])
    return [{"table": table["title"], "why": why, "arms": arms} for why, arms in found.items()]


def cell_of(table: Path, line: Mapping[str, str], column: str, configfile: str) -> dict[str, Any]:
    """One cell as the page shows it."""
    path, cell = Path(line["cells"], f"{line['row']}.{column}.json"), read_cell_of(table, line, column)
    if f"{cell['value']:.6g}" != line[column]:
        raise BadRecord(f"{table} says {line[column]} for {path}, which holds {cell['value']:.6g}: make the table again with `dtr table`.")
    return shown_cell(cell, path, configfile)


def shown_cell(cell: Mapping[str, Any], path: Path, configfile: str) -> dict[str, Any]:
    """A cell as the page shows it; `path` is the file by which Snakemake makes it again."""
    column = cell["column"]
    shown = {"column": column, "value": plain(cell["value"], column), "interval": "", "counts": "", "change": "", "test": ""}
    if cell["quantity"] == "success_rate":
        i, d = cell["interval"], cell["difference"]
        shown |= {"interval": f"{100 * i['low']:.1f} to {100 * i['high']:.1f}", "counts": f"{cell['successes']}/{cell['episodes']}"}
        if d:
            low, high = d["interval"]["low"], d["interval"]["high"]
            shown["change"] = f"{100 * d['value']:+.1f} [{100 * low:+.1f}, {100 * high:+.1f}]"
            shown["test"] = (
                f"p {d['p']:.2g} (gained {d['gained']}, lost {d['lost']} of {d['both'] + d['gained'] + d['lost'] + d['neither']})"
            )
    command = ["snakemake", *(["--configfile", configfile] if configfile else []), "--", str(path)]
    return shown | {
        "path": str(path),
        "paper": said(cell["reported"], column),
        "seeds": ", ".join(str(seed) for seed in sorted({s["seed"] for s in cell.get("strata", ())})),
        "machines": [machine_line(machine) for machine in cell.get("machines", ())],
        "ancestry": [ancestor(part) for part in cell["ancestry"]],
        "command": shlex.join(command),
    }


def ancestor(part: Mapping[str, str]) -> dict[str, Any]:
    """A file that a cell was computed from, with how long it took to make and by which command."""
    return dict(part) | made(part["path"])


@cache
def made(path: str) -> dict[str, Any]:
    """Wall time and command of a file, from the run record beside it; empty when that is gone."""
    record = read_run_record(path)
    wall = f"{record['wall_s']:,.0f} s" if "wall_s" in record else ""
    played = f" for {record['played']} episodes" if "played" in record else ""
    played += f" since step {record['resumed_at']:,}" if "resumed_at" in record else ""
    return {"wall": wall + played if wall else "", "argv": shlex.join(["dtr", *record["argv"]]) if "argv" in record else ""}


def trainings(cells: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The policies whose episodes stand behind the cells: file, hash, wall time, command, and whose training it was."""
    found = {}
    for part in (part for cell in cells for part in cell["ancestry"] if part["role"] == "episodes"):
        for path in Path(part["path"]).parents[2].glob("recovered.safetensors"):
            shared = read_run_record(path).get("shared_with")
            found[str(path)] = {"path": str(path), "sha256": sha256_file(path), "shared": shared["path"] if shared else ""} | made(
                str(path)
            )
    return list(found.values())


def verdicts_of(path: Path) -> list[dict[str, str]]:
    """The lines of verdicts.csv with their numbers in percent."""
    with open(path, newline="", encoding="utf-8") as file:
        return [line | dict(shares(line)) for line in csv.DictReader(file)]


def shares(line: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Every fraction of a verdict in percent or points, its p in two digits."""
    yield "tasks_p", f"{float(line['tasks_p']):.2g}" if line.get("tasks_p") else ""
    for prefix in ("", "paper_"):
        for key in ("rate", "other_rate", "detectable"):
            yield f"{prefix}{key}", f"{100 * float(line[f'{prefix}{key}']):.1f}" if line[f"{prefix}{key}"] else ""
        yield f"{prefix}p", f"{float(line[f'{prefix}p']):.2g}" if line[f"{prefix}p"] else ""
        for key in ("difference", "low", "high"):
            yield f"{prefix}{key}", f"{100 * float(line[f'{prefix}{key}']):+.1f}" if line[f"{prefix}{key}"] else ""


def figure_of(path: Path) -> dict[str, str]:
    """A picture in the page itself."""
    data = base64.b64encode(path.read_bytes()).decode()
    return {"name": path.stem, "caption": caption(path.stem), "data": data, "path": str(path), "sha256": sha256_file(path)}
