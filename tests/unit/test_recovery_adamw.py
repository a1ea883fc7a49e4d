"""The optimiser against torch's, and against numbers worked out by hand."""

from __future__ import annotations

import copy

import pytest
import recovery_world as world
import torch
from torch import nn

from dtr.recovery.adamw import adamw, average, clip
from dtr.recovery.flat import Flat


def test_ten_steps_equal_those_of_torch() -> None:
    torch.manual_seed(0)
    ours = nn.Sequential(nn.Linear(5, 7), nn.LayerNorm(7), nn.Linear(7, 3))
    theirs = copy.deepcopy(ours)
    recipe = world.recipe(weight_decay=0.1, beta1=0.8, beta2=0.9)
    matrices = [p for p in theirs.parameters() if p.dim() > 1]
    others = [p for p in theirs.parameters() if p.dim() == 1]
    groups = [{"params": matrices, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}]
    torch_adamw = torch.optim.AdamW(groups, lr=0.01, betas=(0.8, 0.9))
    flat = Flat(ours)
    m, v = torch.zeros_like(flat.theta), torch.zeros_like(flat.theta)
    for k in range(1, 11):
        x = torch.randn(4, 5)
        theirs.zero_grad()
        theirs(x).square().mean().backward()
        torch_adamw.step()
        adamw(flat.theta, flat.backward(ours(x).square().mean()), m, v, flat.decays, k, 0.01, recipe)
    for p, q in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=1e-5, atol=1e-6)


def test_the_first_step_moves_every_number_by_the_learning_rate() -> None:
    """m / (1 - b1) = g and sqrt(v / (1 - b2)) = |g|, so the step is lr * sign(g)."""
    theta, g = torch.tensor([1.0, 1.0, 1.0]), torch.tensor([0.5, -2.0, 1e-3])
    adamw(theta, g, torch.zeros(3), torch.zeros(3), torch.zeros(3), 1, 0.1, world.recipe())
    torch.testing.assert_close(theta, torch.tensor([0.9, 1.1, 0.9]), atol=1e-5, rtol=0)


def test_clipping_scales_to_the_bound_and_leaves_short_gradients_alone() -> None:
    long, short = torch.tensor([3.0, 4.0]), torch.tensor([0.3, 0.4])
    assert clip(long, 1.0) == 5.0
    assert clip(short, 1.0) == pytest.approx(0.5)
    torch.testing.assert_close(long, torch.tensor([0.6, 0.8]))
    torch.testing.assert_close(short, torch.tensor([0.3, 0.4]))


def test_the_moving_average_by_hand() -> None:
    mean = torch.tensor([0.0])
    for theta in (1.0, 1.0, 2.0):
        average(mean, torch.tensor([theta]), 0.5)
    assert mean.item() == 0.5 * (0.5 * (0.5 * 0 + 0.5 * 1) + 0.5 * 1) + 0.5 * 2


def test_flat_parameters_are_views_until_they_are_released() -> None:
    layer = nn.Linear(3, 5)
    before = [p.detach().clone() for p in layer.parameters()]
    flat = Flat(layer)
    assert all(torch.equal(p, q) for p, q in zip(layer.parameters(), before, strict=True))
    assert flat.decays.sum() == 15  # the matrix, not the bias
    assert len(flat.theta) == 16 + 16  # 15 and 5 numbers, each on a boundary of 64 bytes
    flat.theta.fill_(2.0)
    assert layer.weight[4, 2] == layer.bias[0] == 2.0
    flat.release()
    flat.theta.fill_(3.0)
    assert layer.weight[4, 2] == layer.bias[0] == 2.0
    assert layer.weight.grad is None
