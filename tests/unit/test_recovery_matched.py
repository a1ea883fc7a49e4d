"""Steps at equal cost: the paper's Table 4 from the public shapes, and what a recipe makes of a plan."""

from __future__ import annotations

import dataclasses
import functools
import json
from pathlib import Path

import pytest
import recovery_world as world
from test_recovery_verbs import checkpoint, recover, write

from dtr.cli import run
from dtr.errors import BadConfig
from dtr.policies.file import read_header
from dtr.policies.pi05_config import FULL_SIZE
from dtr.policies.registry import skeleton
from dtr.recovery.matched import matched, training_flops

TABLE_4 = {9: (57.9, 25.9), 12: (43.8, 34.2), 16: (25.1, 59.796), 17: (20.4, 73.5)}
"""Language blocks dropped of pi0.5's 18 -> FLOPs left in percent, thousands of steps at batch 64 for the cost of 30k at batch 32."""
flops = functools.cache(training_flops)


@pytest.fixture
def counted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each policy of full size is counted once (seconds) for all tests."""
    monkeypatch.setattr("dtr.recovery.matched.training_flops", flops)


@pytest.mark.usefixtures("counted_once")
@pytest.mark.parametrize("gone", TABLE_4)
def test_the_paper_s_fractions_and_steps(gone: int) -> None:
    left = dataclasses.replace(FULL_SIZE, language=dataclasses.replace(FULL_SIZE.language, kept=tuple(range(18 - gone))))
    percent, thousands = TABLE_4[gone]
    fraction = flops("pi05", left, 200, 1) / flops("pi05", FULL_SIZE, 200, 1)
    assert 100 * fraction == pytest.approx(percent, abs=1.0)
    recipe = world.recipe(steps=30_000, batch=64, matched_batch=32)
    assert matched(recipe, "pi05", FULL_SIZE, left, 200).steps == pytest.approx(1000 * thousands, rel=0.04)


@pytest.mark.usefixtures("counted_once")
def test_more_draws_run_the_second_stream_more_often() -> None:
    """F = A + K B with the first stream's A and the second's B: dropping language blocks saves of A alone, so matched steps get fewer."""
    left = dataclasses.replace(FULL_SIZE, language=dataclasses.replace(FULL_SIZE.language, kept=tuple(range(2))))
    F = {(c, K): flops("pi05", c, 200, K) for c in (FULL_SIZE, left) for K in (1, 2, 8)}
    for config in (FULL_SIZE, left):
        B = F[config, 2] - F[config, 1]
        assert F[config, 8] - F[config, 1] == 7 * B > 0
    few, many = (matched(world.recipe(steps=30_000, batch=64, matched_batch=32, draws=K), "pi05", FULL_SIZE, left, 200) for K in (1, 8))
    assert (few.steps, many.steps) == tuple(round(15_000 * F[FULL_SIZE, K] / F[left, K]) for K in (1, 8))
    assert many.steps < few.steps and many.draws == 8


def test_a_dead_block_counts_as_the_official_code_runs_it() -> None:
    whole = skeleton("pi05", FULL_SIZE)
    assert whole.stacks()["language"].dead == (17,)
    without = dataclasses.replace(FULL_SIZE, language=dataclasses.replace(FULL_SIZE.language, kept=tuple(range(17))))
    one = dataclasses.replace(FULL_SIZE, language=dataclasses.replace(FULL_SIZE.language, kept=tuple(range(1, 18))))
    assert flops("pi05", without, 200, 1) == flops("pi05", one, 200, 1) < flops("pi05", FULL_SIZE, 200, 1)


def test_a_recipe_takes_the_steps_that_its_plan_leaves_room_for(tmp_path: Path) -> None:
    write(tmp_path / "data", world.data())
    write(tmp_path / "other", world.data(seed=1))
    assert checkpoint(tmp_path, "pretrained.safetensors", "state") == 0
    plan, pretrained = tmp_path / "plan.json", tmp_path / "pretrained.safetensors"
    assert run(["drop", "--policy", str(pretrained), "--cut", "language-keep-0", "--plan-out", str(plan)]) == 0
    recipe = json.dumps({"steps": 8, "batch": 8, "lr": 1e-3, "matched_batch": 4})
    assert recover(tmp_path, "same.safetensors", recipe=recipe) == recover(tmp_path, "more.safetensors", recipe=recipe, plan=str(plan)) == 0
    same, more = (read_header(tmp_path / f"{name}.safetensors")["provenance"]["recipe"] for name in ("same", "more"))
    assert same["steps"] == 4 and 4 < more["steps"] < 8 and "matched_batch" not in more


def test_fewer_steps_than_the_warm_up_are_refused() -> None:
    data = world.data()
    policy, _ = world.policy(data)
    with pytest.raises(BadConfig, match="shorten that"):
        matched(world.recipe(steps=12, batch=8, warmup_steps=6, matched_batch=2), policy.name, policy.config, policy.config, 20)
