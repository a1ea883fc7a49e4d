"""Resets, frames and the state that they show."""

import numpy as np
import pytest

from dtr.sim.simulator import CAMERAS, NO_OP, Simulator, axis_angle, build_environment, sample_scene
from dtr.sim.suites import initial_states, suite

CLOSE = np.array([0.3, 0.1, -0.5, 0.0, 0.1, 0.2, 1.0])


@pytest.fixture(scope="module")
def task():
    return suite("embedded_object").tasks[2]


@pytest.fixture(scope="module")
def simulator(task):
    simulator = Simulator(task)
    yield simulator
    simulator.close()


@pytest.fixture
def started(simulator, task):
    simulator.reset(initial_states(task)[0], seed=0)
    return simulator


def test_a_soft_reset_equals_a_hard_one(task):
    """After an episode that closed the gripper, against a scene built anew."""
    soft = Simulator(task, render=False, fast=False)
    soft.reset(initial_states(task)[1], seed=1)
    for _ in range(10):
        soft.step(CLOSE)
    soft.reset(initial_states(task)[0], seed=3, settle_steps=0)
    hard = build_environment(task, render=False)
    hard.hard_reset = True
    np.random.seed(3)  # noqa: NPY002
    hard.reset()
    hard.sim.set_state_from_flattened(initial_states(task)[0])
    hard.sim.forward()
    for _ in range(12):
        soft.step(NO_OP)
        hard.step(NO_OP)
    assert np.array_equal(hard.sim.get_state().flatten(), soft.state())


def test_an_episode_repeats_exactly(started, task):
    def play():
        started.reset(initial_states(task)[0], seed=0)
        return [started.step(CLOSE) for _ in range(10)], started.state(), started.observe()

    (won, state, frame), (won_again, state_again, frame_again) = play(), play()
    assert won == won_again
    assert np.array_equal(state, state_again)
    assert np.array_equal(frame.images, frame_again.images)
    assert np.array_equal(frame.state, frame_again.state)


def test_looking_changes_nothing(started, task):
    for _ in range(5):
        started.step(CLOSE)
    blind = started.state()
    started.reset(initial_states(task)[0], seed=0)
    for _ in range(5):
        started.observe()
        started.step(CLOSE)
    assert np.array_equal(started.state(), blind)


def test_a_frame_can_be_drawn_again_from_qpos(started):
    for _ in range(8):
        started.step(CLOSE)
    live, qpos = started.observe(), started.qpos()
    for _ in range(5):
        started.step(-CLOSE)
    assert not np.array_equal(started.observe().images, live.images)
    started.set_qpos(qpos)
    again = started.observe()
    assert np.array_equal(again.images, live.images)
    assert np.array_equal(again.state, live.state)


def test_the_frame_shows_the_present_state(started):
    """No step behind: the grip site is where qpos puts it."""
    before = started.observe().state
    started.step(CLOSE)
    after = started.observe().state
    assert np.abs(after[:3] - before[:3]).max() > 1e-4
    stale = started.data.site_xpos[started.env.robots[0].eef_site_id].copy()
    started.env.sim.forward()
    assert np.array_equal(started.data.site_xpos[started.env.robots[0].eef_site_id], stale)


def test_images_are_upright_and_mirrored_as_in_the_official_evaluations(started):
    """The green block is drawn where a pinhole camera puts it, columns reversed."""
    frame = started.observe()
    assert frame.images.shape == (2, 64, 64, 3)
    assert frame.images.dtype == np.uint8
    camera = started.model.camera(CAMERAS[0]).id
    block = started.data.xpos[started.env.obj_body_id["green_block_1"]]
    right, up, back = started.data.cam_xmat[camera].reshape(3, 3).T
    ray = block - started.data.cam_xpos[camera]
    scale = 32 / np.tan(np.radians(started.model.cam_fovy[camera]) / 2) / -(ray @ back)
    row, column = int(32 - scale * (ray @ up)), int(32 - scale * (ray @ right))
    red, green, blue = frame.images[0, row, column].astype(int)
    assert green > 2 * max(red, blue)


def test_one_rendering_simulator_a_process(started, task):
    with pytest.raises(RuntimeError, match="one rendering simulator a process"):
        Simulator(task)
    blind = Simulator(task, render=False)
    with pytest.raises(RuntimeError, match="render=False"):
        blind.observe()
    blind.close()


def test_a_state_of_another_scene_is_refused(started):
    with pytest.raises(ValueError, match="should have shape"):
        started.reset(np.zeros(3), seed=0)


def test_seeds_place_objects():
    env = build_environment(suite("embedded_spatial").tasks[0], render=False)
    states = []
    for seed in (0, 1, 0):
        sample_scene(env, seed)
        states.append(env.sim.get_state().flatten())
    assert np.array_equal(states[0], states[2])
    assert not np.array_equal(states[0], states[1])


@pytest.mark.parametrize("angle", [0.0, 0.3, 3.1, 4.0])
def test_axis_angle_is_the_official_one(angle):
    """Angles beyond pi stay so: policies learned that."""
    axis = np.array([0.6, 0.0, 0.8])
    assert np.allclose(axis_angle(axis * np.sin(angle / 2), np.cos(angle / 2)), axis * angle)
