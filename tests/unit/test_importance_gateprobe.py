"""GateProbe against what it claims to be: the derivative by a gate that is really there, and the loss without the block."""

from __future__ import annotations

import cut_world
import four_policies
import pytest
import torch
from torch import Tensor

from dtr.errors import UnknownName
from dtr.importance.calibration import Calibration
from dtr.importance.gateprobe import gate_gradients, gateprobe
from dtr.importance.leave_one_out import loss_changes
from dtr.policies.base import Batch, Policy

DEAD = ("vision.dino.3", "vision.siglip.4")


@pytest.fixture(scope="module")
def policy() -> Policy:
    return cut_world.policy().double()


@pytest.fixture(scope="module")
def batch() -> Batch:
    return {name: t.double() if t.is_floating_point() else t for name, t in cut_world.batch().items()}


@pytest.fixture(scope="module")
def gradients(policy: Policy, batch: Batch) -> dict[str, Tensor]:
    return gate_gradients(policy, batch)


def test_all_blocks_and_samples(policy: Policy, gradients: dict[str, Tensor]) -> None:
    assert list(gradients) == list(policy.gates())
    assert len(gradients) == 4 + 5 + 6 + 2
    assert all(g.shape == (4,) and g.dtype == torch.float64 for g in gradients.values())


def test_equals_really_inserted_gates(policy: Policy, batch: Batch, gradients: dict[str, Tensor]) -> None:
    for name, gate in policy.gates().items():
        gate.alpha = alpha = torch.ones(4, dtype=torch.float64, requires_grad=True)
        policy.losses(batch).sum().backward()
        gate.alpha = None
        inserted = torch.zeros(4, dtype=torch.float64) if alpha.grad is None else alpha.grad
        torch.testing.assert_close(gradients[name], inserted, rtol=1e-9, atol=1e-12)


def test_equals_finite_differences(policy: Policy, batch: Batch, gradients: dict[str, Tensor]) -> None:
    step = 1e-6
    with torch.no_grad():
        for name, gate in policy.gates().items():
            gate.alpha = 1 + step
            above = policy.losses(batch)
            gate.alpha = 1 - step
            below = policy.losses(batch)
            gate.alpha = None
            torch.testing.assert_close(gradients[name], (above - below) / (2 * step), rtol=1e-5, atol=1e-7)


def test_dead_blocks_are_exactly_zero_and_no_other_is(gradients: dict[str, Tensor]) -> None:
    for name, gradient in gradients.items():
        assert bool((gradient == 0).all()) == (name in DEAD), name


def test_independent_of_batch_size_and_neighbours(policy: Policy, batch: Batch, gradients: dict[str, Tensor]) -> None:
    for chosen in ([0], [3], [2, 1], [3, 0, 1]):
        for name, gradient in gate_gradients(policy, cut_world.rows(batch, chosen)).items():
            torch.testing.assert_close(gradient, gradients[name][chosen], rtol=1e-9, atol=1e-13)


def test_leaves_no_trace(policy: Policy, batch: Batch) -> None:
    policy.train()
    frozen_before = policy.projector.fc[0].weight.requires_grad_(False)  # type: ignore[union-attr,index]
    gate_gradients(policy, batch)
    assert policy.training
    assert not frozen_before.requires_grad
    assert all(p.requires_grad for p in policy.parameters() if p is not frozen_before)
    assert all(gate.h_in is None and gate.h_out is None and not gate.watched for gate in policy.gates().values())
    frozen_before.requires_grad_(True)


def test_no_weight_gradient_is_made(batch: Batch) -> None:
    fresh = cut_world.policy().double()
    gate_gradients(fresh, batch)
    assert all(p.grad is None for p in fresh.parameters())


def test_one_component_alone_gives_the_same(policy: Policy, batch: Batch, gradients: dict[str, Tensor]) -> None:
    language = gate_gradients(policy, batch, ["language"])
    assert list(language) == [f"language.{i}" for i in range(6)]
    for name, gradient in language.items():
        torch.testing.assert_close(gradient, gradients[name], rtol=1e-12, atol=1e-15)
    assert list(gate_gradients(policy, batch, ["vision.dino"])) == [f"vision.dino.{i}" for i in range(4)]
    with pytest.raises(UnknownName, match="did you mean 'language'"):
        gate_gradients(policy, batch, ["langauge"])


def test_score_is_absolute_per_sample(policy: Policy, batch: Batch, gradients: dict[str, Tensor]) -> None:
    assert any((g < 0).any() and (g > 0).any() for g in gradients.values()), "the test needs a block of mixed signs"
    for name, value in gateprobe(policy, Calibration.of([batch])).items():
        torch.testing.assert_close(value, gradients[name].abs())


def test_leave_one_out_is_the_loss_of_the_smaller_policy(policy: Policy, batch: Batch) -> None:
    changes = loss_changes(policy, batch)
    with torch.no_grad():
        whole = policy.losses(batch)
        for stack, index in (("language", 3), ("vision.siglip", 2), ("action", 0), ("vision.dino", 3)):
            smaller = cut_world.policy().double()
            smaller.drop({stack: [index]})
            torch.testing.assert_close(changes[f"{stack}.{index}"], smaller.losses(batch) - whole, rtol=1e-12, atol=1e-14)
    assert all(bool((changes[name] == 0).all()) for name in DEAD)
    assert all(gate.alpha is None for gate in policy.gates().values())


def test_first_order_estimate_of_leave_one_out(batch: Batch) -> None:
    """For a block that adds little, the loss without it is L - dL/dalpha + O(alpha^2): shrinking F by s leaves an error of s^2."""
    errors = []
    for shrink in (1e-2, 1e-3):
        small = cut_world.policy().double()
        with torch.no_grad():
            for layer in ("o", "down"):
                getattr(small.stacks()["language"].blocks["2"], layer).weight.mul_(shrink)
        estimate = -gate_gradients(small, batch, ["language"])["language.2"]
        errors.append((loss_changes(small, batch, ["language"])["language.2"] - estimate).abs().max().item())
    assert errors[1] < 0.03 * errors[0]


@pytest.mark.parametrize("name", four_policies.NAMES[1:])
def test_a_dead_block_that_is_run_all_the_same_has_a_gradient_of_exactly_zero(name: str) -> None:
    """Ours are not run, so their zero says little: here they are, as the official code runs them, and no other block has none."""
    policy, batch = four_policies.made(name), four_policies.batch(name)
    dead, before = policy.dead & set(policy.gates()), gate_gradients(policy, batch)
    stack = policy.stacks()["language"]
    stack.readout = stack.depth - 1
    assert dead and not policy.dead
    found = gate_gradients(policy, batch)
    assert {block for block, values in found.items() if bool((values == 0).all())} == dead
    assert all(torch.equal(found[block], before[block]) for block in found)
