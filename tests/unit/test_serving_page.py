"""docs/serving.md is true: its hand-written messages reach a server, its client gets actions, its robot is one, its tables are whole."""

from __future__ import annotations

import dataclasses
import re
import socket
from pathlib import Path
from typing import Any

import numpy as np
from serving_world import TEXTS, served
from tiny_policy import frames

from dtr.wire.address import parse_address
from dtr.wire.policy import PolicyHello
from dtr.wire.robot import Robot, RobotHello

PAGE = (Path(__file__).resolve().parents[2] / "docs/serving.md").read_text(encoding="utf-8")
BY_HAND, CLIENT, ROBOT = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


def names(code: str, **given: Any) -> dict[str, Any]:
    """What a piece of the page defines."""
    exec(code, given)
    return given


def test_a_peer_without_the_library_and_the_client_get_the_same_actions() -> None:
    (images, state), *_ = frames(1)
    page = names(BY_HAND)
    with served(rows=1) as (address, _):
        place = parse_address(address)
        with socket.create_connection((place.host, place.port)) as connection:
            hello, _ = page["receive"](connection)
            assert hello["kind"] == "hello" and hello["offers"] == "policy"
            page["send"](connection, "act", {"images": images, "state": state}, instruction="put the bowl on the plate", episode="monday-3")
            words, arrays = page["receive"](connection)
            assert words["kind"] == "actions" and arrays["actions"].shape == (8, 7)
            page["send"](connection, "act", {"images": images}, instruction=TEXTS[0])
            assert page["receive"](connection)[0]["kind"] == "error"
        found = names(CLIENT.replace("127.0.0.1:8700", address), images=images, state=state)
    assert np.array_equal(found["answer"].actions, arrays["actions"])


def test_the_robot_of_the_page_is_one() -> None:
    code, _, rest = ROBOT.partition("\n\noffer(")
    bench = names(code)["Bench"]()
    assert rest.startswith("Bench(), ") and isinstance(bench.hello, RobotHello)
    assert {name for name in vars(Robot) if not name.startswith("_")} | {"hello"} == {n for n in dir(bench) if not n.startswith("_")}


def test_the_tables_name_every_word() -> None:
    rows = {tuple(row[:2]): row[2] for row in re.findall(r"^\| (\w+) \| `(\w+)` \| (.*?) \|", PAGE, re.MULTILINE)}
    for who, kind in (("server", PolicyHello), ("robot", RobotHello)):
        assert [field.name for field in dataclasses.fields(kind) if f"`{field.name}`" not in rows[who, "hello"]] == []
