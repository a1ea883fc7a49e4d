"""The sheet of claims: rows and columns that exist, all that the paper says, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from dtr.errors import BadConfig
from dtr.report.claims import RATIOS, read_claims
from dtr.report.reported import read_reported
from dtr.report.theirs import of_paper

ROOT = Path(__file__).parents[2]
SHEET = ROOT / "config/experiments/claims.tsv"


def printed() -> dict[tuple[str, str, str], dict[str, str]]:
    files = (ROOT / "results/reported").glob("*.csv")
    return {(path.stem, line["row"], line["column"]): line for path in files for line in read_reported(path)}


def test_every_claim_names_rows_and_columns_that_exist() -> None:
    known = printed()
    for one in read_claims(SHEET):
        assert set(one.places()) <= set(known), one.claim
        tables = list(dict.fromkeys(table for table, _, _ in one.places()))
        item = f"{tables[0][:-1].capitalize()}{'s' * (len(tables) > 1)} {' and '.join(table[-1] for table in tables)}"
        own = one.claim == "gateprobe9_beats_random"
        assert one.source == ("control of this project" if own else f"arXiv 2606.27755v1, {item}"), one.claim


def test_every_item_of_the_paper_is_in_the_sheet() -> None:
    """Table 5's speed and memory, all four levels of Table 3, all of Table 6, the figures: each with a claim."""
    places, known = {place for one in read_claims(SHEET) for place in one.places()}, printed()
    assert {table for table, _, _ in places} == {table for table, _, _ in known}
    for table in ("table3", "table4", "table5", "table6", "figure2", "figure3"):
        rows = {row for of, row, _ in places if of == table}
        assert {row for (of, row, _), line in known.items() if of == table and line["source"]} <= rows
    assert {"action_speedup", "task_speedup", "memory_gib"} <= {column for table, _, column in places if table == "table5"}
    assert {f"pi05.gateprobe{k}" for k in (9, 12, 16, 17)} <= {row for table, row, _ in places if table == "table3"}


def test_the_paper_s_ratios_hold_where_it_prints_them() -> None:
    """The margins are its own ratios, rounded to the weaker side at two digits."""
    known = printed()
    for one in (one for one in read_claims(SHEET) if one.rule in RATIOS):
        value, other = (float(known[place].get("value") or known[place]["percent"]) for place in one.places())
        assert of_paper(one, value, other).verdict == "holds" and value / other == pytest.approx(one.margin, abs=0.061), one.claim


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("\tnot_worse\t0.02", "\tnot_worse\t0", "above 0 for not_worse"),
        ("\tgreater\t0", "\tgrater\t0", "grater"),
        ("\trobot-language\tless\t0", "\trobot-language\tnot_worse\t0.1", "a contrast of two columns"),
        ("\tratio_at_least\t1.5", "\tratio_at_least\t0", "above 0 for"),
        ("claim\ttext", "name\ttext", "columns"),
    ],
)
def test_a_bad_sheet_is_one_sentence(tmp_path: Path, old: str, new: str, says: str) -> None:
    (tmp_path / "claims.tsv").write_text(SHEET.read_text().replace(old, new, 1))
    with pytest.raises(BadConfig, match=says):
        read_claims(tmp_path / "claims.tsv")
