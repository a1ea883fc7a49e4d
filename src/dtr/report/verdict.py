"""Verb `verdict`: every claim of the paper against our cells, and against the paper's own published counts (dtr.report.evidence).

One line a claim in verdicts.csv (fractions) and verdicts.md (percent):
    claim text source rule margin table row other column      the sheet
    verdict rate other_rate n difference low high p test      at this scale
    bootstrap_low bootstrap_high detectable noise why
    paper_...                                                 the same of the paper's numbers
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from dtr.errors import BadRecord
from dtr.provenance import read_json, write_text
from dtr.report.cell import read_cell
from dtr.report.claims import Claim, read_claims
from dtr.report.evidence import Cell, Evidence, beside, of_cells, of_paper
from dtr.report.reported import reported
from dtr.report.table1 import csv_text

Key = tuple[str, str, str]


def add_parser(verbs: Any) -> None:
    """Declare `dtr verdict`."""
    p = verbs.add_parser("verdict", help="hold every claim of the paper against our cells and against its own numbers")
    p.add_argument("--claims", type=Path, required=True, help="sheet of claims (config/experiments/claims.tsv)")
    p.add_argument("--cells", type=Path, nargs="*", default=[], help="success cells of the rows that the claims name and that were run")
    p.add_argument("--reported", type=Path, required=True, help="folder of the paper's numbers: results/reported")
    p.add_argument("--scale", required=True, help="scale of the cells")
    p.add_argument("--out", type=Path, required=True, help="verdicts.csv; the same as markdown goes beside it")
    p.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Judge and write."""
    claims, cells = read_claims(args.claims), dict[Key, Cell]()
    for cell in map(read_cell, args.cells):
        cells[cell["table"], cell["row"], cell["column"]] = cell
        if cell["scale"] != args.scale or cell["quantity"] != "success_rate":
            raise BadRecord(
                f"expected success rates at the scale {args.scale}, got {cell['quantity']} at {cell['scale']}: correct --cells."
            )
    judged = []
    for claim in claims:
        paper = theirs(claim, args.reported)
        judged.append((claim, beside(ours(claim, cells, args.scale), paper), paper))
    write_text(args.out, csv_text([line(*one) for one in judged]))
    write_text(args.out.with_suffix(".md"), markdown(judged, args.scale))
    said = Counter(own.verdict for _, own, _ in judged)
    print(f"{args.out}: {', '.join(f'{count} {verdict}' for verdict, count in said.items())}")


def ours(claim: Claim, cells: dict[Key, Cell], scale: str) -> Evidence:
    """What our cells say about a claim."""
    have = {row: cells.get((claim.table, row, claim.column)) for row in (claim.row, claim.other)}
    missing = [row for row, cell in have.items() if cell is None]
    if missing:
        return Evidence("not comparable", why=f"not run at the scale {scale}: {', '.join(missing)} of {claim.table}")
    plans = {plan_behind(cell) for cell in have.values()}
    if len(plans) == 1 and None not in plans:
        return Evidence("not comparable", why="both arms kept the same blocks here: one policy is behind both, and nothing is to compare")
    return of_cells(claim, have[claim.row], have[claim.other])  # type: ignore[arg-type]


def plan_behind(cell: Cell | None) -> tuple[str, str] | None:
    """(digest of the plan, data and recipe) of the policies behind a cell; None where the plan is not here."""
    own = next((Path(part["path"]) for part in (cell or {}).get("ancestry", ()) if part["role"] == "episodes"), None)
    if own is None or len(own.parents) < 5 or not (plan := own.parents[4] / "plan.json").is_file():
        return None
    return str(read_json(plan)["digest"]), own.parents[3].name


def theirs(claim: Claim, folder: Path) -> Evidence:
    """What the paper's own numbers say about it."""
    path = folder / f"{claim.table}.csv"
    values = [known["value"] if (known := reported(path, row, claim.column)) else None for row in (claim.row, claim.other)]
    return of_paper(claim, *values)


def line(claim: Claim, own: Evidence, paper: Evidence) -> dict[str, str]:
    """The CSV's text of one claim."""
    values = asdict(claim) | own.line() | paper.line("paper_")
    del values["paper_bootstrap_low"], values["paper_bootstrap_high"]
    return {key: "" if v is None else f"{v:.6g}" if isinstance(v, float) else str(v) for key, v in values.items()}


def markdown(judged: Sequence[tuple[Claim, Evidence, Evidence]], scale: str) -> str:
    """The verdicts for people."""
    head = ["claim", "rule", f"here ({scale})", "the paper's own numbers"]
    body = [
        [f"{claim.text}<br>{claim.source}; {claim.row} against {claim.other}, {claim.column}", rule(claim), shown(own), shown(paper)]
        for claim, own, paper in judged
    ]
    table = ["| " + " | ".join(cells) + " |" for cells in (head, ["---"] * len(head), *body)]
    return "\n".join(["# verdicts", "", *table, "", LEGEND, ""])


def rule(claim: Claim) -> str:
    """The rule in words."""
    points = f"{100 * claim.margin:g} points"
    words = {"greater": "better", "less": "worse", "not_worse": f"not worse by {points} or more"}[claim.rule]
    return words + (f" by more than {points}" if claim.margin and claim.rule != "not_worse" else "")


def shown(e: Evidence) -> str:
    """One side for people, in percent and points."""
    if e.difference is None or e.low is None or e.high is None or e.p is None or e.rate is None or e.other_rate is None:
        return f"**{e.verdict}**<br>{e.why}"
    change = f"{100 * e.difference:+.1f} [{100 * e.low:+.1f}, {100 * e.high:+.1f}]"
    numbers = f"{100 * e.rate:.1f} against {100 * e.other_rate:.1f} (n {e.n}): {change}"
    could = f"<br>would have shown {100 * e.detectable:.1f}" if e.detectable is not None and e.verdict == "underpowered" else ""
    return f"**{e.verdict}**<br>{numbers}, p {e.p:.2g}{could}<br>noise covered: {e.noise}" + (f"<br>{e.why}" if e.why else "")


LEGEND = """`holds`: the whole 95 % interval of the difference (points) lies in what is claimed; `does not hold`: all of it lies outside;
`underpowered`: it holds both answers, and the smallest difference that this many episodes show in four of five repetitions stands beside
it; `not comparable`: a number does not exist here, or one policy is behind both. Margins are this project's: the paper states none. Here:
paired on the same initial states, Tango's interval (over several training seeds Student's t), exact McNemar p. The paper's: counts from its
percentages at 500 episodes a suite, taken as independent, Newcombe's interval, Fisher's exact p. Where the rule is "not worse", p is
one-sided, of non-inferiority (Tango's; Newcombe's interval turned round), and decides at 0.025. No p is corrected for the number of claims.
Noise of evaluation alone says nothing about other training seeds."""
