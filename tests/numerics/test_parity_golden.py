"""`dtr parity` on the golden values of the official code of every policy: all of them are compared, and they agree."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from golden_folder import GOLDEN, quantities

from dtr.cli import run
from dtr.errors import BadCheckpoint
from dtr.parity import ADAPTERS, parity

BESIDE = {"lingbot_vla": {"image_patches"}}
"""What is compared beside the outputs."""


@pytest.mark.parametrize("name", ADAPTERS)
def test_golden_passes(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["parity", str(GOLDEN / name)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == "PASS"
    assert quantities(GOLDEN / name) | BESIDE.get(name, set()) <= {line.split()[0] for line in lines[2:-1]}


@pytest.mark.parametrize(("file", "field"), [("gates", "values"), ("drops", "drops")])
def test_records_without_their_field_are_one_sentence(file: str, field: str, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(GOLDEN / "pi05", tmp_path / "golden"))
    (folder / f"{file}.json").write_text(json.dumps({}))
    with pytest.raises(BadCheckpoint, match=rf"{file}\.json has no field {field}"):
        parity(folder)
