"""The table in the README is the cached one, and every file that the documents name is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from dtr.cli import VERBS
from dtr.errors import BadRecord
from dtr.report.claims import read_claims
from dtr.report.readme import BEGIN, END, TABLE, block, fill, present
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


def test_the_readme_shows_the_cached_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    entry = read_lock().get(str(TABLE))
    if entry is None:
        pytest.skip("no table is cached yet")
    md5 = entry["md5"]
    cached = Path("store/files/md5", md5[:2], md5[2:]).read_text(encoding="utf-8")
    assert present(Path("README.md").read_text(encoding="utf-8")) == block(cached), "run `python -m dtr.report.readme`"


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
