"""`dtr checkpoint` and `dtr recover` as a user runs them: files, ancestry, equal bytes, and one sentence for what is wrong."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import recovery_world as world
import torch
from safetensors import safe_open

from dtr.cli import run
from dtr.data.dataset import Dataset
from dtr.data.lerobot_writer import Frames, write_frames, write_meta
from dtr.policies.file import load_policy, read_header
from dtr.provenance import sha256_file
from dtr.recovery.train import Training

RECIPE = json.dumps({"steps": 4, "batch": 8, "lr": 1e-3, "report_every": 2})


def write(folder: Path, data: Dataset) -> Path:
    """`data` as a LeRobot data set, one file for each task."""
    files = []
    for task in range(len(data.instructions)):
        rows = data.task == task
        lengths = np.unique(data.episode[rows], return_counts=True)[1].tolist()
        frames = Frames(data.images[rows], data.state[rows], data.actions[rows], lengths, task)
        files.append(write_frames(folder, task, frames, sum(len(f.lengths) for f in files), sum(sum(f.lengths) for f in files), 20))
    write_meta(folder, files, data.instructions, 20, {})
    return folder


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with data/, other/ (another seed) and pretrained.safetensors."""
    folder = tmp_path_factory.mktemp("verbs")
    write(folder / "data", world.data())
    write(folder / "other", world.data(seed=1))
    assert checkpoint(folder, "pretrained.safetensors", "state") == 0
    return folder


def checkpoint(folder: Path, out: str, state: str, **changes: str) -> int:
    options = {"config": json.dumps(world.SETTINGS), "data": str(folder / "data"), "recipe": RECIPE, **changes}
    words = [word for name, value in options.items() for word in (f"--{name}", value)]
    return run(["checkpoint", *words, "--words", "the milk crate", "--state-dir", str(folder / state), "--out", str(folder / out)])


def recover(folder: Path, out: str, **changes: str) -> int:
    options = {"policy": str(folder / "pretrained.safetensors"), "data": str(folder / "other"), "recipe": RECIPE, "seed": "3", **changes}
    words = [word for name, value in options.items() for word in (f"--{name}", value)]
    return run(["recover", *words, "--state-dir", str(folder / f"state-{out}"), "--out", str(folder / out)])


def test_a_checkpoint_knows_its_words_and_its_statistics(place: Path) -> None:
    loaded = load_policy(place / "pretrained.safetensors")
    assert {"push", "pull", "it", "crate"} <= set(loaded.processor.to_dict()["tokenizer"]["words"])  # the data's, and embedded_goal's
    q99 = np.quantile(world.data().state.astype(np.float64), 0.99, axis=0)
    np.testing.assert_allclose(loaded.processor.proprio_bounds.q99, q99)
    provenance = loaded.header["provenance"]
    assert (provenance["stage"], provenance["seed"], provenance["recipe"]["steps"]) == ("checkpoint", 0, 4)


def test_recovery_writes_policy_curve_and_run_record(place: Path) -> None:
    assert recover(place, "a.safetensors") == 0
    header = read_header(place / "a.safetensors")
    assert header["provenance"]["policy"] == sha256_file(place / "pretrained.safetensors")
    assert header["provenance"]["ancestor"]["stage"] == "checkpoint"
    curve = [json.loads(line) for line in (place / "a.safetensors.losses.jsonl").read_text().splitlines()]
    assert [point["step"] for point in curve] == [2, 4]
    assert json.loads((place / "a.safetensors.run.json").read_text())["frames"] == 54
    assert not list((place / "state-a.safetensors").iterdir())  # else a later version of the stage would take these weights over


def test_the_run_record_says_of_how_many_steps_its_seconds_are(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    step = Training.step
    with monkeypatch.context() as patched:
        patched.setattr(Training, "step", lambda self, team, stop=False: step(self, team, stop) or self.state.step == 3)
        assert recover(place, "b.safetensors") == 130
    assert recover(place, "b.safetensors") == 0
    assert json.loads((place / "b.safetensors.run.json").read_text())["resumed_at"] == 3
    assert recover(place, "c.safetensors") == 0
    assert "resumed_at" not in json.loads((place / "c.safetensors.run.json").read_text())


def test_equal_runs_give_equal_bytes_with_one_process_or_two(place: Path) -> None:
    assert recover(place, "one.safetensors") == recover(place, "two.safetensors", processes="2") == 0
    for suffix in ("", ".losses.jsonl"):
        assert (place / f"one.safetensors{suffix}").read_bytes() == (place / f"two.safetensors{suffix}").read_bytes()


def test_a_plan_is_carried_out_on_the_way(place: Path) -> None:
    pretrained, plan, smaller = (place / name for name in ("pretrained.safetensors", "plan.json", "smaller.safetensors"))
    assert run(["drop", "--policy", str(pretrained), "--cut", "language-keep-0", "--plan-out", str(plan), "--out", str(smaller)]) == 0
    assert recover(place, "in_memory.safetensors", plan=str(plan)) == recover(place, "by_file.safetensors", policy=str(smaller)) == 0
    one, two = load_policy(place / "in_memory.safetensors"), load_policy(place / "by_file.safetensors")
    assert one.header["plan"] == two.header["plan"] and one.policy.stacks()["language"].kept == (0,)
    for name, tensor in one.policy.state_dict().items():
        assert torch.equal(tensor, two.policy.state_dict()[name])
    assert recover(place, "x.safetensors", policy=str(smaller), plan=str(plan)) == 2  # the plan is not for a policy that lost blocks


def test_low_rank_recovery_writes_an_ordinary_policy(place: Path) -> None:
    assert recover(place, "low_rank.safetensors", recipe=json.dumps(json.loads(RECIPE) | {"lora": {"rank": 2}})) == 0
    loaded, before = load_policy(place / "low_rank.safetensors"), load_policy(place / "pretrained.safetensors")
    assert loaded.header["provenance"]["recipe"]["lora"] == {"alpha": 16.0, "rank": 2}
    name = "language.stack.blocks.0.q.weight"
    assert torch.linalg.matrix_rank(loaded.policy.state_dict()[name] - before.policy.state_dict()[name], rtol=1e-3) <= 2


def test_weights_may_be_stored_short_and_are_computed_with_long(place: Path) -> None:
    assert recover(place, "long.safetensors") == 0
    assert recover(place, "short.safetensors", recipe=json.dumps(json.loads(RECIPE) | {"stored": "bfloat16"})) == 0
    with safe_open(place / "short.safetensors", "pt") as file:
        assert {file.get_tensor(name).dtype for name in file.keys()} == {torch.bfloat16}  # noqa: SIM118 (not a dict)
    long, short = (load_policy(place / f"{n}.safetensors").policy.state_dict() for n in ("long", "short"))
    for name, tensor in short.items():
        assert tensor.dtype == torch.float32 and torch.equal(tensor, long[name].bfloat16().float())
    assert any(not torch.equal(tensor, long[name]) for name, tensor in short.items())


def test_statistics_are_those_of_the_data_unless_the_recipe_keeps_the_policys(place: Path) -> None:
    assert recover(place, "fresh.safetensors") == 0
    assert recover(place, "kept.safetensors", recipe=json.dumps(json.loads(RECIPE) | {"statistics": "policy"})) == 0
    pretrained, fresh, kept = (load_policy(place / f"{n}.safetensors").processor for n in ("pretrained", "fresh", "kept"))
    assert kept.actions_bounds == pretrained.actions_bounds
    assert fresh.actions_bounds != pretrained.actions_bounds
    assert fresh.tokenizer == pretrained.tokenizer


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"policy": "no/such.safetensors"}, "there is no policy file no/such.safetensors"),
        ({"data": "no/such"}, "in no/such, got neither"),
        ({"recipe": '{"steps": 4, "batch": 7, "lr": 1}'}, "batch must be a multiple of shards"),
        ({"recipe": '{"steps": 4, "batch": 4, "lr": 1, "stored": "bfloat"}'}, '"float32" or "bfloat16"'),
        ({"processes": "3", "data": "no/such"}, "must divide the recipe's 2 shards, got 3"),  # said before anything is read
        ({"processes": "0"}, "must divide the recipe's 2 shards, got 0"),
    ],
)
def test_what_is_wrong_is_one_sentence_and_exit_code_2(
    place: Path, capsys: pytest.CaptureFixture[str], changes: dict[str, str], sentence: str
) -> None:
    assert recover(place, "x.safetensors", **changes) == 2
    said = capsys.readouterr().err.strip().splitlines()
    assert said[-1].startswith("error: ") and sentence in said[-1]
    assert not (place / "x.safetensors").exists()


def test_processes_are_counted_before_a_checkpoint_reads_its_data(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert checkpoint(place, "x.safetensors", "state-x", data="no/such", processes="3") == 2
    assert "must divide the recipe's 2 shards, got 3" in capsys.readouterr().err


def test_a_truncated_policy_file_is_refused(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (place / "cut.safetensors").write_bytes((place / "pretrained.safetensors").read_bytes()[:-200])
    assert recover(place, "x.safetensors", policy=str(place / "cut.safetensors")) == 2
    assert "truncated" in capsys.readouterr().err


def test_data_of_another_action_width_are_refused(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = world.data()
    narrow = Dataset(data.images, data.state, data.actions[:, :6], data.episode, data.task, data.instructions)
    assert recover(place, "x.safetensors", data=str(write(place / "narrow", narrow))) == 2
    assert "expects 7 action numbers, the demonstrations have 6" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        ("{}", "must say config.image_size"),
        (json.dumps(world.SETTINGS | {"name": "openvla_of"}), "did you mean 'openvla_oft'"),
        (json.dumps(world.SETTINGS | {"processor": {"promt": ""}}), "processor has a field that is none of a processor's"),
        ("no/such.yaml", "must be JSON or the path of a JSON or YAML file"),
    ],
)
def test_a_wrong_configuration_is_refused(place: Path, capsys: pytest.CaptureFixture[str], config: str, sentence: str) -> None:
    assert checkpoint(place, "x.safetensors", "state-x", config=config) == 2
    assert sentence in capsys.readouterr().err
