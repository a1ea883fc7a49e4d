"""Fast stepping gives robosuite's states, bit for bit."""

import numpy as np
import pytest

from dtr.benchmarks.stepping import advance, compare
from dtr.sim.simulator import Simulator
from dtr.sim.stepping import FastStepping
from dtr.sim.suites import MAX_STEPS, initial_states, suite

EMBEDDED = sorted(name for name in MAX_STEPS if name.startswith("embedded_"))


@pytest.fixture(scope="module")
def task():
    return suite("embedded_object").tasks[0]


@pytest.fixture(scope="module")
def pair(task):
    """Stock and fast simulator of one task."""
    pair = tuple(Simulator(task, render=False, fast=fast) for fast in (False, True))
    yield pair
    for simulator in pair:
        simulator.close()


@pytest.mark.parametrize("name", EMBEDDED)
def test_states_are_those_of_robosuite_bit_for_bit(name):
    times = compare(suite(name).tasks[-1], steps=120)  # raises at the first difference
    assert times.shape == (240, 2)


def test_states_agree_from_another_seed_and_after_an_episode(pair, task):
    for seed in (1, 2):
        for simulator in pair:
            simulator.reset(initial_states(task)[seed], seed)
        for _ in range(15):
            advance(*pair, np.array([1.0, -0.5, -1.0, 0.2, 0.0, -0.3, 1.0]), f"seed {seed}")


def test_the_comparison_notices_one_bit(pair, task):
    for simulator in pair:
        simulator.reset(initial_states(task)[0], 0)
    qvel = pair[1].data.qvel
    qvel[0] = np.nextafter(qvel[0], 1.0)
    with pytest.raises(AssertionError, match="left robosuite's trajectory"):
        for _ in range(5):
            advance(*pair, np.zeros(7), "here")


def test_success_is_that_of_robosuite(pair, task):
    """Also where predicates test contacts: every pair of objects, in a state with contacts."""
    stock, fast = pair
    for simulator in pair:
        simulator.reset(initial_states(task)[0], 0)
    objects = stock.env.objects_dict.values()
    finger, floor = "gripper0_finger1_pad_collision", "floor"
    pairs = [(a.contact_geoms, b) for a in objects for b in (*(o.contact_geoms for o in objects), None, finger, floor)]
    expected = [stock.env.check_contact(a, b) for a, b in pairs]
    assert [fast.env.check_contact(a, b) for a, b in pairs] == expected
    assert len(set(expected)) == 2
    assert [fast.env.check_contact(a) for a in fast.env.objects_dict.values()] == [True] * len(fast.env.objects_dict)


@pytest.mark.parametrize("action", [np.zeros(6), np.full(7, np.nan), np.array([0, 0, 0, 0, 0, 0, np.inf])])
def test_an_action_is_seven_finite_numbers(pair, action):
    with pytest.raises(ValueError, match="7 finite numbers"):
        pair[1].step(action)


def test_what_is_not_reproduced_is_refused(pair, monkeypatch):
    env = pair[0].env
    monkeypatch.setattr(env, "hard_reset", True)
    with pytest.raises(ValueError, match=r"only for soft resets: use .*fast=False"):
        FastStepping(env)
