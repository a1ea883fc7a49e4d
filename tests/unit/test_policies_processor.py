"""The processor, by hand-computed numbers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from narrow_oft import SENTENCES, oft, processor

from dtr.errors import BadConfig, UnknownName
from dtr.policies.base import Observation
from dtr.policies.bounds import Bounds
from dtr.policies.openvla_oft_processor import OPENVLA_PROMPT
from dtr.policies.processor import read_processor
from dtr.policies.tokenizer import WordTokenizer, read_tokenizer


def observation(instruction: str, value: int = 255) -> Observation:
    return Observation(np.full((2, 16, 16, 3), value, np.uint8), np.zeros(8, np.float32), instruction)


def test_inputs_fit_the_policy() -> None:
    p = processor()
    b = p.inputs([observation(s) for s in SENTENCES])
    assert {k: (tuple(v.shape), v.dtype) for k, v in b.items()} == {
        "pixel_values": ((2, 12, 16, 16), torch.float32),
        "input_ids": ((2, 1 + 6 + 1 + 21 + 1), torch.int64),
        "attention_mask": ((2, 30), torch.bool),
        "proprio": ((2, 8), torch.float32),
    }
    assert oft().act(b).shape == (2, 3, 7)


def test_pixels_are_normalised_for_each_tower_and_camera() -> None:
    images = np.zeros((1, 2, 16, 16, 3), np.uint8)
    images[0, 1, 2, 3] = (255, 128, 0)  # the wrist camera, row 2, column 3
    x = processor().pixels(images)[0]
    assert torch.allclose(x[6:9, 2, 3], torch.tensor([(1 - 0.485) / 0.229, (128 / 255 - 0.456) / 0.224, -0.406 / 0.225]))
    assert torch.allclose(x[9:12, 2, 3], torch.tensor([1.0, 128 / 255 * 2 - 1, -1.0]), atol=1e-6)
    assert torch.allclose(x[3:6, 2, 3], torch.tensor([-1.0, -1.0, -1.0]))
    with pytest.raises(BadConfig, match="render them at the policy's image size"):
        processor().pixels(images[:, :, :8])


def test_text_is_bos_prompt_empty_placeholders_stop_padding() -> None:
    ids, mask = processor(bos=1, stop=2, text_tokens=32).text(["Pick up  the MILK", "milk"])
    words = {w: 6 + k for k, w in enumerate(sorted({w for s in SENTENCES for w in s.split()}))}
    assert ids[0, :6].tolist() == [1, *(words[w] for w in ("pick", "up", "the", "milk")), 3]
    assert ids[1].tolist() == [1, words["milk"], 3, *[4] * 21, 2, *[0] * 7]
    assert mask.sum(1).tolist() == [28, 25] and bool(mask[:, 0].all()) and ids.shape == (2, 32)
    with pytest.raises(BadConfig, match="raise it in the configuration"):
        processor(text_tokens=20).text(["milk"])


def test_the_openvla_prompt_and_unknown_words() -> None:
    words = WordTokenizer.of([OPENVLA_PROMPT.format(instruction="lift it")], first=10, unknown=5)
    assert words.encode("In: lift the") == [words.encode("in")[0], words.encode(":")[0], words.encode("lift")[0], words.encode("the")[0]]
    assert words.encode("zebra") == [5] and words.encode("to") != [5]
    assert read_tokenizer(words.to_dict()) == words
    with pytest.raises(UnknownName, match="words"):
        read_tokenizer({"kind": "word"})


def test_the_empty_token_is_not_doubled() -> None:
    p = processor(empty=6 + sorted({w for s in SENTENCES for w in s.split()}).index("milk"))
    assert p.text(["milk"])[1].sum() == 1 + 1 + 21 + 1


def test_bounds_by_hand() -> None:
    b = Bounds((0.0, -1.0, 0.0), (2.0, 3.0, 1.0), (True, True, False))
    np.testing.assert_allclose(b.normalise([[1.0, 3.0, 0.3], [9.0, -9.0, 7.0]]), [[0, 1, 0.3], [1, -1, 7.0]], atol=1e-7)
    np.testing.assert_allclose(b.restore([[0.0, 1.0, 0.3], [2.0, 0.0, 0.0]]), [[1, 3, 0.3], [3, 1, 0]], atol=1e-7)
    with pytest.raises(BadConfig, match="one length"):
        Bounds((0.0,), (1.0, 2.0), (True,))


def test_actions_go_there_and_back_with_the_gripper_inverted() -> None:
    p = processor()
    actions = np.tile(np.array([-0.4, 0.0, 0.7, 0.1, 0.2, 0.3, -1.0]), (2, 3, 1))
    actions[1, :, 6] = 1
    targets = p.targets(actions)
    assert targets.dtype == torch.float32 and targets[0, 0, 6] == 1 and targets[1, 0, 6] == 0  # 1 = open
    np.testing.assert_allclose(p.actions(targets), actions, atol=1e-6)


def test_actions_are_clipped_and_the_gripper_is_exactly_one() -> None:
    raw = torch.full((1, 1, 7), 9.0)
    for g, expected in ((0.51, -1.0), (0.5, 1.0), (0.49, 1.0), (-3.0, 1.0), (4.0, -1.0)):
        raw[..., 6] = g
        out = processor().actions(raw)
        assert out[0, 0, 6] == expected and (out[0, 0, :6] == 1.0).all() and out.dtype == np.float64


def test_processor_survives_json() -> None:
    p = processor()
    assert read_processor(p.to_dict()) == p
    with pytest.raises(BadConfig, match="does not read"):
        read_processor({k: v for k, v in p.to_dict().items() if k != "proprio_bounds"})
