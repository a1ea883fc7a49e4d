"""Low-rank recovery: it starts as the policy, trains only what it says, and is merged into ordinary weights or refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import recovery_world as world
import torch

from dtr.errors import BadCheckpoint, BadConfig
from dtr.policies.base import Policy
from dtr.recovery.lora import Adapted, adapt, merge
from dtr.recovery.recipe import Lora, Recipe
from dtr.recovery.train import Training

LORA = Lora(rank=2, alpha=4.0)


def trained(folder: Path, processes: int = 1) -> tuple[Policy, Training]:
    data = world.data()
    policy, processor = world.policy(data)
    adapt(policy, LORA, seed=1)
    training = Training(policy, processor, data, world.recipe(lora={"rank": 2, "alpha": 4.0}, lr=1e-2), 1, folder, 60.0)
    training.run(processes)
    return policy, training


def test_the_adapted_policy_starts_as_the_policy(tmp_path: Path) -> None:
    data = world.data()
    (whole, processor), (policy, _) = world.policy(data), world.policy(data)
    adapt(policy, LORA, seed=1)
    probe = Training(whole, processor, data, world.recipe(), 1, tmp_path, 60.0).probe()
    assert torch.equal(policy.act(probe), whole.act(probe))


def test_only_corrections_and_what_is_trained_whole_move(tmp_path: Path) -> None:
    before, _ = world.policy(world.data())
    policy, _ = trained(tmp_path)
    after = policy.state_dict()
    for name, tensor in before.state_dict().items():
        module, _, leaf = name.rpartition(".")
        now = after.get(name, after.get(f"{module}.linear.{leaf}"))
        assert now is not None
        assert torch.equal(now, tensor) != name.startswith(("action.", "proprio.")) or tensor.dim() == 1, name
    corrections = [m for m in policy.modules() if isinstance(m, Adapted)]
    assert len(corrections) == sum(
        isinstance(m, torch.nn.Linear) for n, m in before.named_modules() if n.split(".")[0] not in ("action", "proprio")
    )
    assert sum(bool(m.up.detach().any()) for m in corrections) > len(corrections) / 2  # dead blocks stay as they are


def test_merging_gives_ordinary_weights_and_the_same_actions(tmp_path: Path) -> None:
    policy, training = trained(tmp_path)
    probe = training.probe()
    adapted = policy.act(probe)
    assert merge(policy, probe) < 1e-5
    assert not any(isinstance(m, Adapted) for m in policy.modules())
    assert policy.state_dict().keys() == world.policy(world.data())[0].state_dict().keys()
    torch.testing.assert_close(policy.act(probe), adapted, rtol=0, atol=1e-5)


def test_a_merge_that_changes_the_policy_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    policy, training = trained(tmp_path)
    once = Adapted.merged
    monkeypatch.setattr(Adapted, "merged", lambda self: (once(self), once(self))[1])  # the published mistake: merged twice
    with pytest.raises(BadCheckpoint, match="nothing was written"):
        merge(policy, training.probe())


def test_equal_runs_and_processes_give_equal_weights(tmp_path: Path) -> None:
    one, two = trained(tmp_path / "one")[0], trained(tmp_path / "two", processes=2)[0]
    assert all(torch.equal(tensor, two.state_dict()[name]) for name, tensor in one.state_dict().items())


def test_frozen_weights_are_part_of_a_run_s_name(tmp_path: Path) -> None:
    data = world.data()
    names = set()
    for seed in (0, 1):
        policy, processor = world.policy(data, seed)
        adapt(policy, LORA, seed=1)
        for parameter in policy.parameters():
            if parameter.requires_grad:
                parameter.data.zero_()  # equal trainable weights, other frozen ones
        names.add(Training(policy, processor, data, world.recipe(lora={"rank": 2}), 1, tmp_path, 60.0).name)
    assert len(names) == 2


def test_recipe_of_lora() -> None:
    assert "lora" not in world.recipe().to_dict()
    given = world.recipe(lora={"rank": 32}).to_dict()
    assert given["lora"] == {"rank": 32, "alpha": 16.0} and Recipe.from_dict(given).lora == Lora(32)
    with pytest.raises(BadConfig, match="rank >= 1"):
        world.recipe(lora={"rank": 0})
