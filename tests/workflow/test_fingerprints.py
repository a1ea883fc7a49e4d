"""Every stage still means what its version says; src/dtr/workflow/fingerprint.py says how that is judged."""

import copy

import pytest

from dtr import stages
from dtr.errors import BadRecord
from dtr.provenance import read_json
from dtr.stages import STAGES, Stage
from dtr.workflow.difference import first_difference
from dtr.workflow.fingerprint import HOME, check, fingerprint
from dtr.workflow.fingerprint_commands import COMMANDS, stage_of

pytestmark = pytest.mark.slow
RECORD = read_json(HOME / "record.json")


@pytest.mark.parametrize("name", COMMANDS)
def test_a_stage_means_what_its_version_says(name):
    check(name, fingerprint(name, HOME / "inputs"), RECORD)


def test_every_stage_is_looked_at_and_those_of_a_policy_by_a_flow_policy_too():
    assert {stage_of(name) for name in COMMANDS} == set(STAGES)
    assert {name for name in COMMANDS if name.endswith(".pi05")} == {
        f"{stage}.pi05" for stage in ("checkpoint", "score", "drop", "recover", "rollout")
    }


def test_a_moved_output_asks_for_a_version_and_says_how(monkeypatch):
    moved = copy.deepcopy(RECORD["cost"]["output"])
    moved["cost.json"]["parameters"]["total"] += 1000
    with pytest.raises(
        BadRecord, match=r"output of stage cost moved \(.*parameters.*raise the version of cost in src/dtr/stages.py to \d+.*--record"
    ):
        check("cost", moved, RECORD)
    monkeypatch.setitem(stages.STAGES, "cost", Stage(STAGES["cost"].version + 1, ()))
    with pytest.raises(BadRecord, match="is of version"):
        check("cost", moved, RECORD)
    check("cost", moved, {"cost": {"version": STAGES["cost"].version, "output": moved}})
    with pytest.raises(BadRecord, match="has no fingerprint"):
        check("cost", moved, {})


@pytest.mark.parametrize(
    ("old", "new", "where"),
    [
        ({"a": [1.0, 2.0]}, {"a": [1.0, 2.0001]}, None),
        ({"a": [1.0, 2.0]}, {"a": [1.0, 2.1]}, "/a/1: 2.0 became 2.1"),
        ({"a": 1}, {"b": 1}, "/a is gone"),
        ({"a": [1]}, {"a": [1, 2]}, "/a: "),
        ({"a": True}, {"a": 1}, None),
        ({"a": "x"}, {"a": "y"}, "/a: 'x' became 'y'"),
        ({"a": None}, {"a": 0.0}, "/a: None became 0.0"),
    ],
)
def test_where_two_fingerprints_differ(old, new, where):
    found = first_difference(old, new)
    assert found is None if where is None else found.startswith(where)
