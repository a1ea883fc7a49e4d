"""Perturbed scenes: repeatable, undone by the next, solvable, and stepped as robosuite steps."""

from dataclasses import replace

import numpy as np
import pytest

from dtr.benchmarks.stepping import advance
from dtr.sim.expert import Expert
from dtr.sim.perturbations.disturbed import Disturbed
from dtr.sim.perturbations.footprints import footprints, gap
from dtr.sim.perturbations.layout import groups
from dtr.sim.perturbations.robot import touches
from dtr.sim.simulator import Simulator
from dtr.sim.suites import initial_states, suite

TASK = suite("embedded_goal").tasks[0]
STATES = initial_states(TASK)
PUSH = np.array([1.0, -0.5, -1.0, 0.2, 0.0, -0.3, 1.0])


def disturbed(perturbation: str, **more) -> Disturbed:
    return Disturbed(replace(TASK, perturbation=perturbation), **more)


@pytest.mark.parametrize("scene", [("camera", "robot", "light", "background", "noise"), ("layout",)], ids="-".join)
def test_states_are_those_of_robosuite_bit_for_bit_also_after_a_soft_reset(scene):
    """Under all categories but `language`, which touches no scene; also where ours draws and robosuite does not."""
    stock, ours = disturbed(f"{scene[0]}-5", render=False, fast=False), disturbed(f"{scene[0]}-5", image_size=64)
    for category in scene:
        starts = []
        for trial in (0, 1, 0):
            for simulator in (stock, ours):
                simulator.disturb(f"{category}-5")
                simulator.reset(STATES[trial], 7)
            starts.append(ours.state())
            for step in range(12):
                if step % 4 == 0:
                    ours.observe()
                advance(stock, ours, PUSH, f"{category} state {trial}")
        assert np.array_equal(starts[0], starts[2]), "the start is a function of the episode, not of what came before"
        assert not np.array_equal(starts[0][1:], starts[1][1:])
    stock.close()
    ours.close()


def test_the_arm_starts_as_far_away_as_its_level_says_and_stays_there():
    plain, simulator = Simulator(TASK, render=False), disturbed("robot-4", render=False)
    for trial in (0, 1, 2):
        plain.reset(STATES[trial], 7, settle_steps=0)
        simulator.reset(STATES[trial], 7, settle_steps=0)
        start = simulator.qpos()[:7]
        assert np.linalg.norm(start - plain.qpos()[:7]) == pytest.approx(0.4)
        assert np.array_equal(simulator.qpos()[7:], plain.qpos()[7:])
        low, high = simulator.model.jnt_range[:7].T
        assert np.all((low < start) & (start < high)) and not touches(simulator.model, simulator.data)
        simulator.reset(STATES[trial], 7)
        assert np.linalg.norm(simulator.qpos()[:7] - start) < 0.05, "ten no-op steps do not pull it back to the usual start"
    simulator.close()
    plain.close()


def test_one_scene_serves_all_its_perturbations_as_a_fresh_one_would():
    """What a worker does that plays several variants: after every other perturbation an episode is what it is in a simulator of its own."""
    perturbations = ("robot-5", "background-4", "camera-3", "light-5", "noise-2")

    def episode(simulator):
        simulator.reset(STATES[1], 7)
        seen = [simulator.observe()]
        for _ in range(6):
            simulator.step(PUSH)
        return [*seen, simulator.observe()], simulator.state()

    alone = {}
    for perturbation in perturbations:
        simulator = disturbed(perturbation, image_size=64)
        alone[perturbation] = episode(simulator)
        if perturbation != perturbations[-1]:
            simulator.close()
    for perturbation in (*perturbations, *reversed(perturbations)):
        simulator.disturb(perturbation)
        frames, state = episode(simulator)
        expected_frames, expected_state = alone[perturbation]
        assert np.array_equal(state, expected_state), perturbation
        for frame, expected in zip(frames, expected_frames, strict=True):
            assert np.array_equal(frame.images, expected.images) and np.array_equal(frame.state, expected.state), perturbation
    simulator.close()


def test_a_layout_is_settled_apart_and_in_reach():
    simulator = disturbed("layout-5", render=False)
    env = simulator.env
    assert sum(name.startswith("distractor") for name in env.objects_dict) == 3
    for trial in (0, 1):
        simulator.reset(STATES[trial], 7, settle_steps=0)
        before = simulator.qpos()[9:].reshape(-1, 7)
        units = [*groups(env), *((name,) for name in env.objects_dict if name.startswith("distractor"))]
        prints = footprints(env, units)
        assert min(gap(a, b) for i, a in enumerate(prints) for b in prints[:i]) > 0.01
        for _ in range(20):
            simulator.step(np.array([0, 0, 0, 0, 0, 0, -1.0]))
        after = simulator.qpos()[9:].reshape(-1, 7)
        assert np.abs(after[:, :2] - before[:, :2]).max() < 0.01, "nothing slides or topples"
        assert np.abs(np.abs((after[:, 3:] * before[:, 3:]).sum(1)) - 1).max() < 0.01
    simulator.close()


@pytest.mark.parametrize("perturbation", ["robot-3", "layout-3"])
def test_the_expert_still_solves_it(perturbation):
    simulator = disturbed(perturbation, render=False)
    simulator.reset(STATES[0], 7)
    expert = Expert.of(simulator)
    assert any(simulator.step(expert.act()) for _ in range(200))
    simulator.close()


@pytest.fixture(scope="module")
def plain():
    """What the undisturbed scene shows."""
    simulator = Simulator(TASK, image_size=64)
    simulator.reset(STATES[0], 7)
    frame = simulator.observe()
    simulator.close()
    return frame


@pytest.mark.parametrize("category", ["camera", "light", "background", "noise"])
def test_pictures_change_repeat_and_are_put_back(category, plain):
    simulator = disturbed(f"{category}-3", image_size=64)
    frames = []
    for trial in (0, 1, 0):
        simulator.reset(STATES[trial], 7)
        frames.append(simulator.observe())
        assert np.array_equal(frames[-1].images, simulator.observe().images), "an extra look changes nothing"
    assert np.array_equal(frames[0].images, frames[2].images)
    assert np.abs(frames[0].images[0].astype(int) - plain.images[0]).mean() > 1
    assert np.array_equal(frames[0].state, plain.state)
    if category in ("camera", "noise"):
        assert np.array_equal(frames[0].images[1], plain.images[1]), "the wrist camera is left alone"
    simulator.restore_pictures()
    assert np.abs(simulator.observe().images.astype(int) - (plain.images if category != "noise" else simulator.observe().images)).max() == 0
    simulator.close()
