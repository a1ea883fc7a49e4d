"""The engine with real worker processes and a simulator of one number."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))  # spawned workers inherit sys.path and must find the fakes

from rollout_fakes import build_judged, build_line, orders, walk

from dtr.errors import MissingLibrary
from dtr.rollout.engine import Engine, Result
from dtr.rollout.protocol import Protocol
from dtr.rollout.schedule import Schedule
from dtr.rollout.worker import Factory

PROTOCOL = Protocol("test", batch=2, chunk=3)
STARTS = (0.5, 0.0, -0.5, 0.875)


def play(folder: Path, tasks: tuple[str, ...], workers: int = 2, hang_s: float = 60.0, starts: tuple[float, ...] = STARTS) -> list[Result]:
    engine = Engine(walk, PROTOCOL, workers, build_line, hang_s=hang_s)
    return sorted(engine.run(orders(folder, tasks, starts)), key=lambda result: result.order.key)


def summary(results: list[Result]) -> list[tuple[bool, int, int] | str | None]:
    return [(r.finished.success, r.finished.steps, r.finished.inferences) if r.finished else r.error for r in results]


def test_counts_steps_and_inferences(tmp_path: Path) -> None:
    # Steps of 1/16, chunks of 3: 8 from 0.5, 16 from 0, 2 of the first chunk from 0.875; -0.5 walks away from the goal.
    assert summary(play(tmp_path, ("plain",), workers=1)) == [(True, 8, 3), (True, 16, 6), (False, 20, 7), (True, 2, 1)]


def test_the_goal_of_what_was_said_is_watched_and_changes_nothing_else(tmp_path: Path) -> None:
    def run(limit: str | None, build: Factory = build_judged) -> list[Result]:
        asked = [replace(o, meant=None if limit is None else ("other", (("beyond", limit),))) for o in orders(tmp_path, ("a",), STARTS)]
        return sorted(Engine(walk, PROTOCOL, 2, build).run(asked), key=lambda result: result.order.key)

    plain, watched = run(None), run("0.9")
    assert [r.finished.followed for r in plain if r.finished] == [None] * 4
    assert [r.finished.followed for r in watched if r.finished] == [True, True, False, True]
    assert [replace(r.finished, followed=None) for r in watched if r.finished] == [r.finished for r in plain]
    assert [r.finished.followed for r in run("2") if r.finished] == [False] * 4, "the episode ends at the task's own goal"
    assert all("cannot say whether" in str(r.error) for r in run("0.9", build_line))


def test_results_do_not_depend_on_the_number_of_workers(tmp_path: Path) -> None:
    tasks = ("a", "b", "c")
    one, four = play(tmp_path, tasks, workers=1), play(tmp_path, tasks, workers=4)
    assert [r.finished for r in one] == [r.finished for r in four]
    assert len({r.finished.trace for r in one if r.finished}) == len(STARTS)  # the same walk in every task, another from every start


def test_a_worker_builds_a_simulator_only_when_the_task_changes(tmp_path: Path) -> None:
    play(tmp_path, ("a", "b"), workers=1)
    assert len(list(tmp_path.glob("built-*"))) == 2


@pytest.mark.parametrize("kind", ["crash", "exit"])
def test_one_crash_is_retried(tmp_path: Path, kind: str) -> None:
    results = play(tmp_path, (f"{kind}-once",))
    assert [r.error for r in results] == [None] * 4
    assert summary(results) == summary(play(tmp_path, ("plain",)))


@pytest.mark.parametrize(("kind", "message"), [("crash", "ZeroDivisionError: the scene fell apart"), ("exit", "exit code 3")])
def test_two_crashes_are_an_error_and_no_failure(tmp_path: Path, kind: str, message: str) -> None:
    results = play(tmp_path, (f"{kind}-always",))
    assert message in str(results[0].error) and results[0].finished is None
    assert [r.error for r in results[1:]] == [None] * 3


def test_a_hung_worker_is_replaced_once(tmp_path: Path) -> None:
    (tmp_path / "once").mkdir(), (tmp_path / "always").mkdir()
    jobs = orders(tmp_path / "once", ("hang-once",), (0.5,)) + orders(tmp_path / "always", ("hang-always",), (0.5,))
    results = {r.order.task.name: r for r in Engine(walk, PROTOCOL, 2, build_line, hang_s=8.0).run(jobs)}
    assert summary([results["hang-once"]]) == [(True, 8, 3)]
    assert results["hang-always"].error == "no sign of progress for 8 s"


def test_what_the_user_can_mend_stops_the_run(tmp_path: Path) -> None:
    with pytest.raises(MissingLibrary, match="no GL here"):
        play(tmp_path, ("refuse-always",))


def test_film_holds_every_step(tmp_path: Path) -> None:
    (result,) = Engine(walk, PROTOCOL, 1, build_line).run(orders(tmp_path, ("plain",), (0.875,), film=True))
    assert result.finished is not None and result.finished.film is not None
    assert result.finished.film.shape == (result.finished.steps + 1, 4, 4, 3)
    assert result.finished.film[0, 0, 0, 0] == 87


def test_requests_of_one_row_wait_for_different_batches(tmp_path: Path) -> None:
    # Initial states 0 and 2 of one task own the same row of two: every batch may ask for it once.
    asked: list[set[int]] = []

    def spy(requests):  # type: ignore[no-untyped-def]
        asked.append(set(requests))
        return walk(requests)

    jobs = [o for o in orders(tmp_path, ("plain",), (0.0, 0.0, 0.0)) if o.key.init_state != 1]
    results = list(Engine(spy, PROTOCOL, 2, build_line).run(jobs))
    assert len(results) == 2 and all(rows == {0} for rows in asked) and len(asked) == 12


def test_schedule_keeps_workers_on_their_task_and_spreads_them(tmp_path: Path) -> None:
    schedule = Schedule(orders(tmp_path, ("a", "b"), (0.0, 0.1, 0.2)))
    first, second = schedule.next(None), schedule.next(None)
    assert first and second and {first.task.name, second.task.name} == {"a", "b"}
    scenes = {o.task.name: o.task.scene for o in (first, second)}
    own = [schedule.next(scenes["a"]), schedule.next(scenes["a"])]
    assert [o.task.name for o in own if o] == ["a", "a"]
    assert [o.key.init_state for o in own if o] == [1, 2]
    helper = schedule.next(scenes["a"])  # task a is done: it joins task b
    assert helper and helper.task.name == "b"
    last = schedule.next(scenes["b"])
    assert last and last.key.init_state == 2
    assert schedule.next(scenes["b"]) is None and schedule.next(scenes["b"]) is None


def test_actions_beyond_the_step_limit_are_not_executed(tmp_path: Path) -> None:
    engine = Engine(walk, Protocol("test", batch=1, chunk=8), 1, build_line)
    (result,) = engine.run(orders(tmp_path, ("plain",), (-0.5,), max_steps=9))
    assert result.finished is not None and (result.finished.steps, result.finished.inferences) == (9, 2)
    assert np.isfinite(result.order.state).all()
