"""What a scale shows beside its tables: figures, verdicts, the report; each from the cells and records of the arms that run there.

scores-<policy>    curves   frontier   tasks   costs            results/<scale>/figures/<figure>.png and .pdf
strength                                                        where a table shows a category of perturbations
reported-figure2   reported-figure3   reported-figure4          the paper's own numbers, of what is not run
failures.<table>.<row>.<column>                                 of the first arm of each policy, on the last suite
failures-cut.<policy>.<column>                                  of its cut arms, of which the verb picks one by their episodes
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

from dtr.dropping.cut import parse_cut
from dtr.provenance import digest
from dtr.report.claims import Claim, read_claims
from dtr.sim.perturbations.variant import split
from dtr.workflow import paths
from dtr.workflow.config import Arm
from dtr.workflow.targets import AVERAGE, Targets

REPORTED = ("reported-figure2", "reported-figure3", "reported-figure4")


class Exhibits:
    """The figures, verdicts and report that one configuration can build."""

    def __init__(self, targets: Targets) -> None:
        self.targets = targets

    def arms(self) -> list[tuple[str, Arm]]:
        """(table, arm) of everything that runs and reports a success rate, each trained policy once, in the order of the tables."""
        found: dict[str, tuple[str, Arm]] = {}
        for table in self.targets.sheets:
            for arm in self.targets.running(table):
                found.setdefault(self.targets.recovered(arm), (table, arm))
        return list(found.values())

    def trained(self) -> list[Arm]:
        """The arms that were recovered by training."""
        return [arm for _, arm in self.arms() if arm.method == "-"]

    def figures(self) -> list[str]:
        """The names of all figures but the failures."""
        policies = dict.fromkeys(arm.policy for _, arm in self.arms())
        strength = ["strength"] if self.perturbed() else []
        return [*(f"scores-{policy}" for policy in policies), "curves", "frontier", "tasks", "costs", *strength, *REPORTED]

    def perturbed(self) -> list[str]:
        """The cells of every running arm in the columns that show perturbations."""
        variants = self.targets.config.get("variants", {})
        shown = {column for column, of in variants.items() if any(split(f"suite+{variant}")[1].perturbation for variant in of)}
        return [
            self.cell(table, arm.row, column)
            for table in self.targets.sheets
            for arm in self.targets.running(table)
            for column in self.targets.columns(table)
            if column in shown
        ]

    def files(self, figure: str) -> list[str]:
        """What a figure is drawn from."""
        t = self.targets
        if figure.startswith("scores-"):
            return self.scores(figure.removeprefix("scores-"))
        if figure in REPORTED:
            return [paths.REPORTED.format(table=figure.removeprefix("reported-"))]
        if figure == "strength":
            return self.perturbed()
        if figure == "curves":
            return [t.recovered(arm) for arm in self.trained()]
        if figure == "costs":
            return list(dict.fromkeys(t.cost(arm) for arm in self.trained()))
        columns = ["flops", AVERAGE] if figure == "frontier" else [AVERAGE]
        return [
            self.cell(table, arm.row, column) for table, arm in self.arms() if set(columns) <= set(t.columns(table)) for column in columns
        ]

    def plans(self, figure: str) -> list[str]:
        """The plans by which a figure tells that arms are one policy."""
        if figure not in ("curves", "frontier", "tasks"):
            return []
        return list(dict.fromkeys(self.targets.plan(arm) for _, arm in self.arms()))

    def scores(self, policy: str) -> list[str]:
        """The score files of a policy: of the metrics that the configuration names, or GateProbe and those of the arms that run."""
        t = self.targets
        used = [metric for _, arm in self.arms() if arm.policy == policy for metric in parse_cut(arm.cut).metrics]
        return [t.score(policy, metric) for metric in t.config.get("profile", list(dict.fromkeys(["gateprobe", *used])))]

    def cell(self, table: str, row: str, column: str) -> str:
        """The path of a cell."""
        return paths.CELL.format(scale=self.targets.scale, sample="", table=table, row=row, column=column)

    def drawn(self) -> list[str]:
        """The PNG of every figure."""
        t = self.targets
        named = [paths.FIGURE.format(scale=t.scale, sample="", figure=figure) for figure in self.figures()]
        sheets = [(paths.FAILURES, {"table": table, "row": row, "column": column}) for table, row, column in self.failing()]
        sheets += [(paths.CUT_FAILURES, {"policy": policy, "column": column}) for policy, column in self.failing_cuts()]
        return named + [sheet.format(scale=t.scale, sample="", **fields) for sheet, fields in sheets]

    def failing(self) -> list[tuple[str, str, str]]:
        """(table, row, column) of the contact sheets: every policy's undropped arm on the last suite, which is the hardest."""
        t, last = self.targets, list(self.targets.config["suites"])[-1]
        first: dict[str, tuple[str, str, str]] = {}
        for table, arm in self.arms():
            if last in t.columns(table):
                first.setdefault(arm.policy, (table, arm.row, last))
        return list(first.values())

    def failing_cuts(self) -> list[tuple[str, str]]:
        """(policy, column) of the contact sheets of cuts. Which arm it is of no path says, since only its episodes tell."""
        played = {self.targets.arm(table, row).policy: column for table, row, column in self.failing()}
        return [(policy, column) for policy, column in played.items() if self.cuts(policy, column)]

    def cuts(self, policy: str, column: str) -> list[Arm]:
        """The cut arms of a policy that were recovered by training and play a suite under one protocol: under two no rates compare."""
        t = self.targets
        arms = [arm for table, arm in self.arms() if (arm.policy, arm.method) == (policy, "-") and column in t.columns(table)]
        return [arm for arm in arms if arm.cut != "none" and t.protocol(arm, "") == t.protocol(arms[0], "")]

    def claims(self) -> list[Claim]:
        """The claims of the sheet."""
        return read_claims(Path(self.targets.folder, paths.CLAIMS))

    def claimed(self) -> dict[str, Arm]:
        """The cells that the claims name and that this scale has, each with its arm."""
        t = self.targets
        shown = {table: (t.columns(table), {arm.row: arm for arm in t.running(table)}) for table in t.sheets}
        found: dict[str, Arm] = {}
        for table, row, column in (place for claim in self.claims() for place in claim.places()):
            columns, runs = shown.get(table, ((), {}))
            if column in columns and row in runs:
                found[self.cell(table, row, column)] = runs[row]
        return found

    def claimed_plans(self) -> list[str]:
        """The plans behind them: two arms that kept the same blocks are one policy, of which no claim can be true."""
        return list(dict.fromkeys(map(self.targets.plan, self.claimed().values())))

    def compared(self) -> dict[str, Arm]:
        """`table/row` -> arm of every claim that two cuts keep the same blocks: scores alone decide it, trained or not."""
        t, found = self.targets, dict[str, Arm]()
        for table, row, _ in (place for claim in self.claims() if claim.rule == "same_blocks" for place in claim.places()):
            arm = next((arm for arm in t.sheets.get(table, ()) if arm.row == row), None)
            if arm is not None and arm.policy in t.config["policies"]:
                found[f"{table}/{row}"] = arm
        return found

    def compared_plans(self) -> dict[str, str]:
        """`table/row` of each of them -> its plan."""
        return {place: self.targets.plan(arm) for place, arm in self.compared().items()}

    def claims_digest(self) -> str:
        """A digest of the claims and of the paper's numbers that they are about."""
        claims = self.claims()
        tables = sorted({table for claim in claims for table, _, _ in claim.places()})
        return digest([[asdict(claim) for claim in claims], *map(self.targets.reported_digest, tables)])

    def tables(self) -> list[str]:
        """The CSV of every table of the scale."""
        return [paths.TABLE.format(scale=self.targets.scale, sample="", table=table) for table in self.targets.sheets]

    def cells(self) -> list[str]:
        """Every cell of every table."""
        return [cell for table in self.targets.sheets for cell in self.targets.cells(table, "")]


def words(names: Iterable[str]) -> str:
    """Names as an alternative of a regular expression."""
    return "|".join(names) or "(?!)"
