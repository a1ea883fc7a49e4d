"""Where episodes are played: a suite in our simulator, or a robot's tasks over a socket."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from dtr.rollout.worker import Array, Factory, build_simulator
from dtr.sim.assets import mark
from dtr.sim.perturbations.played import under
from dtr.sim.perturbations.variant import split
from dtr.sim.suites import Suite, Task, initial_states, suite, suite_digest


@dataclass(frozen=True)
class Arena:
    """`states` of a task (N, ...), one row an initial state; `factory` builds what plays a task, `most` of them at a time (0: any number);
    `scenes` changes when results are not comparable any more; `told`: (task, initial state) -> instruction, where a
    robot's tasks have several."""

    suite: Suite
    states: Callable[[Task], Array]
    factory: Factory
    scenes: str
    most: int = 0
    told: Mapping[tuple[str, int], str] = field(default_factory=dict)


def local(label: str) -> Arena:
    """The suite of `<suite>[+<variant>]`, in our simulator. Raises UnknownName, MissingAssets."""
    name, variant = split(label)
    tasks = replace(under(suite(name), variant), assets=mark(name))
    return Arena(tasks, initial_states, build_simulator, suite_digest(name))
