"""Batches: a pure function of seed and step that uses every frame once an epoch; normalised inputs; refusals."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import recovery_world as world

from dtr.errors import BadCheckpoint, BadDemonstrations
from dtr.policies.bounds import Bounds
from dtr.recovery.batches import Batches, Order, check, fitted, of_columns


def test_every_row_is_drawn_once_before_any_is_drawn_twice() -> None:
    rows = np.arange(100, 110)
    order = Order(rows, 4, seed=3)
    drawn = np.concatenate([order.draw(k) for k in range(5)])  # two epochs of ten
    assert sorted(drawn[:10]) == sorted(drawn[10:]) == rows.tolist()
    assert drawn[:10].tolist() != drawn[10:].tolist()


def test_the_order_is_a_function_of_seed_and_step_alone() -> None:
    rows = np.arange(10)
    late = Order(rows, 4, seed=3).draw(4)
    walked = Order(rows, 4, seed=3)
    for step in (0, 7, 2):
        walked.draw(step)
    assert np.array_equal(walked.draw(4), late)
    assert not np.array_equal(Order(rows, 4, seed=4).draw(4), late)


def test_a_batch_holds_the_normalised_samples_of_its_rows() -> None:
    data = world.data()
    policy, processor = world.policy(data)
    rows = np.array([8, 0, 30])  # 8 is the last frame of its episode
    batch = Batches(data, processor).batch(rows)
    assert {k: tuple(v.shape) for k, v in batch.items() if k != "input_ids" and k != "attention_mask"} == {
        "pixel_values": (3, 12, 8, 8),
        "proprio": (3, 8),
        "actions": (3, 2, 7),
    }
    expected = processor.targets(data.actions[data.future(rows, 2)])
    assert np.array_equal(batch["actions"], expected)
    assert np.array_equal(batch["actions"][0, 0], batch["actions"][0, 1])
    whole = processor.batch(data.images[rows], data.state[rows], [data.instructions[k] for k in data.task[rows]])
    for name, tensor in whole.items():
        assert np.array_equal(batch[name], tensor), name
    assert policy.losses(batch).shape == (3,)


def test_statistics_come_from_the_given_rows_and_spare_gripper_and_still_dimensions() -> None:
    data = world.data()
    actions = data.actions.copy()
    actions[:, 3] = 0.25
    data = dataclasses.replace(data, actions=actions)
    _, processor = world.policy(data)
    rows = np.arange(18)
    result = fitted(processor, data, rows)
    assert result.actions_bounds.mask == (True, True, True, False, True, True, False)
    assert result.actions_bounds.q01[1] == pytest.approx(np.quantile(data.actions[rows, 1], 0.01))
    assert result.proprio_bounds == of_columns(data.state[rows], Bounds)


def test_data_that_do_not_fit_the_policy_are_refused() -> None:
    data = world.data()
    _, processor = world.policy(data)
    for changed, sentence in (
        (dataclasses.replace(data, actions=data.actions[:, :6]), "expects 7 action numbers, the demonstrations have 6"),
        (dataclasses.replace(data, state=data.state[:, :5]), "expects 8 state numbers, the demonstrations have 5"),
        (dataclasses.replace(data, images=data.images[:, :1]), "expects 2 cameras, the demonstrations have 1"),
        (dataclasses.replace(data, images=data.images[:, :, :4, :4]), r"expects \(8, 8\) pixels a side"),
    ):
        with pytest.raises(BadDemonstrations, match=sentence):
            check(changed, processor, 2)


def test_statistics_with_nan_are_refused() -> None:
    data = world.data()
    _, processor = world.policy(data)
    broken = dataclasses.replace(processor.actions_bounds, q01=(float("nan"),) * 7)
    with pytest.raises(BadCheckpoint, match="normalisation statistics must be finite"):
        check(data, dataclasses.replace(processor, actions_bounds=broken), 2)
