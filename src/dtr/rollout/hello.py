"""What a robot or a foreign simulator said it is, beside the records of its episodes: `<records>.hello.json`.

A suite of ours is in this package. A foreign one is known by its hello alone: tasks, initial states, step limit. The conditions that every
record carries follow from it (`scenes_of`), so a hello that was edited, or is of another version, does not fit the records beside it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from dtr.errors import BadMessage, BadRecord, DtrError
from dtr.provenance import digest, write_json
from dtr.records import read_record
from dtr.robots import DEFAULT
from dtr.robots import robot as robot_of
from dtr.rollout.protocol import Protocol
from dtr.wire.robot import RobotHello, RobotTask

NUMBERS = ("states", "max_steps", "cameras", "state_dim", "action_dim", "connections")


def read_hello(words: Mapping[str, Any], address: str) -> RobotHello:
    """A robot's words as what they mean. BadMessage when they cannot mean that."""
    try:
        tasks = tuple(
            RobotTask(str(task["name"]), str(task["language"]), tuple(map(str, task.get("languages", ())))) for task in words["tasks"]
        )
        numbers = {key: int(words[key]) for key in NUMBERS}
        hello = RobotHello(str(words["name"]), tasks, scenes=str(words["scenes"]), robot=str(words.get("robot", DEFAULT)), **numbers)
    except (KeyError, TypeError, ValueError) as error:
        raise BadMessage(f"the robot at {address} lacks {error} in its hello: see docs/serving.md.") from error
    names = [hello.name, *(task.name for task in hello.tasks)]
    if not tasks or len(set(names)) < len(names) or not all(re.fullmatch(r"[\w.-]+", name) for name in names) or min(numbers.values()) < 1:
        raise BadMessage(f"the robot at {address} must have tasks of different names without blanks and no number below 1, got {hello}.")
    meant = robot_of(hello.robot)
    if (hello.state_dim, hello.action_dim) != (len(meant.state), len(meant.actions)) or any(
        task.languages and len(task.languages) != hello.states for task in tasks
    ):
        raise BadMessage(
            f"the robot at {address} says it is {hello.robot!r}, which has {len(meant.state)} numbers of state and {len(meant.actions)} an "
            f"action, and languages, where given, are one for each of {hello.states} states; got {hello}: mend its server."
        )
    return hello


def scenes_of(hello: RobotHello) -> str:
    """The digest of what is played in, as `dtr.sim.suites.suite_digest` is of our suites."""
    said = [[task.name, task.language, *task.languages] for task in hello.tasks]
    return digest([hello.name, hello.scenes, said, hello.max_steps])


def conditions_of(hello: RobotHello, protocol: Protocol) -> str:
    """The digest that every episode of a foreign suite under `protocol` carries."""
    return protocol.conditions(protocol.limit(hello.name, hello.max_steps), scenes_of(hello))


def beside(records: Path) -> Path:
    """Where the hello of a file of records is."""
    return Path(f"{records}.hello.json")


def keep_hello(records: Path, hello: RobotHello) -> None:
    """Write it down."""
    write_json(beside(records), asdict(hello))


def kept_hello(records: Path, suite: str) -> RobotHello:
    """What the suite of a file of records is, where it is none of ours. Raises BadRecord."""
    path = beside(records)
    if not path.is_file():
        raise BadRecord(
            f"expected records of a suite of this package in {records}, or beside them {path.name}, which says what a foreign suite is, "
            f"got {suite} without one: copy it there too, or roll out again with `dtr rollout --robot`, which writes it."
        )
    words = read_record(path, "hello")
    try:
        hello = read_hello(words, str(path))
    except DtrError as error:
        raise BadRecord(f"{path} is no hello ({error}); write it again with `dtr rollout --robot`.") from error
    if hello.name != suite:
        raise BadRecord(f"expected in {path} what {suite} is, got {hello.name}: keep each file of records with its own.")
    return hello
