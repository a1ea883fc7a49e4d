"""LIBERO-Plus as a robot, with an environment that only remembers what it was told."""

import json

import numpy as np
import pytest

from dtr.errors import BadConfig, MissingAssets, MissingLibrary, UnknownName
from dtr.foreign.libero_plus import CATEGORIES, Entry, Plus, chosen, installed
from dtr.sim.perturbations.variant import CATEGORIES as OURS
from dtr.wire.robot import EpisodeFailed


class Env:
    """Counts steps; the goal holds after three that are no standing still."""

    def __init__(self, size: int) -> None:
        self.size, self.log, self.moves = size, [], 0

    def seen(self):
        picture = np.arange(self.size * self.size * 3, dtype=np.uint8).reshape(self.size, self.size, 3)
        arm = {
            "robot0_eef_pos": np.array([1.0, 2, 3]),
            "robot0_eef_quat": np.array([0.0, 0, 1, 0]),
            "robot0_gripper_qpos": np.array([0.1, -0.1]),
        }
        return {"agentview_image": picture, "robot0_eye_in_hand_image": 255 - picture} | arm

    def seed(self, seed):
        self.log.append(("seed", seed))

    def reset(self):
        self.log.append(("reset",))

    def set_init_state(self, state):
        self.log.append(("state", float(state[0])))
        return self.seen()

    def step(self, action):
        self.moves += any(action[:6])
        return self.seen(), 0.0, self.moves >= 3, {}

    def close(self):
        self.log.append(("closed",))


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

    plus = Plus("libero_goal", [Entry(5, "t5", "do it")], "s", build, lambda entry: np.full((1, 9), float(entry.index)))
    assert (plus.hello.name, plus.hello.max_steps, plus.hello.states) == ("libero_plus_goal", 300, 1)
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
