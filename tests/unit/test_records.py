"""What a schema refuses is said in our words: what was expected, what came, how to mend it."""

from __future__ import annotations

from typing import Any

import pytest

from dtr.errors import BadConfig, BadRecord
from dtr.records import check_given, listed, read_given, validate

BOTH = {"oneOf": [{"type": "null"}, {"type": "array", "minItems": 1}]}
NAMED = {"properties": {"a": {"propertyNames": {"pattern": "^[a-z]+$"}}}}


@pytest.mark.parametrize(
    ("value", "expected", "says"),
    [
        (
            {"x": "5"},
            {"properties": {"x": {"type": "integer", "minimum": 0}}},
            'given.x must be a whole number from 0 on, got "5": correct it.',
        ),
        (
            {"x": 2},
            {"properties": {"x": {"type": ["string", "null"], "pattern": "^a$"}}},
            "given.x must be text of the form ^a$ or null, got 2",
        ),
        ({"x": "b"}, {"properties": {"x": {"enum": ["a", None]}}}, 'given.x must be "a" or null, got "b"'),
        ({"x": 3}, {"properties": {"x": BOTH}}, "given.x must be null or a list of 1 or more, got 3"),
        ({"a": {"B": 1}}, NAMED, 'the names in given.a must be text of the form ^[a-z]+$, got "B"'),
        ({"b": 1}, {"required": ["a"]}, "given must have 'a', got 'b': add it."),
        ([{"b": 1}], listed("a", instead="b"), "given.0 must have 'a', got 'b': add it."),
        ([], listed("a", instead="b"), "given must be a list of 1 or more, got []: correct it."),
        ([{"a": 1}], listed("a", instead="b"), "given.0 must have 'b', got 'a': add it."),
        ({"lenght": 1}, {"properties": {"length": {}}, "additionalProperties": False}, "unknown key 'lenght': did you mean 'length'?"),
    ],
)
def test_what_was_given_is_refused_in_one_sentence(value: Any, expected: dict[str, Any], says: str) -> None:
    with pytest.raises(BadConfig) as caught:
        check_given(value, expected, "given")
    assert says in str(caught.value)


def test_a_list_may_hold_what_is_not_run() -> None:
    check_given([{"a": 1, "not_run": "why"}, {"a": 1, "b": 2}], listed("a", instead="b"), "given")


def test_a_record_says_which_verb_writes_it() -> None:
    with pytest.raises(BadRecord, match=r"x\.json is no cell: it must be an object, got 3; write it again with `dtr cell`"):
        validate(3, "cell", "x.json")


def test_an_argument_is_json_or_a_file_of_it(tmp_path: Any) -> None:
    (tmp_path / "a.yaml").write_text("{a: 1}")
    (tmp_path / "a.json").write_text('{"a": 1e-05}')
    assert read_given(str(tmp_path / "a.yaml"), "--x", yaml=True) == {"a": 1}
    assert read_given(str(tmp_path / "a.json"), "--x", yaml=True) == read_given('{"a": 1e-05}', "--x", yaml=True) == {"a": 1e-05}
    with pytest.raises(BadConfig, match=r"--x must be JSON or the path of a JSON file, got '.*a.yaml' .*: correct it"):
        read_given(str(tmp_path / "a.yaml"), "--x")
    with pytest.raises(BadConfig, match=r"--x must hold a list, got \{\"a\": 1\}: correct it"):
        read_given('{"a": 1}', "--x", list)
