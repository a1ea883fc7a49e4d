"""What a drop is compared with: an early exit trains its head and nothing else, a policy from scratch has nothing of the pretrained one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import recovery_world as world
import torch
from test_recovery_verbs import checkpoint, place, recover  # noqa: F401  (a fixture is used by its name)

from dtr.cli import run
from dtr.errors import BadConfig
from dtr.policies.file import load_policy, read_header
from dtr.policies.registry import build
from dtr.recovery.recipe import Recipe

EXIT = {"steps": 4, "batch": 8, "lr": 1e-2, "report_every": 2, "train_only": ["action.*", "language.norm.*"]}
SCRATCH = {"steps": 8, "batch": 8, "lr": 1e-3, "report_every": 2, "scratch": True}


def cut(folder: Path, name: str) -> str:
    """The plan of a cut of the pretrained policy."""
    out = folder / f"{name}.plan.json"
    assert run(["drop", "--policy", str(folder / "pretrained.safetensors"), "--cut", name, "--plan-out", str(out)]) == 0
    return str(out)


def test_an_early_exit_trains_norm_and_head_and_nothing_else(place: Path) -> None:  # noqa: F811
    assert recover(place, "exit.safetensors", recipe=json.dumps(EXIT), plan=cut(place, "language-keep-0")) == 0
    before, after = (load_policy(place / f"{name}.safetensors").policy.state_dict() for name in ("pretrained", "exit"))
    assert set(after) < set(before), "the first block is there, the others are not"
    moved = {name for name in after if not torch.equal(before[name], after[name])}
    assert moved and all(name.startswith(("action.", "language.norm.")) for name in moved)
    assert {"action.", "language."} == {f"{name.split('.')[0]}." for name in moved}
    assert read_header(place / "exit.safetensors")["provenance"]["recipe"]["train_only"] == EXIT["train_only"]


def test_an_early_exit_learns(place: Path) -> None:  # noqa: F811
    longer = json.dumps(EXIT | {"steps": 60})
    assert recover(place, "longer.safetensors", recipe=longer, plan=cut(place, "language-keep-0")) == 0
    curve = [json.loads(line)["loss"] for line in (place / "longer.safetensors.losses.jsonl").read_text().splitlines()]
    assert curve[-1] < 0.8 * curve[0]


def test_from_scratch_nothing_of_the_pretrained_policy_is_used(place: Path) -> None:  # noqa: F811
    assert checkpoint(place, "another.safetensors", "state2", seed="5") == 0
    weights = []
    for source in ("pretrained", "another"):
        plan = place / f"{source}.plan.json"
        policy = str(place / f"{source}.safetensors")
        assert run(["drop", "--policy", policy, "--cut", "language-keep-0", "--plan-out", str(plan)]) == 0
        assert recover(place, f"scratch-{source}.safetensors", recipe=json.dumps(SCRATCH), policy=policy, plan=str(plan)) == 0
        weights.append(load_policy(place / f"scratch-{source}.safetensors").policy)
    one, two = (policy.state_dict() for policy in weights)
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert len(weights[0].stacks()["language"].shape.kept) == 1


def test_a_policy_from_scratch_begins_with_the_weights_that_its_seed_gives(place: Path) -> None:  # noqa: F811
    still = json.dumps(SCRATCH | {"steps": 1, "lr": 1e-12})
    assert recover(place, "still.safetensors", recipe=still, plan=cut(place, "language-keep-1"), seed="3") == 0
    found = load_policy(place / "still.safetensors").policy
    for name, value in build(found.name, found.config, 3).state_dict().items():
        torch.testing.assert_close(found.state_dict()[name], value, atol=1e-9, rtol=0)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"scratch": False}, "scratch must be true or be left out"),
        ({"train_only": []}, "train_only must name at least one"),
        ({"train_only": ["action.*"], "scratch": True}, "exclude each other"),
        ({"train_only": ["action.*"], "lora": {"rank": 2}}, "exclude each other"),
        ({"train_only": "action.*"}, "recipe.train_only must be a list"),
    ],
)
def test_what_contradicts_itself_is_refused(changes: dict[str, object], sentence: str) -> None:
    with pytest.raises(BadConfig, match=sentence):
        world.recipe(**changes)


def test_a_pattern_that_trains_nothing_is_named(place: Path, capsys: pytest.CaptureFixture[str]) -> None:  # noqa: F811
    wrong = json.dumps(EXIT | {"train_only": ["acton.*"]})
    assert recover(place, "wrong.safetensors", recipe=wrong) == 2
    assert "did you mean 'action.*'" in capsys.readouterr().err


def test_recipes_without_them_keep_their_digests() -> None:
    plain = Recipe(steps=1, batch=2, lr=1.0).to_dict()
    assert "train_only" not in plain and "scratch" not in plain
    assert Recipe.from_dict(json.loads(json.dumps(Recipe.from_dict(EXIT).to_dict()))) == Recipe.from_dict(EXIT)
