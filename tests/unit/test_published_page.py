"""docs/published.md: its commands are commands, its entry is an entry, and the fetch refuses what nobody has pinned."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import yaml

from dtr import cli
from dtr.hub.manifest import read_entry, read_manifest
from dtr.rollout.official import names

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs/published.md").read_text(encoding="utf-8")


def block(language: str) -> str:
    (found,) = re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)
    return str(found)


def test_the_commands_parse_and_name_what_is_there() -> None:
    for line in block("sh").splitlines():
        words = shlex.split(line)[1:]
        arguments = cli.parser(words).parse_args(words)
        if words[0] != "rollout":
            assert read_manifest("openvla_oft", read_entry(str(ROOT / arguments.config), arguments.name)["hub"]).role == "finetuned"
        else:
            assert arguments.protocol in names()


def test_the_entry_reads_and_is_not_fetched_before_it_is_pinned(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "theirs.yaml").write_text(block("yaml"))
    entry = read_entry(str(tmp_path / "theirs.yaml"), None)
    manifest = read_manifest(entry["class"], entry["hub"])
    assert (manifest.role, manifest.kept) == ("authors_recovered", {})
    kept = yaml.safe_load(re.findall(r"`kept: (\{.*?\})`", PAGE)[0])
    assert read_manifest("pi05", entry["hub"] | {"kept": kept}).kept == {"language": (0, 5)}
    assert cli.run(["fetch", "--config", str(tmp_path / "theirs.yaml"), "--store", str(tmp_path)]) == 2
    assert "has no revision" in capsys.readouterr().err
