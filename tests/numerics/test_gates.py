"""Gates: finite differences, per-sample scales, and what a watched gate holds."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "unit"))

from narrow_oft import CONFIG, batch, oft

from dtr.importance.gateprobe import gate_gradients

BLOCKS = [f"{name}.{i}" for name, n in (("vision.dino", 3), ("vision.siglip", 4), ("language", 3), ("action", 2)) for i in range(n)]


@pytest.mark.parametrize("block", BLOCKS)
def test_gate_gradients_are_finite_differences(block: str) -> None:
    policy = oft().double()
    b = {k: v.double() if v.is_floating_point() else v for k, v in batch(lengths=(30, 27)).items()}
    gate, step = policy.gates()[block], 1e-5
    gradient = gate_gradients(policy, b)[block]
    sides = []
    for alpha in (1 + step, 1 - step):
        gate.alpha = alpha
        sides.append(policy.losses(b).detach())
    gate.alpha = None
    torch.testing.assert_close((sides[0] - sides[1]) / (2 * step), gradient, rtol=1e-5, atol=1e-8)
    dead = block in ("vision.dino.2", "vision.siglip.3")
    assert bool((gradient == 0).all()) == dead


def test_alpha_zero_is_a_dropped_block() -> None:
    policy, b = oft(), batch()
    for name, i in (("language", 1), ("vision.dino", 0), ("action", 1)):
        gate = policy.gates()[f"{name}.{i}"]
        gate.alpha = 0.0
        gated = policy.losses(b)
        gate.alpha = None
        dropped = oft()
        dropped.drop({name: [i]})
        torch.testing.assert_close(gated, dropped.losses(b), rtol=0, atol=1e-5)


def test_a_scale_a_sample_is_shared_by_the_images_of_that_sample_only() -> None:
    policy, b = oft(), batch()
    gate, plain = policy.gates()["vision.siglip.1"], policy.act(b)
    gate.alpha = torch.tensor([1.0, 0.0])
    mixed = policy.act(b)
    gate.alpha = 0.0
    without = policy.act(b)
    torch.testing.assert_close(mixed[0], plain[0], rtol=0, atol=1e-5)
    torch.testing.assert_close(mixed[1], without[1], rtol=0, atol=1e-5)
    assert (plain[1] - without[1]).abs().max() > 1e-3


def test_an_idle_gate_costs_and_keeps_nothing() -> None:
    policy, b = oft(), batch()
    gate = policy.gates()["language.1"]
    x, y = torch.ones(1, 2, 3), torch.zeros(1, 2, 3)
    assert gate(x, y) is y
    gate.watch()
    policy.losses(b)
    assert gate.h_in is not None and gate.h_out is not None and gate.h_out.requires_grad
    assert gate.h_in.shape == gate.h_out.shape == (2, 30 + 2 * 4 + 1, CONFIG["language"]["width"])
    gate.watch(False)
    assert gate.h_in is None
    policy.losses(b)
    assert gate.h_out is None
