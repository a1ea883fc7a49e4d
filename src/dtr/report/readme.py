"""Put Table 1 into the README, between its marks, and the verdicts into docs/: `python -m dtr.report.readme`, after `dtr store push`."""

from __future__ import annotations

import sys
from pathlib import Path

from dtr.errors import BadRecord
from dtr.provenance import write_text

BEGIN, END = "<!-- table1:begin -->", "<!-- table1:end -->"
TABLE, README = Path("results/embedded/table1.md"), Path("README.md")
VERDICTS, SHOWN = Path("results/embedded/verdicts.md"), Path("docs/verdicts.md")
NOTE = "<!-- written by `python -m dtr.report.readme` from results/embedded/verdicts.md -->\n"


def block(table: str) -> str:
    """What stands between the marks: the table's markdown without its title."""
    lines = table.splitlines()
    return "\n".join(lines[1:] if lines and lines[0].startswith("# ") else lines).strip()


def present(text: str) -> str:
    """What stands between the marks of a README now. Raises BadRecord when it has not each mark once, in order."""
    if not (text.count(BEGIN) == text.count(END) == 1 and text.index(BEGIN) < text.index(END)):
        raise BadRecord(f"expected {BEGIN} and then {END} in the README, once each: put the two marks where the table should stand.")
    return text.split(BEGIN)[1].split(END)[0].strip()


def fill(text: str, table: str) -> str:
    """The README `text` with this table between the marks; filling twice changes nothing."""
    present(text)
    before, after = text.split(BEGIN)[0], text.split(END)[1]
    return f"{before}{BEGIN}\n{block(table)}\n{END}{after}"


def main() -> None:
    """Fill the README and write the page of verdicts. Raises BadRecord, before it writes, when one of them is not made."""
    for made, target in ((TABLE, "results/table1.csv"), (VERDICTS, "results/verdicts.csv")):
        if not made.is_file():
            raise BadRecord(f"there is no {made}: make it with `snakemake -- {target}`.")
    write_text(README, fill(README.read_text(encoding="utf-8"), TABLE.read_text(encoding="utf-8")))
    write_text(SHOWN, NOTE + VERDICTS.read_text(encoding="utf-8"))


if __name__ == "__main__":
    try:
        main()
    except BadRecord as error:
        sys.exit(f"error: {error}")
