"""Whether the goal of what was said is reached, in the real simulator: an expert that does what it is told is followed, and fails."""

from __future__ import annotations

import numpy as np
import pytest

from dtr.rollout.episode import Key
from dtr.rollout.worker import Order, play
from dtr.sim.expert import Expert
from dtr.sim.perturbations.played import meant, told, under
from dtr.sim.perturbations.variant import Variant
from dtr.sim.simulator import Simulator
from dtr.sim.suites import initial_states, suite

SWAPPED = under(suite("embedded_compose_held"), Variant.of(None, "swapped"))


class Obedient:
    """In the policy's place at the pipe: acts as the expert of another task would, four steps blind at a time."""

    def __init__(self, simulator: Simulator, goal: tuple[tuple[str, ...], ...]) -> None:
        self.simulator, self.goal, self.expert = simulator, goal, None

    def send(self, frame: object) -> None:
        if self.expert is None:
            env = self.simulator.env
            goals = tuple((thing, env.object_states_dict[site].parent_name) for _, thing, site in self.goal)
            self.expert = Expert(self.simulator.model, self.simulator.data, goals, lambda i: self.simulator.holds((self.goal[i],)))
            self.expert.reset()

    def recv(self) -> np.ndarray:
        return self.expert.act()[None]


class Unseen(Simulator):
    """Nothing is drawn."""

    def observe(self):  # type: ignore[no-untyped-def]
        from dtr.sim.simulator import Frame

        return Frame(np.zeros((2, 1, 1, 3), np.uint8), self.proprioception())


@pytest.mark.parametrize("obeys", [True, False])
def test_who_does_what_is_said_follows_and_who_does_the_task_succeeds(obeys: bool) -> None:
    task = SWAPPED.tasks[2]
    other = meant(SWAPPED, task, 7, 0)
    assert other is not None and told(SWAPPED, task, 7, 0) != task.language
    simulator = Unseen(task, render=False)
    own = tuple(tuple(predicate) for predicate in simulator.env.parsed_problem["goal_state"])
    order = Order(Key(SWAPPED.name, task.index, 0, 7), task, initial_states(task)[0], 140, 10, 64, meant=other)
    finished = play(simulator, order, Obedient(simulator, other[1] if obeys else own))
    assert (finished.followed, finished.success) == (obeys, not obeys)
    plain = play(simulator, Order(order.key, task, order.state, 30, 10, 64), Obedient(simulator, own))
    watched = play(simulator, Order(order.key, task, order.state, 30, 10, 64, meant=other), Obedient(simulator, own))
    assert plain.trace == watched.trace and plain.followed is None and watched.followed is False, "to watch changes no bit"
    simulator.close()
