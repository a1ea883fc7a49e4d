"""The control's own comparisons, from the cells of `dtr pressure` alone: language_pressure_contrasts.csv, in fractions.

    kind      depth    the arm minus another of the same depth that was not dropped, on the same initial states
              beyond   what a cut changes on this set beyond what it changes on another: (arm - undropped) here - (arm - undropped) there
    row set instruction what against      which arm; success or followed; against which row, or beyond which set
    value low high method p               Tango's interval and exact McNemar; of `beyond` the seeded bootstrap, stratified by task, no p
    wide_low wide_high                    of `beyond`: the interval from the two Tango intervals (MOVER)
    n gained lost  other_n other_gained other_lost      the pairs that it is counted from; `other` is the second set
    status why scale

A drop that only matches a policy of its depth that never was whole shows no use of the pretrained blocks. A drop that loses as much where
the scene says what to do as where only the instruction does has not lost language. `dtr.stats.contrast_bootstrap` has the formula.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from dtr.errors import BadRecord
from dtr.report.differences import pairs_of
from dtr.report.table1 import number
from dtr.stats import Interval, Paired, contrast_bootstrap, contrast_difference, mcnemar_exact, paired_difference

LABELS = ("row", "model", "setting", "cut", "set", "instruction")
NUMBERS = ("value", "low", "high", "method", "p", "wide_low", "wide_high", "n", "gained", "lost", "other_n", "other_gained", "other_lost")
HEAD = ("kind", *LABELS, "what", "against", *NUMBERS, "status", "why", "scale")
JUDGED = {"right": ("success",), "blank": ("success",), "swapped": ("success", "followed")}
"""Instruction -> what an episode under it is judged by."""

Key = tuple[str, str, str, str]
"""Row, set, instruction, what."""
Cells = Mapping[Key, Mapping[str, Any]]


def contrasts(played: Sequence[Mapping[str, Any]], cells: Cells, scale: str) -> list[dict[str, str]]:
    """The lines of the CSV, in the order of what was played. Raises BadRecord."""
    known = {(one["row"], one["set"], one["instruction"]): one for one in played}
    return [line(one, kind, what, against, known, cells) | {"scale": scale} for one in played for kind, what, against in asked(one)]


def asked(one: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """(kind, what, against) of every comparison that a line of `played` asks for."""
    for what in JUDGED[one["instruction"]]:
        yield from (("depth", what, rival) for rival in one.get("against", ()))
        if "beyond" in one:
            yield "beyond", what, one["beyond"]


def line(
    one: Mapping[str, Any], kind: str, what: str, against: str, known: Mapping[tuple[str, str, str], Mapping[str, Any]], cells: Cells
) -> dict[str, str]:
    """One comparison as text; the reason instead where one of its sides was not run."""
    row, name, said = one["row"], one["set"], one["instruction"]
    empty = dict.fromkeys(HEAD, "") | {key: str(one[key]) for key in LABELS} | {"kind": kind, "what": what, "against": against}
    sides = [(row, name), (against, name)] if kind == "depth" else [(row, name), (row, against)]
    for side in sides:
        if (*side, said) not in known:
            raise BadRecord(
                f"expected {side[0]} on {side[1]} under the {said} instruction in --played, because {row} on {name} names it, got none: "
                "add it, or take the name out."
            )
    for missing in (known[*side, said] for side in sides if "not_run" in known[*side, said]):
        return empty | {"status": "not run", "why": f"{missing['row']}: {missing['not_run']}"}
    if kind == "depth":
        return empty | depth(strata(cells[row, name, said, what], cells[against, name, said, what])) | {"status": "run"}
    changed = [undropped(known[*side, said], what, cells) for side in sides]
    return empty | beyond(*changed) | {"status": "run"}


def undropped(one: Mapping[str, Any], what: str, cells: Cells) -> list[Paired]:
    """An arm beside the undropped one that it is held against, task by task. Raises BadRecord."""
    keys = [(row, one["set"], one["instruction"], what) for row in (one["row"], one["baseline"])]
    if keys[1] not in cells:
        raise BadRecord(f"expected {keys[1][0]} on {keys[1][1]} in --played, which {keys[0][0]} is held against, got none: add it.")
    return strata(*(cells[key] for key in keys))


def strata(arm: Mapping[str, Any], other: Mapping[str, Any]) -> list[Paired]:
    """The pairs of two cells, one entry a suite, training seed and task. Raises BadRecord when they hold different ones."""
    pairs = pairs_of(arm, other)
    if pairs is None:
        raise BadRecord(
            f"expected {arm['row']} and {other['row']} on the same suites, training seeds, tasks and initial states ({arm['column']}), "
            "got others: roll both out under one protocol with the same seeds."
        )
    return [pairs[key] for key in sorted(pairs)]


def depth(tasks: Sequence[Paired]) -> dict[str, str]:
    """Two arms on the same initial states."""
    pairs = sum(tasks[1:], tasks[0])
    return said(pairs.difference, paired_difference(pairs)) | {"p": number(mcnemar_exact(pairs))} | counted(pairs)


def beyond(here: Sequence[Paired], there: Sequence[Paired]) -> dict[str, str]:
    """A difference of differences: the mean over tasks here minus that over tasks there."""
    pairs, others = (sum(tasks[1:], tasks[0]) for tasks in (here, there))
    wide = contrast_difference(pairs, others)
    found = said(pairs.difference - others.difference, contrast_bootstrap(here, there))
    return found | {"wide_low": number(wide.low), "wide_high": number(wide.high)} | counted(pairs) | counted(others, "other_")


def said(value: float, interval: Interval) -> dict[str, str]:
    """A difference with its interval."""
    return {"value": number(value), "low": number(interval.low), "high": number(interval.high), "method": interval.method}


def counted(pairs: Paired, prefix: str = "") -> dict[str, str]:
    """What a difference is counted from."""
    return {f"{prefix}n": str(pairs.n), f"{prefix}gained": str(pairs.gained), f"{prefix}lost": str(pairs.lost)}


def markdown(lines: Sequence[Mapping[str, str]]) -> list[str]:
    """Both kinds as tables: comparisons down, instructions across; nothing where there are none."""
    parts: list[str] = []
    for kind, title in TITLES.items():
        rows: dict[tuple[str, ...], dict[str, str]] = {}
        for entry in (one for one in lines if one["kind"] == kind):
            key = (entry["model"], entry["setting"], entry["set"], entry["against"])
            rows.setdefault(key, {})[f"{entry['instruction']}: {entry['what']}"] = shown(entry)
        if rows:
            columns = [f"{said}: {what}" for said, judged in JUDGED.items() for what in judged]
            head = ["model", "setting", "set", AGAINST[kind] + (" the set" if kind == "beyond" else ""), *columns]
            body = [[*key, *(row.get(column, "-") for column in columns)] for key, row in rows.items()]
            parts += [
                f"## {title}",
                "",
                *("| " + " | ".join(cells) + " |" for cells in (head, ["---"] * len(head), *body)),
                "",
                LEGENDS[kind],
                "",
            ]
    return parts


def shown(line: Mapping[str, str]) -> str:
    """One comparison for people, in points: `-5.0 [-11.2, -1.1] p 0.062 (0 gained, 5 lost of 100)`."""
    if line["status"] != "run":
        return "not run"
    points = {key: f"{100 * float(line[key]):+.1f}" for key in ("value", "low", "high", "wide_low", "wide_high") if line[key]}
    text = f"{points['value']} [{points['low']}, {points['high']}]"
    text += f" p {float(line['p']):.2g}" if line["p"] else f", wide [{points['wide_low']}, {points['wide_high']}]"
    text += f" ({line['gained']} gained, {line['lost']} lost of {line['n']}"
    return text + (f"; there {line['other_gained']}, {line['other_lost']} of {line['other_n']})" if line["other_n"] else ")")


TITLES = {"depth": "against policies of the same depth that were not dropped", "beyond": "beyond what it changes on another set"}
AGAINST = {"depth": "against", "beyond": "beyond"}
"""Kind -> the word between an arm and what it is held against."""
LEGENDS = {
    "depth": "Points: the arm minus the named one on the same initial states, Tango's 95 % interval, exact McNemar p, not corrected for "
    "the number of comparisons. A drop that only matches a policy which never was whole shows no use of the pretrained blocks.",
    "beyond": "Points: the arm minus its undropped policy on this set, minus the same on the other set; below zero, the cut takes more "
    "here. The first 95 % interval is a bootstrap of the pairs within each task (10,000 draws, seed 0), which has no width where no pair "
    "differs. The wide one follows from the two sets' Tango intervals, keeps its width there, and does not use that tasks are strata. "
    "Do not trust a contrast where one of them holds zero; where neither does it is one of these tasks, and may be one task's alone. "
    "Nothing is corrected for the number of comparisons.",
}
"""Kind -> how to read it. None of it covers other training seeds, or other tasks."""
