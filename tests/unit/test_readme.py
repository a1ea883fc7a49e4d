"""The table in the README is the cached one, and every file that the documents name is there."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from pathlib import Path

import pytest

from dtr.cli import VERBS
from dtr.errors import BadRecord
from dtr.report.claims import read_claims
from dtr.report.readme import BEGIN, END, NOTE, README, SHOWN, TABLE, VERDICTS, block, fill, main, present
from dtr.workflow.dvcfile import read_lock

ROOT = Path(__file__).resolve().parents[2]
NAMES = ("architecture", "metrics", "reproducibility", "pitfalls", "cache")
DOCUMENTS = ["README.md", "CONTRIBUTING.md", *(f"docs/{name}.md" for name in NAMES)]


def test_a_table_is_put_between_the_marks() -> None:
    text = f"above\n{BEGIN}\nold\n{END}\nbelow\n"
    filled = fill(text, "# table1\n\n- scale: x\n\n| a |\n")
    assert filled == f"above\n{BEGIN}\n- scale: x\n\n| a |\n{END}\nbelow\n"
    assert fill(filled, "# table1\n\n- scale: x\n\n| a |\n") == filled
    assert present(filled) == "- scale: x\n\n| a |"


@pytest.mark.parametrize("text", ["", BEGIN, f"{END}\n{BEGIN}", f"{BEGIN}{BEGIN}{END}"])
def test_without_its_marks_nothing_is_written(text: str) -> None:
    with pytest.raises(BadRecord, match="once each"):
        fill(text, "| a |")


def cached(path: Path) -> str:
    md5 = read_lock()[str(path)]["md5"]
    return Path("store/files/md5", md5[:2], md5[2:]).read_text(encoding="utf-8")


def test_the_readme_shows_the_cached_table_and_docs_the_cached_verdicts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    assert present(Path("README.md").read_text(encoding="utf-8")) == block(cached(TABLE)), "run `python -m dtr.report.readme`"
    assert SHOWN.read_text(encoding="utf-8") == NOTE + cached(VERDICTS), "run `python -m dtr.report.readme`"


def test_the_readme_counts_rows_and_verdicts_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    text = Path("README.md").read_text(encoding="utf-8")
    for k in range(1, 8):
        with open(f"config/experiments/table{k}.tsv", newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file, delimiter="\t"))
        ran = sum("embedded" in row["scales"] for row in rows)
        line = next(line for line in text.splitlines() if line.startswith(f"| Table {k},"))
        assert f"{ran} of {len(rows)} rows" in line, line
    found = Counter(line["verdict"] for line in csv.DictReader(io.StringIO(cached(Path("results/embedded/verdicts.csv")))))
    holds, fails, open_, apart = (found[verdict] for verdict in ("holds", "does not hold", "underpowered", "not comparable"))
    assert f"146 claims {holds} hold here, {fails} do not, {open_} are underpowered and {apart} not comparable" in text.replace("\n", " ")


def test_nothing_is_written_before_all_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    TABLE.parent.mkdir(parents=True)
    TABLE.write_text("# table1\n\nnew\n")
    README.write_text(f"{BEGIN}\nold\n{END}\n")
    with pytest.raises(BadRecord, match=r"verdicts\.md: make it with `snakemake -- results/verdicts\.csv`"):
        main()
    assert README.read_text() == f"{BEGIN}\nold\n{END}\n"
    VERDICTS.write_text("# verdicts\n")
    main()
    assert "new" in README.read_text() and SHOWN.read_text().endswith("# verdicts\n")


def test_the_readme_counts_the_claims_of_the_sheet() -> None:
    said = re.findall(r"(\d+) claims, each", (ROOT / "README.md").read_text(encoding="utf-8"))
    assert said == [str(len(read_claims(ROOT / "config/experiments/claims.tsv")))]


@pytest.mark.parametrize("name", DOCUMENTS)
def test_what_a_document_names_exists(name: str) -> None:
    """Paths of sources and tests in backquotes or links, verbs of `dtr`, targets of `make`."""
    text = (ROOT / name).read_text(encoding="utf-8")
    paths = re.findall(r"[`(]((?:src|tests|docs|config|schemas|rules|envs|results/reported|profiles)/[\w./-]*\w)[/`)]", text)
    missing = [path for path in paths if not (ROOT / path).exists()]
    assert paths and not missing
    assert set(re.findall(r"(?:`|^)dtr ([a-z-]+)\b", text, re.MULTILINE)) <= set(VERBS)
    targets = set(re.findall(r"^([a-z0-9]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    assert set(re.findall(r"`make ([a-z0-9]+)", text)) <= targets
