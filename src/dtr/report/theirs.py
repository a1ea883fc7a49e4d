"""What the paper's own printed numbers say about a claim.

Of a rate k of n: from the printed percentage and n = 500 episodes a suite, 2 000 for an average (its model cards). Its text says 20 trials
a task, 200 episodes a suite: where that would change the verdict, the line says so. Which episodes failed is not published, so the counts
are independent: Newcombe's interval, Fisher's exact p at margin 0, else Newcombe's interval turned round. It covers evaluation alone.
How many episodes stand behind LIBERO-Plus, RoboTwin and the real robot is not known to us: nothing is decided there.
"""

from __future__ import annotations

from scipy.stats import norm

from dtr.report.claims import RATIOS, Claim
from dtr.report.evidence import EVALUATION, Evidence, of_ratio
from dtr.stats import (
    detectable_margin_unpaired,
    detectable_unpaired,
    fisher_p,
    non_inferior_unpaired_p,
    turned_round,
    unpaired_difference,
)

EPISODES_A_SUITE = 500
EPISODES_IN_THE_TEXT = 200
SUITES = 4
ON_LIBERO = ("table1", "table2", "table3", "table4", "table5", "table7")


def of_paper(claim: Claim, *values: float | None) -> Evidence:
    """What the paper's printed numbers of a claim's places say."""
    known = [value for value in values if value is not None]
    if len(known) < len(values):
        return Evidence("not comparable", why="the paper prints no such number that we know")
    if claim.rule in RATIOS:
        return of_ratio(claim, *known)
    if claim.rule == "same_blocks":
        return Evidence("holds" if known[0] == known[1] else "does not hold", why="the paper prints the same number for the same blocks")
    if claim.table in ON_LIBERO and len(known) == 2:
        return of_rates(claim, *known)
    if len(known) > 2:
        known = [known[0] - known[1], known[2] - known[3]]
    d = known[0] - known[1]
    lack = "is not known to us" if claim.table not in ON_LIBERO else "would have to be tested four at a time"
    why = f"{100 * known[0]:.1f} against {100 * known[1]:.1f}, {100 * d:+.1f} points; how many episodes stand behind them {lack}"
    return Evidence("not comparable", known[0], known[1], difference=d, why=why)


def of_rates(claim: Claim, value: float, other: float) -> Evidence:
    """What two printed rates on LIBERO say."""
    suites = SUITES if claim.column == "average" else 1
    own, in_text = (counted(claim, value, other, episodes * suites) for episodes in (EPISODES_A_SUITE, EPISODES_IN_THE_TEXT))
    if in_text.verdict == own.verdict:
        return own
    why = f"{in_text.verdict} at the 20 trials a task of its text (n {in_text.n})"
    return Evidence(**own.line() | {"why": why})


def counted(claim: Claim, value: float, other: float, n: int) -> Evidence:
    """The same rates as counts of n episodes."""
    k, k0 = round(value * n), round(other * n)
    interval, d = unpaired_difference(k, n, k0, n), (k - k0) / n
    p, test, detectable = fisher_p(k, n, k0, n), "fisher-exact", detectable_unpaired(k0 / n, n, n)
    if claim.rule == "not_worse":
        p, test = non_inferior_unpaired_p(k, n, k0, n, claim.margin), "newcombe-non-inferiority"
        detectable = detectable_margin_unpaired(k0 / n, n, n)
    elif claim.margin:
        z = turned_round(lambda level: unpaired_difference(k, n, k0, n, level), d, claim.threshold)
        p, test, detectable = 2 * float(norm.sf(abs(z))), "newcombe", None
    return Evidence(
        verdict=claim.decide(interval, p),
        rate=k / n,
        other_rate=k0 / n,
        n=n,
        difference=d,
        low=interval.low,
        high=interval.high,
        p=p,
        test=test,
        detectable=detectable,
        noise=EVALUATION,
    )
