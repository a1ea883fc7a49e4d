from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from dtr.errors import BadConfig, BadRecord, DtrError, UnknownName
from dtr.rollout.episode import Episode, Journal, read_episodes, write_episodes
from dtr.rollout.protocol import Protocol

ONE = Episode("fake", "a", 0, 0, 7, "success", 12, 2, "a" * 16, None, "0" * 16, "1" * 16)
TWO = replace(ONE, init_state=1, outcome="error", steps=0, inferences=0, trace=None, error="gone")


def test_the_file_is_sorted_and_does_not_depend_on_arrival(tmp_path: Path) -> None:
    write_episodes(tmp_path / "x.jsonl", [TWO, ONE])
    write_episodes(tmp_path / "y.jsonl", [ONE, TWO])
    assert (tmp_path / "x.jsonl").read_bytes() == (tmp_path / "y.jsonl").read_bytes()
    assert read_episodes(tmp_path / "x.jsonl") == [ONE, TWO]


FOREIGN = ["", "{}\n", "nonsense\n", ONE.line.replace("success", "won"), ONE.line * 2, ONE.line.replace("}", ', "x": 1}')]


@pytest.mark.parametrize("text", FOREIGN)
def test_foreign_files_are_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.jsonl").write_text(text)
    with pytest.raises(BadRecord, match="dtr rollout"):
        read_episodes(tmp_path / "x.jsonl")


def test_journal_survives_every_torn_last_line(tmp_path: Path) -> None:
    whole = (ONE.line + TWO.line).encode()
    for cut in range(len(whole) + 1):
        path = tmp_path / "j.jsonl"
        path.write_bytes(whole[:cut])
        with Journal(path) as journal:
            assert list(journal.episodes.values()) == [ONE, TWO][: whole[:cut].count(b"\n")]
            journal.append(TWO)
        with Journal(path) as journal:
            assert journal.episodes[TWO.key] == TWO


def test_journal_keeps_the_later_of_two_records(tmp_path: Path) -> None:
    better = replace(TWO, outcome="success", error=None)
    with Journal(tmp_path / "j.jsonl") as journal:
        journal.append(TWO)
        journal.append(better)
    with Journal(tmp_path / "j.jsonl") as journal:
        assert journal.episodes == {better.key: better}


def test_journal_has_one_owner(tmp_path: Path) -> None:
    with Journal(tmp_path / "j.jsonl"), pytest.raises(DtrError, match="another process"):
        Journal(tmp_path / "j.jsonl")


def test_protocol_round_trip_and_conditions() -> None:
    protocol = Protocol("live", trials=5, max_steps={"embedded_long": 99}, tasks=(0, 2))
    assert Protocol.from_dict(protocol.to_dict()) == protocol
    assert Protocol.read(json.dumps(protocol.to_dict())) == protocol
    assert protocol.limit("embedded_long", 260) == 99 and protocol.limit("embedded_goal", 140) == 140
    # A sample of a larger run is comparable with it; another chunk or another limit is not.
    assert protocol.conditions(140, "s") == Protocol("full").conditions(140, "s") != protocol.conditions(140, "t")
    others = [(protocol, 141), (replace(protocol, chunk=4), 140), (replace(protocol, seed=1), 140)]
    assert len({p.conditions(steps, "s") for p, steps in [(protocol, 140), *others]}) == 4


@pytest.mark.parametrize(
    ("text", "kind", "message"),
    [
        ('{"name": "a", "trails": 5}', UnknownName, "'trails': did you mean 'trials'"),
        ('{"name": "a", "trials": 51}', BadConfig, "trials.*51"),
        ('{"name": "a", "batch": 0}', BadConfig, "batch"),
        ('{"trials": 5}', BadConfig, "name"),
        ('{"name"', BadConfig, "must be JSON or the path of a JSON file"),
        ("/nowhere/protocol.json", BadConfig, "nowhere"),
        ("oft-8of8-seed1", UnknownName, "did you mean 'oft-8of8-seed0'"),
    ],
)
def test_bad_protocols_are_refused(text: str, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        Protocol.read(text)
