"""How rollouts run, and in which fixed order a suite's episodes are counted.

Two success rates are comparable only when everything here but `name`, `trials` and `tasks` is equal: that part is the protocol's
`conditions`, and its digest stands in every episode's record.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dtr.errors import unknown
from dtr.provenance import digest
from dtr.records import check_given, read_given
from dtr.rollout.official import names, resolved

if TYPE_CHECKING:
    from dtr.sim.perturbations.variant import Variant


UNSAID: Mapping[str, Any] = {"image_path": "exact", "precision": None, "gripper": None}
"""Settings that older records do not have, with the value that says nothing: only another one is written and counted."""


@dataclass(frozen=True)
class Protocol:
    """How the rollouts of one success rate run.

    Non-obvious: `batch` is part of the result, not a tuning knob. Matrix products round differently for another number of rows, and
    even for another place of the same row (measured: 13 % of small products on one AVX-512 core), so every inference is padded to
    `batch` rows and every episode owns one fixed row of them.
    """

    name: str
    trials: int = 50
    """Initial states of each task: 0 .. trials - 1 of the frozen 50."""
    seed: int = 0
    """Given to the simulator before every reset."""
    chunk: int = 8
    """Actions executed of each predicted chunk before the next observation."""
    batch: int = 4
    """Rows of every padded inference."""
    settle_steps: int = 10
    """No-op steps after the reset, before the first observation; not counted in an episode's steps."""
    max_steps: int | Mapping[str, int] | None = None
    """Control steps after which an episode has failed: one number, one for some suites by name, or the suite's own."""
    image_size: int = 64
    """Side of the rendered square images, in pixels."""
    tasks: tuple[int, ...] | None = None
    """Indices of the tasks to run; all of the suite's when None."""
    image_path: str = "exact"
    """How the policy makes its picture of the rendered one (`dtr.policies.image_path`); its own must be the same."""
    precision: str | None = None
    """"bf16": the policy is asked in bfloat16 (`dtr.policies.precision`); float32 when None."""
    gripper: str | None = None
    """What the evaluation does to a predicted gripper: threshold, raw or sign; the policy's own must be the same. Not checked when None."""

    @classmethod
    def from_dict(cls, value: Mapping[str, Any], where: str = "the protocol") -> Protocol:
        """Raises UnknownName for a key that is none, BadConfig for a value out of range."""
        known = [field.name for field in fields(cls)]
        for key in value:
            if key not in known:
                raise unknown("protocol key", key, known, f"(in {where})")
        check_given(dict(value), "protocol", where)
        tasks = value.get("tasks")
        return cls(**{**value, "tasks": None if tasks is None else tuple(tasks)})

    @classmethod
    def read(cls, text: str) -> Protocol:
        """A protocol from inline JSON (text that starts with a brace), from the path of a JSON file, or an official one by its name.

        JSON may take up an official one too: {"official": "openpi-5of10-seed7", "trials": 1}.
        """
        if text in names():
            return cls.from_dict(resolved({"official": text, "name": text}, text), text)
        inline = text.lstrip().startswith(("{", "["))
        where = "the inline protocol" if inline else text
        if not inline and re.fullmatch(r"[\w-]+", text) and not Path(text).exists():
            raise unknown("protocol", text, names(), "(or the path of a JSON file, or JSON itself)")
        value = read_given(text, "--protocol")
        if "official" in value:
            value = resolved({"name": str(value["official"]), **value}, where)
        return cls.from_dict(value, where)

    def to_dict(self) -> dict[str, Any]:
        """The JSON value that `from_dict` reads."""
        values = asdict(self) | {"tasks": None if self.tasks is None else list(self.tasks)}
        return {key: value for key, value in values.items() if value != UNSAID.get(key, ...)}

    def limit(self, suite: str, default: int) -> int:
        """Control steps after which an episode of `suite` has failed, where `default` is the suite's own number."""
        if isinstance(self.max_steps, Mapping):
            return self.max_steps.get(suite, default)
        return self.max_steps or default

    def conditions(self, max_steps: int, scenes: str, variant: Variant | None = None) -> str:
        """Digest of what must be equal for two episodes on one initial state to be comparable. `scenes`: the suite's own digest."""
        said = tuple(part for part, silence in UNSAID.items() if getattr(self, part) != silence)
        parts = ("seed", "chunk", "batch", "settle_steps", "image_size", *said)
        varied = {"variant": variant.conditions()} if variant and str(variant) else {}
        return digest({part: getattr(self, part) for part in parts} | {"max_steps": max_steps, "scenes": scenes} | varied)

    def row(self, task_index: int, init_state: int) -> int:
        """The row of the padded batch that this episode owns.

        It depends on nothing but the episode, so results cannot depend on worker count, order or a sample's size; neighbours in
        the order of work get different rows, so batches fill.
        """
        return (task_index + init_state) % self.batch


def marked(scenes: str, assets: str | None) -> str:
    """The digest of a suite's scenes, another one where they are built from stand-in assets."""
    return scenes if assets is None else f"{scenes}-{assets}"


def conditions_on(protocol: Protocol, label: str, assets: str | None = None) -> str:
    """The digest that every episode of `<suite>[+<variant>]` under `protocol` carries. Raises UnknownName."""
    from dtr.sim.perturbations.variant import split
    from dtr.sim.suites import MAX_STEPS, suite_digest

    suite, variant = split(label)
    if suite not in MAX_STEPS:
        raise unknown("suite", suite, MAX_STEPS)
    return protocol.conditions(protocol.limit(suite, MAX_STEPS[suite]), marked(suite_digest(suite), assets), variant)


def tasks_of(protocol: Protocol, suite: str) -> list[int]:
    """Indices of the tasks of `suite`, with or without a variant, that `protocol` plays, ascending."""
    from dtr.sim.perturbations.variant import split
    from dtr.sim.suites import task_count

    return sorted(range(task_count(split(suite)[0])) if protocol.tasks is None else protocol.tasks)
