"""`dtr sim-check`: it passes here, and fails where a scene, a picture or a step is another one."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from dtr import sim_check
from dtr.benchmarks import stepping
from dtr.errors import MissingLibrary
from dtr.sim import suites
from dtr.sim.perturbations.disturbed import Disturbed
from dtr.sim.perturbations.variant import CATEGORIES

GOAL = replace(suites.suite("embedded_goal"), tasks=suites.suite("embedded_goal").tasks[:1])


def arguments(*checks: str) -> SimpleNamespace:
    return SimpleNamespace(suites=["embedded_goal"], checks=list(checks), tasks=1, states=2, record=False)


def test_this_machine_simulates_as_it_should(capsys):
    sim_check.run(arguments("assets", "settle", "frames"))
    said = capsys.readouterr().out
    assert said.count("ok  ") == 4 and "needs none" in said and "2 states, at most" in said


def test_an_object_that_falls_straight_down_is_noticed(monkeypatch):
    states = suites.initial_states(GOAL.tasks[0]).copy()
    # time, arm, fingers, then x, y, z of the first thing
    states[1, 1 + 9 + 2] += 0.3
    monkeypatch.setattr(sim_check, "initial_states", lambda task: states)
    finding = sim_check.settle(GOAL, 2)
    assert not finding.ok and "/1)" in finding.found


def test_libero_s_own_suites_may_fall_further():
    """Their files put things in the air; the simulator cannot be asked here."""
    real = replace(GOAL, tasks=(replace(GOAL.tasks[0], suite="libero_goal"),))
    assert sim_check.tolerance(GOAL) == 0.02 and sim_check.tolerance(real) == 0.2


def test_another_picture_is_noticed(monkeypatch):
    with np.load(sim_check.GOLDEN / "embedded_goal.npz") as arrays:
        golden = arrays["frame"]
    for noise, ok in ((1, True), (60, False)):
        frame = np.clip(golden.astype(int) + np.random.default_rng(0).integers(-noise, noise + 1, golden.shape), 0, 255).astype(np.uint8)
        monkeypatch.setattr(sim_check, "first_frame", lambda tasks, frame=frame: frame)
        finding = sim_check.frames(GOAL, 0)
        assert finding.ok is ok and "PSNR" in finding.found
    assert not sim_check.frames(replace(GOAL, name="unheard_of"), 0).required


def test_a_step_that_parts_is_noticed(monkeypatch):
    def parted(*given):
        raise AssertionError(f"fast stepping left robosuite's trajectory: {given[3]}")

    monkeypatch.setattr(stepping, "advance", parted)
    with pytest.raises(MissingLibrary, match="1 check of the simulator failed"):
        sim_check.run(arguments("stepping"))


def test_steps_are_compared_under_every_perturbation_but_that_of_words(monkeypatch):
    advance, compared = stepping.advance, []

    def noted(*given):
        compared.append(given[3].split()[0])
        return advance(*given)

    monkeypatch.setattr(stepping, "advance", noted)
    monkeypatch.setattr(sim_check, "STEPS", 9)
    assert sim_check.stepping(GOAL, 0).ok
    disturbed = [f"embedded_goal+{category}-5" for category in CATEGORIES if category != "language"]
    assert sorted(compared) == sorted(9 * ["embedded_goal+None", *disturbed])


def test_a_look_that_touches_the_simulation_is_noticed(monkeypatch):
    def observe(simulator):
        simulator.data.qvel[0] = np.nextafter(simulator.data.qvel[0], 1.0)

    monkeypatch.setattr(Disturbed, "observe", observe)
    monkeypatch.setattr(sim_check, "PERTURBED", ("noise-5",))
    finding = sim_check.stepping(GOAL, 0)
    assert not finding.ok and "trajectory: embedded_goal+noise-5 step" in finding.found
