"""LIBERO-Plus as a robot, with an environment that only remembers what it was told."""

import json
import shlex

import numpy as np
import pytest
from plus_fakes import Env, plus

from dtr.errors import BadConfig, MissingAssets, MissingLibrary, UnknownName
from dtr.foreign import libero_plus
from dtr.foreign.libero_plus import CATEGORIES, Entry, Plus, chosen, installed
from dtr.rollout.protocol import Protocol
from dtr.rollout.run import orders_of
from dtr.sim.perturbations.variant import CATEGORIES as OURS
from dtr.sim.suites import Suite, Task
from dtr.wire.robot import EpisodeFailed


@pytest.fixture
def listing(tmp_path):
    kinds = [*CATEGORIES.values()] * 2
    tasks = [{"id": k, "name": f"t{k}", "category": kind, "difficulty_level": 1 + k % 2} for k, kind in enumerate(kinds)]
    tasks.append({"id": 99, "name": "x", "category": "Light Conditions", "difficulty_level": None})
    (tmp_path / "list.json").write_text(json.dumps({"libero_goal": tasks}))
    return tmp_path / "list.json"


def test_categories_are_ours_in_their_words(listing):
    assert tuple(CATEGORIES) == OURS
    assert chosen(listing, "libero_goal", "light") == ["t3", "t10", "x"]
    assert chosen(listing, "libero_goal", "light-2") == ["t3"]
    wrong = (("libero_goal", "fog", UnknownName), ("libero_x", "light", UnknownName), ("libero_goal", "light-9", BadConfig))
    for name, perturbation, error in wrong:
        with pytest.raises(error):
            chosen(listing, name, perturbation)
    with pytest.raises(MissingAssets, match="list of tasks"):
        chosen(listing.with_name("none"), "libero_goal", "light")


def test_an_episode_is_seeded_reset_placed_and_settled():
    built: list[Env] = []

    def build(entry: Entry, size: int) -> Env:
        built.append(Env(size))
        return built[-1]

    plus = Plus("libero_goal", "camera-3", [Entry(5, "t5", "do it")], "s", build, lambda entry: np.full((1, 9), float(entry.index)))
    assert (plus.hello.name, plus.hello.max_steps, plus.hello.states) == ("libero_plus_goal.camera-3", 300, 1)
    plus.reset("t5", 0, 7, 10, 4)
    assert built[0].log == [("seed", 7), ("reset",), ("state", 5.0)] and built[0].moves == 0
    images, state = plus.observe()
    assert images.shape == (2, 4, 4, 3) and images[0, 0, 0, 0] == built[0].seen()["agentview_image"][-1, -1, 0]
    np.testing.assert_allclose(state, [1, 2, 3, 0, 0, np.pi, 0.1, -0.1], rtol=1e-6)
    assert [plus.step(np.ones(7)) for _ in range(3)] == [False, False, True]
    plus.reset("t5", 0, 8, 0, 4)
    assert len(built) == 1, "the scene of a task is built once"
    with pytest.raises(EpisodeFailed, match="one initial state"):
        plus.reset("t5", 1, 7, 0, 4)
    plus.halt()
    assert built[0].log[-1] == ("closed",)


def test_plain_libero_is_not_taken_for_it():
    with pytest.raises((MissingAssets, MissingLibrary)):
        from dtr.sim.setup import bootstrap

        bootstrap()
        installed("libero_goal", "camera-3")


def test_the_command_that_its_text_gives_asks_for_what_it_offers(tmp_path):
    """It has one initial state of each task; the official protocols of LIBERO play fifty."""
    assert libero_plus.__doc__ is not None
    line = next(line for line in libero_plus.__doc__.splitlines() if "--protocol" in line)
    words = shlex.split(line)
    protocol = Protocol.read(words[words.index("--protocol") + 1])
    hello = plus("libero_goal", "camera-3", 2).hello
    suite = Suite(hello.name, tuple(Task(hello.name, i, task.name, task.language, tmp_path) for i, task in enumerate(hello.tasks)), 300)
    orders = orders_of(protocol, suite, lambda task: np.zeros((hello.states, 1)))
    assert [(order.task.name, order.key.init_state, order.max_steps) for order in orders] == [("t0", 0, 300), ("t1", 0, 300)]
    assert (protocol.chunk, protocol.image_path, protocol.seed, protocol.name) == (5, "openpi", 7, "openpi-5of10-seed7")
    with pytest.raises(BadConfig, match="has 1 initial states, but the protocol openpi-5of10-seed7 asks for 50"):
        orders_of(Protocol.read("openpi-5of10-seed7"), suite, lambda task: np.zeros((hello.states, 1)))
