"""The data set in memory: chunks at the end of an episode, held-out episodes, joining, refusals."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import recovery_world as world

from dtr.data.dataset import Dataset, join
from dtr.data.normalisation import moving, summary
from dtr.errors import BadDemonstrations


def counting() -> Dataset:
    """Episodes 4 and 9 of three and two frames; every number of action t is t."""
    actions = np.repeat(np.arange(5, dtype=np.float32)[:, None], 7, axis=1)
    images = np.zeros((5, 2, 4, 4, 3), np.uint8)
    return Dataset(images, np.zeros((5, 8), np.float32), actions, np.array([4, 4, 4, 9, 9]), np.zeros(5, np.int64), ("go",))


def test_a_chunk_repeats_the_last_action_of_its_episode_and_never_reads_the_next() -> None:
    future = counting().future(np.array([0, 1, 2, 3, 4]), 3)
    assert future.tolist() == [[0, 1, 2], [1, 2, 2], [2, 2, 2], [3, 4, 4], [4, 4, 4]]


def test_hold_out_takes_whole_episodes_and_the_same_ones_every_time() -> None:
    data = world.data(episodes=10)
    train, held = data.hold_out(0.3, seed=5)
    assert len(np.unique(data.episode[held])) == 3
    assert not set(data.episode[held]) & set(data.episode[train])
    assert len(train) + len(held) == len(data)
    assert np.array_equal(held, data.hold_out(0.3, seed=5)[1])
    assert not np.array_equal(held, data.hold_out(0.3, seed=6)[1])


def test_joining_renumbers_episodes_and_merges_equal_instructions() -> None:
    first, second = counting(), dataclasses.replace(counting(), instructions=("stop",))
    joined = join([first, second, counting()])
    assert joined.episode.tolist() == [0, 0, 0, 1, 1, 2, 2, 2, 3, 3, 4, 4, 4, 5, 5]
    assert joined.instructions == ("go", "stop")
    assert joined.task.tolist() == [0] * 5 + [1] * 5 + [0] * 5


def test_joining_different_pictures_is_refused() -> None:
    with pytest.raises(BadDemonstrations, match="must agree in image, state and action shapes"):
        join([counting(), world.data()])


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"state": np.full((5, 8), np.nan, np.float32)}, r"state must be finite, got NaN or infinity in frame 0 \(episode 4\)"),
        ({"actions": np.zeros((4, 7), np.float32)}, "actions must have one row for each of 5 frames, got 4"),
        ({"images": np.zeros((5, 4, 4, 3), np.uint8)}, "images must be"),
        ({"images": np.zeros((5, 2, 4, 4, 3), np.float32)}, "uint8"),
        ({"episode": np.array([4, 9, 4, 9, 9])}, "ordered by episode"),
        ({"task": np.array([0, 0, 0, 1, 0])}, r"task must be one of the 1 instructions, got 1 in frame 3"),
        ({"task": np.array([0, -1, 0, 0, 0])}, r"task must be one of the 1 instructions, got -1 in frame 1"),
    ],
)
def test_wrong_arrays_are_refused(changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(BadDemonstrations, match=sentence):
        dataclasses.replace(counting(), **changes)


def test_the_hash_sees_every_part() -> None:
    base = counting()
    other = [
        dataclasses.replace(base, instructions=("stop",)),
        dataclasses.replace(base, images=base.images + np.uint8(1)),
        dataclasses.replace(base, actions=base.actions + 1),
        dataclasses.replace(base, episode=np.array([4, 4, 9, 9, 9])),
    ]
    assert len({d.sha256 for d in [base, *other]}) == 5


def test_quantiles_by_hand() -> None:
    numbers = summary(np.arange(101.0)[:, None])
    assert (numbers["q01"], numbers["q99"], numbers["mean"], numbers["count"]) == ([1.0], [99.0], [50.0], [101])


def test_a_dimension_that_stands_still_is_not_normalised() -> None:
    assert moving(np.array([0.0, 0.0, -1.0]), np.array([0.0, 5e-5, 1.0])).tolist() == [False, False, True]
