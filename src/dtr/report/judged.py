"""Claims with both sides of their evidence, as text: a line of verdicts.csv, and the table of verdicts.md."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from dtr.report.claims import RATIOS, Claim
from dtr.report.evidence import Evidence

OURS_ALONE = ("bootstrap_low", "bootstrap_high", "between_seeds", "training_sd", "tasks", "tasks_better", "tasks_worse", "tasks_p")
"""What the paper's numbers do not have."""


def line(claim: Claim, own: Evidence, paper: Evidence) -> dict[str, str]:
    """The CSV's text of one claim."""
    values = asdict(claim) | own.line() | paper.line("paper_")
    for key in OURS_ALONE:
        del values[f"paper_{key}"]
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
    words = {
        "greater": "better",
        "less": "worse",
        "not_worse": f"not worse by {points} or more",
        "ratio_at_least": f"at least {claim.margin:g} times",
        "ratio_at_most": f"at most {claim.margin:g} times",
        "same_blocks": "the same blocks",
    }[claim.rule]
    contrast = " in the first column than in the second" if "-" in claim.column else ""
    return words + contrast + (f" by more than {points}" if claim.margin and claim.rule not in ("not_worse", *RATIOS) else "")


def shown(e: Evidence) -> str:
    """One side for people, in percent and points."""
    if e.difference is None or e.low is None or e.high is None or e.p is None or e.rate is None or e.other_rate is None:
        return f"**{e.verdict}**<br>{e.why}"
    change = f"{100 * e.difference:+.1f} [{100 * e.low:+.1f}, {100 * e.high:+.1f}]"
    numbers = f"{100 * e.rate:.1f} against {100 * e.other_rate:.1f} (n {e.n}): {change}"
    could = f"<br>would have shown {100 * e.detectable:.1f}" if e.detectable is not None and e.verdict == "underpowered" else ""
    seeds = f", spread of d {100 * e.between_seeds:.1f}, training's {100 * (e.training_sd or 0):.1f}" if e.between_seeds is not None else ""
    said = "".join(f"<br>{text}" for text in (by_task(e), e.why) if text)
    return f"**{e.verdict}**<br>{numbers}, p {e.p:.2g} ({e.test}){could}<br>noise covered: {e.noise}{seeds}{said}"


def by_task(e: Evidence) -> str:
    """On how many tasks there is a difference; empty where it is not known or there is none."""
    if e.tasks is None or not (e.tasks_better or e.tasks_worse):
        return ""
    return f"better on {e.tasks_better}, worse on {e.tasks_worse} of {e.tasks} tasks (sign flips p {e.tasks_p:.2g})"


LEGEND = """`holds`: the whole 95 % interval of the difference d (points) lies in what is claimed; `does not hold`: all of it lies outside;
`underpowered`: it holds both answers; `not comparable`: a number does not exist here, one policy is behind both, or
it follows from shapes that this scale chose (size, FLOPs, memory). Interval and p can
disagree where little differs: a score interval is no inversion of an exact test. Where the question is better or worse at all, both must
say so (the interval leaves 0 out and p is at most 0.05), else it is `underpowered`; with a margin the interval decides. Beside an
`underpowered`: the smallest difference that this many episodes show in four of five repetitions, or of "not worse" the smallest margin
that they would have shown for equal rates. Margins are this project's: the paper states none; those of ratios are the paper's ratios,
rounded to the weaker side, and numbers without an interval are compared as they are. Here: paired on the same initial states, Tango's
interval, exact McNemar p; over several training seeds Student's t, and never narrower than that, with the spread of d over them. The
paper's: counts from its percentages at 500 episodes a suite, taken as independent, Newcombe's interval, Fisher's exact p. Where the rule
is "not worse", p is one-sided, of non-inferiority (Tango's; Newcombe's interval turned round), and below 0.025 where it holds; with another
margin it is of a difference as large as that. No p is corrected for the number of claims. Noise of evaluation alone says nothing about
other training seeds, nor about other tasks: the states of one task often end alike, and one task can be all of a difference. On how many
tasks there is one stands beside it, with the exact p that the tasks' differences have their signs by
chance (of no difference at all, whatever the margin); with fewer than six tasks
that differ it cannot be below 0.05, whatever the number of episodes."""
