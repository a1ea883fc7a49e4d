"""The scripted expert: it solves every suite without noise, its labels are clean, its recordings repeat."""

import numpy as np
import pytest

from dtr.errors import BadConfig
from dtr.sim.demonstrate import SEED_BASE, Order, record
from dtr.sim.expert import Expert
from dtr.sim.simulator import Simulator
from dtr.sim.suites import TRIALS, initial_states, suite

SUITES = (
    "embedded_spatial",
    "embedded_object",
    "embedded_goal",
    "embedded_long",
    "embedded_pretrain",
    "embedded_compose",
    "embedded_compose_held",
)


@pytest.mark.parametrize("name", SUITES)
def test_it_solves_each_suite(name):
    for task in suite(name).tasks[:: 3 if len(suite(name).tasks) <= 8 else 5]:
        simulator = Simulator(task, render=False)
        for trial in (0, 17):
            simulator.reset(initial_states(task)[trial], trial)
            expert = Expert.of(simulator)
            assert any(simulator.step(expert.act()) for _ in range(suite(name).max_steps)), (task.name, trial)
        simulator.close()


def test_a_recording_repeats_and_its_labels_are_clean():
    task = suite("embedded_goal").tasks[1]
    order = Order(episodes=2, noise=0.2, scatter=6, seed=3, checks=1)
    (first, counts), (second, _) = record(task, order), record(task, order)
    assert first.sha256() == second.sha256()
    assert first.episodes == 2 and counts["kept"] == 2 <= counts["tried"] and counts["clean_successes"] == counts["clean_trials"] == 1
    assert np.abs(first.actions).max() <= 1
    assert set(np.unique(first.actions[:, 6])) == {-1.0, 1.0}, "the gripper's label opens or closes, nothing between"
    assert not first.actions[:, 3:6].any(), "the expert leaves rotation to the controller"


def test_scenes_of_demonstrations_are_none_of_the_fixed_states():
    assert SEED_BASE > TRIALS
    task = suite("embedded_goal").tasks[0]
    recorded, _ = record(task, Order(episodes=1, noise=0.0, scatter=0, seed=0, checks=0))
    width = recorded.qpos.shape[1]
    fixed = initial_states(task)[:, 1 : 1 + width]
    objects = slice(9, width)  # after the arm's seven joints and two fingers
    assert np.abs(fixed[:, objects] - recorded.qpos[0, objects]).max(axis=1).min() > 1e-4


def test_without_noise_every_step_is_the_expert_own():
    task = suite("embedded_goal").tasks[2]
    recorded, _ = record(task, Order(episodes=1, noise=0.0, scatter=0, seed=1, checks=0))
    simulator = Simulator(task, render=False)
    from dtr.sim.simulator import sample_scene

    sample_scene(simulator.env, int(recorded.seed[0]))
    simulator.reset(simulator.state(), int(recorded.seed[0]))
    for action, state in zip(recorded.actions, recorded.state, strict=True):
        np.testing.assert_allclose(simulator.proprioception(), state, atol=2e-5)
        done = simulator.step(action.astype(np.float64))
    assert done
    simulator.close()


@pytest.mark.parametrize("bad", [{"episodes": 0}, {"noise": 2.0}, {"scatter": -1}, {"checks": 51}])
def test_an_impossible_order_is_refused(bad):
    with pytest.raises(BadConfig, match="expects"):
        Order(**({"episodes": 1, "noise": 0.1, "scatter": 0, "seed": 0, "checks": 0} | bad))
