"""`dtr sim-check`: it passes here, and fails where a scene, a picture or a step is another one."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from dtr import sim_check
from dtr.benchmarks import stepping
from dtr.errors import MissingLibrary
from dtr.sim import suites

GOAL = replace(suites.suite("embedded_goal"), tasks=suites.suite("embedded_goal").tasks[:1])


def arguments(*checks: str) -> SimpleNamespace:
    return SimpleNamespace(suites=["embedded_goal"], checks=list(checks), tasks=1, states=2, record=False)


def test_this_machine_simulates_as_it_should(capsys):
    sim_check.run(arguments("assets", "settle", "frames"))
    said = capsys.readouterr().out
    assert said.count("ok  ") == 4 and "needs none" in said and "2 states, at most" in said


def test_a_flying_object_is_noticed(monkeypatch):
    states = suites.initial_states(GOAL.tasks[0]).copy()
    positions = 9 + 7 * 4  # arm, fingers, four things; then speeds
    states[1, 1 + 9 + 2] += 0.3
    states[1, 1 + positions + 9] = 1.5
    monkeypatch.setattr(sim_check, "initial_states", lambda task: states)
    finding = sim_check.settle(GOAL, 2)
    assert not finding.ok and "/1)" in finding.found


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
