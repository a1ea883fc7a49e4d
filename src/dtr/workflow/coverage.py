"""Verb `coverage`: docs/coverage.md, each item of the paper with what was run of it here, what it would cost, or why it is impossible.

The items are a sheet (config/experiments/coverage.tsv); the rest follows from the sheets of arms, from dvc.lock (what is cached was run)
and from the estimate of everything from nothing, so that every clone writes the same page. A test holds the page to it.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dtr.errors import BadConfig
from dtr.provenance import write_text
from dtr.workflow import cached, dvcfile, paths
from dtr.workflow.bill import summed
from dtr.workflow.estimate import Estimator
from dtr.workflow.planned import read_targets
from dtr.workflow.resources import training_s
from dtr.workflow.sizes import Size
from dtr.workflow.targets import Targets

ITEMS, PAGE = Path("config/experiments/coverage.tsv"), Path("docs/coverage.md")
HERE, PAPER = "config/embedded.yaml", "config/paper.yaml"
ROBOTWIN_S = 60.0
"""An episode of RoboTwin beside a GPU: a guess, nobody has played one here. Its pictures are ray-traced."""
HEAD = """\
# What of the paper is run

Written by `dtr coverage` from `config/experiments/coverage.tsv`, the sheets and `dvc.lock`; do not edit. *Here* is the embedded scale: two
cores, narrow policies, four small suites. GPU-hours are of the paper's own scale, each item alone and from nothing, at rates most of which
are guesses (`dtr estimate results/table3.csv --config config/paper.yaml` prints them, and their basis); shared work counts in each item.

| item | what | here | at the paper's scale |
|---|---|---|---|
"""


def here(targets: Targets, table: str, known: set[str]) -> str:
    """How many rows of a table were run at this scale, and whether the table itself is cached."""
    if table not in targets.sheets:
        return "not planned"
    planned = targets.running(table)
    ran = [arm for arm in planned if known.issuperset(behind(targets, table, arm.row))]
    whole = paths.TABLE.format(scale=targets.scale, sample="", table=table) in known
    if whole and len(ran) == len(planned):
        return f"run: {len(ran)} of {len(targets.sheets[table])} rows"
    return f"planned: {len(planned)} of {len(targets.sheets[table])} rows, {len(ran) or 'none'} of them run"


def behind(targets: Targets, table: str, row: str) -> list[str]:
    """The first policy and the episodes behind a row."""
    arm = targets.arm(table, row)
    rates = [column for column in targets.columns(table) if column in {*targets.config["suites"], *targets.config.get("variants", {})}]
    return [targets.recovered(arm), *(path for column in rates for path in targets.episodes(arm, column, "", table))]


def cost(targets: Targets, table: str) -> str:
    """The estimate of a table from nothing."""
    if table not in targets.sheets or not targets.running(table):
        return "not planned"
    found = summed(Estimator(targets, fresh=True).jobs(cached.collect(targets).used[table]))
    disk_gb = found["kept_gb"] + found["work_gb"]
    return f"planned: {len(targets.running(table))} rows, about {found['gpu_hours']:,.0f} GPU-hours, {disk_gb:,.0f} GB of disk; not run"


def elsewhere(targets: Targets, sheet: Path) -> str:
    """What is planned in a sheet that no rule reads, because its simulator has an environment of its own: a training a row and task."""
    rows, estimator = read(sheet, "the arms"), Estimator(targets, fresh=True)
    arms, tasks = (len({row[name] for row in rows}) for name in ("row", "task"))
    episodes, trainings = sum(int(row["trials"]) for row in rows), {(row["row"], row["task"]): row for row in rows}
    training = sum(training_s(*what_of(estimator, row)) for row in trainings.values()) / 3600
    playing = episodes * ROBOTWIN_S / 3600
    return (
        f"planned by hand: {arms} arms, {tasks} task{'s' * (tasks > 1)} (`{sheet}`), {len(trainings)} trainings, about {training:,.0f} "
        f"GPU-hours, and {episodes:,} episodes, guessed at {ROBOTWIN_S:.0f} s each: about {playing:,.0f} GPU-hours; not run"
    )


def what_of(estimator: Estimator, row: Mapping[str, str]) -> tuple[dict[str, int], Size, Size, float]:
    """The training of a row: its recipe, the policy's size before and after the cut, and what one GPU does a second."""
    policy = row["policy"]
    recipe = {name: int(row[name]) for name in ("steps", "batch")}
    return recipe, estimator.size(policy), estimator.size(policy, row["cut"]), estimator.rate("training", policy).per_s


def read(path: Path, what: str) -> list[dict[str, str]]:
    """The rows of a sheet. Raises BadConfig when it cannot be read."""
    try:
        with open(path, encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file, delimiter="\t"))
    except (OSError, UnicodeDecodeError) as error:
        raise BadConfig(f"expected {what} at {path}, but it cannot be read ({error}): check it out again.") from error


def page() -> str:
    """The text of docs/coverage.md. Raises BadConfig where a sheet cannot be read."""
    items = read(ITEMS, "the items of the paper")
    small, large, known = read_targets(HERE), read_targets(PAPER), set(dvcfile.read_lock())
    lines = []
    for item in items:
        note, target = item["note"], item["target"]
        if item["kind"] == "none":
            cells = [note, "-"]
        elif item["kind"] == "sheet":
            cells = [note, elsewhere(large, Path(target))]
        elif item["kind"] == "file":
            cells = [f"{'run' if f'results/{small.scale}/{target}' in known else 'planned'}: {note}", "follows from the tables"]
        else:
            cells = [here(small, target, known) + ("" if note == "-" else f"; {note}"), cost(large, target)]
        lines.append(f"| {item['item']} | {item['what']} | {cells[0]} | {cells[1]} |\n")
    return HEAD + "".join(lines) + "".join(gap(small, item["target"]) for item in items if item["target"] in small.sheets)


def gap(targets: Targets, table: str) -> str:
    """The rows of a table that do not run here, with the sheet's reasons."""
    notes: dict[str, list[str]] = {}
    for arm in targets.sheets[table]:
        if not arm.runs(targets.scale):
            notes.setdefault(arm.note, []).append(f"`{arm.row}`")
    lines = [f"- {', '.join(rows)}: {note}\n" for note, rows in notes.items()]
    return f"\n## Not run here: {table}\n\n" + "".join(lines) if lines else ""


def write() -> bool:
    """Bring docs/coverage.md up to date; whether it was not."""
    text = page()
    if PAGE.exists() and PAGE.read_text(encoding="utf-8") == text:
        return False
    write_text(PAGE, text)
    return True


def add_parser(verbs: Any) -> None:
    """Declare `dtr coverage`."""
    p = verbs.add_parser("coverage", help="write docs/coverage.md: each item of the paper, run, planned with its cost, or impossible")
    p.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """The verb."""
    if not dvcfile.DVC.exists():
        raise BadConfig(f"there is no dvc.yaml in {Path.cwd()}: change to the repository's own folder.")
    print(f"{PAGE} {'is new' if write() else 'was up to date'}")
