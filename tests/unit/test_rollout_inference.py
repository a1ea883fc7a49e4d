"""A row's bits depend on the shape of the batch and on its place, never on its neighbours: what the engine rests on."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from tiny_policy import frames, tiny

from dtr.errors import BadConfig
from dtr.rollout.inference import Inference, action_gap, build_inference
from dtr.rollout.protocol import Protocol
from dtr.sim.simulator import Frame

TEXTS = ["put the milk in the crate", "put the green block on the plate", "lift it"]


@pytest.fixture(scope="module", autouse=True)
def one_thread():  # type: ignore[no-untyped-def]
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def requests(count: int, seed: int = 0) -> list[tuple[Frame, str]]:
    return [(Frame(images, state), TEXTS[i % 3]) for i, (images, state) in enumerate(frames(count, seed=seed))]


@pytest.mark.parametrize("rows", [1, 2, 3, 4, 7])
def test_a_row_is_bitwise_the_same_whatever_its_neighbours_are(rows: int) -> None:
    infer = Inference(*tiny(TEXTS), rows, TEXTS)
    subject, *others = requests(12)
    for row in range(rows):
        alone = infer({row: subject})[row]
        for k in range(4):
            neighbours = {other: others[(k * 3 + other) % 11] for other in range(rows) if other != row}
            assert np.array_equal(infer(neighbours | {row: subject})[row], alone)


def test_neighbours_of_another_text_length_do_not_matter() -> None:
    infer = Inference(*tiny(TEXTS), 2, TEXTS)
    (frame, _), (other, _) = requests(2)
    outputs = [infer({0: (frame, "lift it"), 1: (other, text)})[0] for text in TEXTS]
    assert all(np.array_equal(output, outputs[0]) for output in outputs)


def test_only_rows_that_were_asked_for_are_answered() -> None:
    infer = Inference(*tiny(TEXTS), 4, TEXTS)
    answers = infer({2: requests(1)[0]})
    assert set(answers) == {2} and answers[2].shape == (8, 7)
    assert set(np.unique(answers[2][:, -1])) <= {-1.0, 1.0}


def test_batch_sizes_differ_by_rounding_only() -> None:
    gaps = action_gap(*tiny(TEXTS), requests(3), [1, 2, 5])
    assert gaps[1] == 0.0
    assert max(gaps.values()) < 1e-5


def test_a_protocol_that_does_not_fit_the_policy_is_refused() -> None:
    policy, processor = tiny(TEXTS)
    with pytest.raises(BadConfig, match="at most 8 executed actions"):
        build_inference(policy, processor, Protocol("x", chunk=9), TEXTS)
    with pytest.raises(BadConfig, match=r"64 px.*128 px"):
        build_inference(policy, processor, Protocol("x", image_size=128), TEXTS)
    with pytest.raises(BadConfig, match="by the image path exact, but the protocol x is for openpi: set its image_path"):
        build_inference(policy, processor, Protocol("x", image_path="openpi"), TEXTS)


def test_pictures_are_resized_on_the_policy_s_own_path_only() -> None:
    policy, processor = tiny(TEXTS)
    processor = dataclasses.replace(processor, image_path="openpi")
    infer = build_inference(policy, processor, Protocol("x", image_size=128, batch=1, image_path="openpi"), TEXTS)
    frame, text = requests(1)[0]
    large = Frame(frame.images.repeat(2, axis=1).repeat(2, axis=2), frame.state)
    assert infer({0: (large, text)})[0].shape == (8, 7)
    with pytest.raises(BadConfig, match="by the image path openpi, but the protocol x is for exact"):
        build_inference(policy, processor, Protocol("x"), TEXTS)


def test_the_image_path_is_a_condition_only_where_it_is_set() -> None:
    plain, other = Protocol("x"), Protocol("x", image_path="openpi")
    assert "image_path" not in plain.to_dict() and Protocol.from_dict(other.to_dict()) == other
    assert plain.conditions(10, "s") != other.conditions(10, "s")
