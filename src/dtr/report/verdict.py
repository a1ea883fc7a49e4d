"""Verb `verdict`: every claim of the paper against our cells (dtr.report.ours), and against the paper's own numbers (dtr.report.theirs).

One line a claim in verdicts.csv (fractions) and verdicts.md (percent; dtr.report.judged):
    claim text source rule margin table row other column      the sheet
    verdict rate other_rate n difference low high p test      at this scale
    bootstrap_low bootstrap_high detectable                   with one training seed
    between_seeds training_sd                                 with several: the spread of d seen, and the part of it that is training's
    tasks tasks_better tasks_worse tasks_p                    on how many tasks d shows (dtr.stats.tasks)
    ratio noise why
    paper_...                                                 the same of the paper's numbers
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from dtr.dropping.same_blocks import blocks_digest
from dtr.errors import BadRecord
from dtr.provenance import write_text
from dtr.records import read_given, read_record
from dtr.report.behind import behind, episodes_of
from dtr.report.cell import read_cell
from dtr.report.claims import RATIOS, Claim, Place, read_claims
from dtr.report.differences import Cell
from dtr.report.evidence import COUNTED, Evidence, beside, of_blocks, of_ratio
from dtr.report.judged import line, markdown
from dtr.report.ours import of_cells
from dtr.report.reported import reported
from dtr.report.table1 import csv_text
from dtr.report.theirs import of_paper

ELSEWHERE = {
    "figure2": "a real robot: it and its data are not public",
    "figure3": "a real robot: it and its data are not public",
    "figure4": "RoboTwin 2.0, which nothing here can draw (docs/robotwin.md)",
}
"""Why what a figure of the paper shows has no cell."""
SHAPED = (*COUNTED, "memory_gib")
MATCHED = "table4"
"""Its claims are about recoveries that cost the same FLOPs."""


def add_parser(verbs: Any) -> None:
    """Declare `dtr verdict`."""
    p = verbs.add_parser("verdict", help="hold every claim of the paper against our cells and against its own numbers")
    p.add_argument("--claims", type=Path, required=True, help="sheet of claims (config/experiments/claims.tsv)")
    p.add_argument("--cells", type=Path, nargs="*", default=[], help="the cells that the claims name and that were run")
    p.add_argument("--plans", default="{}", help="JSON: `table/row` -> plan.json, of the claims that two cuts keep the same blocks")
    p.add_argument("--reported", type=Path, required=True, help="folder of the paper's numbers: results/reported")
    p.add_argument("--scale", required=True, help="scale of the cells")
    p.add_argument("--out", type=Path, required=True, help="verdicts.csv; the same as markdown goes beside it")
    p.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Judge and write."""
    claims, cells, plans = read_claims(args.claims), dict[Place, Cell](), read_plans(args.plans)
    for cell in map(read_cell, args.cells):
        cells[cell["table"], cell["row"], cell["column"]] = cell
        if cell["scale"] != args.scale:
            raise BadRecord(
                f"expected cells at the scale {args.scale}, got {cell['row']}.{cell['column']} at {cell['scale']}: correct --cells."
            )
    judged = []
    for claim in claims:
        paper = theirs(claim, args.reported)
        judged.append((claim, beside(ours(claim, cells, plans, args.scale), paper), paper))
    write_text(args.out, csv_text([line(*one) for one in judged]))
    write_text(args.out.with_suffix(".md"), markdown(judged, args.scale))
    said = Counter(own.verdict for _, own, _ in judged)
    print(f"{args.out}: {', '.join(f'{count} {verdict}' for verdict, count in said.items())}")


def read_plans(text: str) -> dict[str, str]:
    """`table/row` -> one name for the blocks that its plan keeps. Raises BadConfig, or what reading a plan raises."""
    paths = read_given(text, "--plans", dict)
    return {place: blocks_digest(read_record(path, "plan")) for place, path in paths.items()}


def ours(claim: Claim, cells: Mapping[Place, Cell], plans: Mapping[str, str], scale: str) -> Evidence:
    """What our cells say about a claim; of a claim about blocks, what the plans say, trained or not."""
    places = claim.places()
    if claim.rule == "same_blocks":
        return of_blocks([plans.get(f"{table}/{row}") for table, row, _ in places])
    missing = dict.fromkeys(f"{row} of {table}" for table, row, column in places if (table, row, column) not in cells)
    if missing:
        return Evidence("not comparable", why=ELSEWHERE.get(claim.table, f"not run at the scale {scale}: {', '.join(missing)}"))
    have = [cells[place] for place in places]
    if (claim.rule in RATIOS) == any(cell["quantity"] == "success_rate" for cell in have):
        got = ", ".join(cell["quantity"] for cell in have)
        raise BadRecord(
            f"{claim.claim}: expected a rule of ratios for what is no success rate, got {claim.rule} of {got}: correct the sheet."
        )
    if claim.rule in RATIOS:
        return of_shapes(of_ratio(claim, have[0]["value"], have[1]["value"]), claim, scale)
    policies = {policy and (policy.blocks, policy.training) for policy in map(behind, have)}
    if len(policies) == 1 and None not in policies:
        return Evidence("not comparable", why="both arms kept the same blocks here: one policy is behind both, and nothing is to compare")
    if len(recipes := recovered_by(have)) < 2:
        return of_cells(claim, *have)
    said = f"recovered by {' and '.join(recipes)}"
    if claim.table == MATCHED:
        return Evidence("not comparable", why=f"{said}, so not at equal training FLOPs")
    found = of_cells(claim, *have)
    return replace(found, why="; ".join(text for text in (found.why, said) if text))


def of_shapes(found: Evidence, claim: Claim, scale: str) -> Evidence:
    """A share of parameters, FLOPs or memory follows from shapes, and is no evidence where we chose those."""
    if claim.column not in SHAPED or scale == "paper":
        return found
    return replace(found, verdict="not comparable", why=f"{found.why}; this scale's policy has other shapes than the paper's, by choice")


def recovered_by(cells: Sequence[Cell]) -> list[str]:
    """The data and recipes of the dropped policies behind some cells, one after another; the undropped one is the paper's own yardstick."""
    paths = [path for cell in cells for path in episodes_of(cell)]
    return list(dict.fromkeys(path.parents[3].name for path in paths if len(path.parents) > 4 and path.parents[4].name != "none"))


def theirs(claim: Claim, folder: Path) -> Evidence:
    """What the paper's own numbers say about it."""
    known = [reported(folder / f"{table}.csv", row, column) for table, row, column in claim.places()]
    return of_paper(claim, *(one["value"] if one else None for one in known))
