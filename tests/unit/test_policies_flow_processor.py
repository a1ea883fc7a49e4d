"""Numbers and words of the flow policies, by hand, and a narrow pi0.5 through the verbs."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import recovery_world as world
import torch
from test_recovery_verbs import RECIPE, write

from dtr.cli import run
from dtr.errors import BadConfig, UnknownName
from dtr.hub.processing import SPOKEN
from dtr.policies.base import Observation
from dtr.policies.bounds import Bounds, Moments
from dtr.policies.file import load_policy
from dtr.policies.flow_processor import FlowProcessor, binned, seeds
from dtr.policies.processor import read_processor
from dtr.policies.registry import build, policy_class
from dtr.policies.tokenizer import WordTokenizer

WORDS = WordTokenizer.of(["push it", FlowProcessor.vocabulary({})], 6, 5)
ACTIONS = Bounds((-1.0,) * 6 + (-1.0,), (1.0,) * 7, (True,) * 7)
PROPRIO = Bounds((0.0,) * 8, (2.0,) * 8, (True,) * 8)
STREAM = {"depth": 3, "heads": 2, "kv_heads": 1, "head_dim": 8, "mlp": 16, "activation": "gelu_tanh"}
PI05 = {
    "name": "pi05",
    "config": {
        "vision": {"depth": 2, "width": 8, "heads": 2, "mlp": 16, "image_size": 8, "patch_size": 4},
        "language": {**STREAM, "width": 16, "norm": "rms_plus_one"},
        "action": {**STREAM, "width": 12, "norm": "scale_shift_gate", "final_norm": "scale_shift_gate"},
        "images": 2,
        "chunk": 2,
        "action_dim": 8,
        "max_text": 24,
    },
}


def processor(**changes: object) -> FlowProcessor:
    fields: dict[str, object] = {"padded_dim": 9, "text_tokens": 30, "bos": 1, **changes}
    return FlowProcessor(WORDS, ACTIONS, PROPRIO, 8, 2, 7, **fields)  # type: ignore[arg-type]


def observation(level: float = 1.0, instruction: str = "push it", value: int = 255) -> Observation:
    return Observation(np.full((2, 8, 8, 3), value, np.uint8), np.full(8, level, np.float32), instruction)


def test_bins_are_openpi_s() -> None:
    edges = np.linspace(-1, 1, 257)
    assert binned(np.array([-1.5, -1.0, 0.0, edges[200] + 1e-9, 0.9999, 1.0, 3.0])) == "-1 0 128 200 255 255 255"


def test_the_prompt_says_the_state_in_bins() -> None:
    batch = processor().inputs([observation(1.01)])  # a hundredth over the middle of the bounds: bin 128 + 1
    ids = {word: WORDS.encode(word)[0] for word in ("task", ":", "push", "it", ",", "state", "129", ";", "action")}
    words = ["task", ":", "push", "it", ",", "state", ":", *["129"] * 8, ";", "action", ":"]
    assert batch["input_ids"][0].tolist() == [1, *(ids[word] for word in words), *[0] * (30 - 1 - len(words))]
    assert batch["attention_mask"].sum().item() == 1 + len(words)
    assert set(batch) == {"pixel_values", "input_ids", "attention_mask", "noise_seed"}
    assert batch["pixel_values"].shape == (1, 2, 3, 8, 8) and torch.allclose(batch["pixel_values"], torch.ones(()))


def test_the_state_as_a_token_or_nowhere() -> None:
    token = processor(state="token", state_dim=10, embodiment=2, prompt="{instruction}").inputs([observation(0.0)])
    assert token["state"][0].tolist() == [-1.0] * 8 + [0.0] * 2 and token["embodiment"].tolist() == [2]
    bare = processor(state="none", prompt="{instruction}")
    one, two = (bare.inputs([observation(level)])["input_ids"] for level in (0.0, 2.0))
    assert torch.equal(one, two)
    with pytest.raises(UnknownName, match="did you mean 'token'"):
        processor(state="tokens")


class Letters:
    """A tokenizer that shows what it was given."""

    def encode(self, text: str) -> list[int]:
        return [ord(letter) for letter in text]

    def to_dict(self) -> dict[str, object]:
        return {}


def said(instruction: str, level: float = 1.0, **changes: object) -> list[str | int]:
    """What a request's words are: the ids below 4 as they are, the others as letters."""
    fields: dict[str, object] = {"padded_dim": 9, "text_tokens": 200, **changes}
    made = FlowProcessor(Letters(), ACTIONS, PROPRIO, 8, 2, 7, **fields)  # type: ignore[arg-type]
    batch = made.inputs([observation(level, instruction)])
    ids = batch["input_ids"][0][batch["attention_mask"][0]].tolist()
    return [*(k for k in ids if k < 4), "".join(chr(k) for k in ids if k >= 4)]


def spoken(name: str, prompt: str) -> dict[str, object]:
    """The fields of a published prompt, without the pictures'."""
    pictures = ("image_path", "pad", "missing", "pixel_mean", "pixel_std")
    return {key: value for key, value in SPOKEN[name, prompt].items() if key not in pictures} | {"state_dim": 9}


def test_published_prompts_are_upstream_s_to_the_letter() -> None:
    """Level 1 is the middle of the bounds, the edge between bins 127 and 128: openpi and giga-models round it apart."""
    eight = " ".join(["128"] * 8)
    assert said("Put_it on\nit ", 1.000001, **spoken("pi05", "text_state")) == [2, f"Task: Put it on it, State: {eight};\nAction: "]
    wide = said("Put it", 1.000001, **spoken("pi05", "text_padded_state"))
    assert wide == [2, f"Task: Put it, State: {eight} {' '.join(['128'] * 24)};\nAction: "]
    assert said("Put_it", **spoken("pi05", "text")) == [2, "Put it\n"]
    assert said("Put_it", 1.000001, **spoken("gigabrain0", "text_state")) == [2, f"Task: put it, State: {eight};\n"]
    assert said("Put it", **spoken("lingbot_vla", "text")) == ["<bos>Put it\n"]


def test_a_number_between_two_bins() -> None:
    assert binned(np.array([-1.0, 0.0, 0.5])) == "0 128 192" and binned(np.array([-1.0, 0.0, 0.5]), lower_edge=True) == "-1 127 191"


def test_the_newline_is_encoded_apart() -> None:
    class Greedy(Letters):
        def encode(self, text: str) -> list[int]:
            return [7] if text == "push it" else [9] if text == "\n" else [3]

    fields: dict[str, object] = {"padded_dim": 9, "text_tokens": 5, **spoken("pi05", "text")}
    batch = FlowProcessor(Greedy(), ACTIONS, PROPRIO, 8, 2, 7, **fields).inputs([observation()])  # type: ignore[arg-type]
    assert batch["input_ids"][0].tolist() == [2, 7, 9, 0, 0]


def test_a_missing_camera_is_masked() -> None:
    p = processor(slots=3, cameras=2, missing=-1.0)
    batch = p.inputs([observation(), observation()])
    assert batch["pixel_values"].shape == (2, 3, 3, 8, 8) and batch["pixel_values"][:, 2].eq(-1).all()
    assert batch["image_mask"].tolist() == [[True, True, False]] * 2 and p.pictures(3) == 2
    with pytest.raises(BadConfig, match="given 2 pictures a request and sees 1 cameras"):
        processor(slots=3, cameras=1).inputs([observation()])


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"padded_dim": 6}, "the environment takes 7 action numbers, the model has 6"),
        ({"state": "token", "state_dim": 7}, "the state has 8 numbers, but the model's token of it 7"),
        ({"prompt": "{instruction} in {mood}"}, "may hold {instruction}, {state} and no other brace, got '{instruction} in {mood}'"),
        ({"prompt": "{instruction} {"}, "no other brace"),
        ({"prompt": "{}"}, "no other brace"),
    ],
)
def test_a_processor_that_cannot_work_is_refused(fields: dict[str, object], says: str) -> None:
    with pytest.raises(BadConfig) as refused:
        processor(**fields)
    assert says in str(refused.value) and "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("options", "robots", "says"),
    [
        ({"embodiment": -1}, 3, "action layers for 3 robots, got embodiment -1: say processor.embodiment, 0 to 2"),
        ({"embodiment": 3}, 3, "got embodiment 3"),
        ({"embodiment": 0}, 0, "knows one robot only"),
        ({"padded_dim": 12}, 0, "the model has 9 action numbers, the processor pads to 12"),
        ({"state": "token", "state_dim": 12}, 0, "the model's token of the state has 0 numbers, the processor's 12"),
    ],
)
def test_a_processor_of_another_policy_is_refused(options: dict[str, object], robots: int, says: str) -> None:
    config = SimpleNamespace(action_dim=9, max_text=30, picture=(3, 8, 8), chunk=2, embodiments=robots)
    with pytest.raises(BadConfig, match=says):
        FlowProcessor.newborn(config, WORDS, (ACTIONS, PROPRIO), options)


def test_an_image_slot_without_a_picture_is_said() -> None:
    policy = build("pi05", policy_class("pi05").parse({**PI05["config"], "images": 3, "vocab": 300}), 0)  # type: ignore[dict-item]
    batch = processor(padded_dim=8, text_tokens=24, state="none", prompt="{instruction}").inputs([observation()])
    with pytest.raises(BadConfig, match=r"pi05 sees 3 images a request and was given 2: .*`slots: 3` and `cameras: 2`"):
        policy.act(batch)
    masked = processor(padded_dim=8, text_tokens=24, state="none", prompt="{instruction}", slots=3, cameras=2).inputs([observation()])
    assert policy.act(masked).isfinite().all()


def test_training_hashes_no_pictures() -> None:
    p = processor()
    assert "noise_seed" not in p.batch(np.zeros((1, 2, 8, 8, 3), np.uint8), np.zeros((1, 8)), ["push it"])
    assert "noise_seed" in p.inputs([observation()])


def test_a_gripper_that_is_a_sign() -> None:
    numbers = torch.zeros(1, 2, 9)
    numbers[0, :, 6] = torch.tensor([0.2, -0.3])
    raw, sign = (processor(gripper=kind).actions(numbers)[0, :, 6] for kind in ("raw", "sign"))
    np.testing.assert_allclose(raw, [0.2, -0.3], atol=1e-6)
    assert sign.tolist() == [1.0, -1.0]


def test_mean_and_standard_deviation() -> None:
    p = dataclasses.replace(processor(), actions_bounds=Moments((0.1,) * 7, (0.5,) * 7, (True,) * 7))
    actions = np.random.default_rng(0).uniform(-1, 1, (2, 2, 7))
    np.testing.assert_allclose(p.targets(actions)[..., :7], (actions - 0.1) / (0.5 + 1e-6), rtol=1e-5)
    np.testing.assert_allclose(p.actions(p.targets(actions)), actions, atol=1e-6)
    assert read_processor(json.loads(json.dumps(p.to_dict()))) == p


def test_actions_are_padded_and_come_back() -> None:
    actions = np.random.default_rng(0).uniform(-1, 1, (3, 2, 7))
    p = processor()
    targets = p.targets(actions)
    assert targets.shape == (3, 2, 9) and not targets[..., 7:].any()
    np.testing.assert_allclose(p.actions(targets), actions, atol=1e-6)
    assert p.targets(np.full((1, 7), 3.0))[0, 0].item() == pytest.approx(3.0, abs=1e-5)  # not clipped; actions are
    assert p.actions(torch.full((1, 2, 9), 3.0)).max() == 1.0


def test_noise_follows_from_what_is_seen_alone() -> None:
    p = processor()
    together = p.inputs([observation(1.0), observation(0.5), observation(1.0, value=3)])["noise_seed"]
    assert together[1] == p.inputs([observation(0.5)])["noise_seed"][0]
    assert len(set(together.tolist())) == 3
    pictures = np.zeros((1, 2, 8, 8, 3), np.uint8)
    assert torch.equal(seeds(pictures, np.zeros((1, 8))), seeds(torch.from_numpy(pictures), np.zeros((1, 8), np.float32)))


def test_a_longer_instruction_lengthens_the_padding_and_changes_no_action() -> None:
    short, long = "push it", "push it " * 12
    p = processor(padded_dim=8)
    assert p.fixed([short]) is p
    with pytest.raises(BadConfig, match=r"an instruction needs .* but text_tokens is 30"):
        p.inputs([observation(instruction=long)])
    longer = p.fixed([short, long])
    assert longer.text_tokens > 30 and longer.inputs([observation(level=2.0, instruction=long)])["attention_mask"].all()
    policy = build("pi05", {**PI05["config"], "vocab": 300}, 0).eval()  # type: ignore[dict-item]
    plain, padded = (policy.act(q.inputs([observation()])) for q in (p, longer))
    torch.testing.assert_close(padded, plain, rtol=0, atol=1e-5)


def test_a_file_gives_the_same_processor_back() -> None:
    for p in (processor(), processor(state="token", state_dim=75, embodiment=1)):
        values = json.loads(json.dumps(p.to_dict()))
        assert values["kind"] == "flow" and read_processor(values) == p
    with pytest.raises(UnknownName, match="did you mean 'flow'"):
        read_processor(values | {"kind": "flaw"})


def test_a_narrow_pi05_is_trained_dropped_and_recovered(tmp_path: Path) -> None:
    write(tmp_path / "data", world.data())
    verbs = {"--data": tmp_path / "data", "--recipe": RECIPE, "--state-dir": tmp_path / "state"}

    def call(verb: str, **options: object) -> None:
        words = [
            word
            for name, value in {**verbs, **{f"--{k.replace('_', '-')}": v for k, v in options.items()}}.items()
            for word in (name, str(value))
        ]
        assert run([verb, *words]) == 0

    call("checkpoint", config=json.dumps(PI05), out=tmp_path / "pi05.safetensors")
    plan = tmp_path / "plan.json"
    assert run(["drop", "--policy", str(tmp_path / "pi05.safetensors"), "--cut", "language-keep-0", "--plan-out", str(plan)]) == 0
    call("recover", policy=tmp_path / "pi05.safetensors", plan=plan, out=tmp_path / "smaller.safetensors")
    loaded = load_policy(tmp_path / "smaller.safetensors")
    assert loaded.policy.stacks()["language"].kept == (0,) and len(loaded.policy.stacks()["action"].kept) == 3
    batch = loaded.processor.inputs([observation(0.3, "push it"), observation(0.4, "pull it")])
    chunk = loaded.processor.actions(loaded.policy.act(batch))
    assert chunk.shape == (2, 2, 7) and np.isfinite(chunk).all()
