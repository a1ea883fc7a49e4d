"""GateProbe and leave-one-out of attention and MLP parts, in all four policies."""

from __future__ import annotations

import pytest
import torch
from four_policies import NAMES, VISION, batch, made
from torch import Tensor

from dtr.errors import PlanMismatch, UnknownName
from dtr.importance.calibration import Calibration
from dtr.importance.gateprobe import gate_gradients, gateprobe
from dtr.importance.leave_one_out import loss_changes
from dtr.policies.base import Batch, Policy
from dtr.policies.parts import GRANULARITIES, PARTS


def doubled(name: str) -> tuple[Policy, Batch]:
    given = {key: t.double() if t.is_floating_point() else t for key, t in batch(name).items()}
    return made(name).double(), given


@pytest.mark.parametrize("name", NAMES)
def test_one_backward_gives_block_attention_and_mlp(name: str) -> None:
    """Against gates that are really there, and against finite differences (flow policies normalise in float32: a larger step)."""
    (policy, given), vision = doubled(name), VISION.get(name, "vision")
    gradients = gate_gradients(policy, given, None, GRANULARITIES)
    assert list(gradients) == [gate for granularity in GRANULARITIES for gate in policy.gates(granularity)]
    for block, gradient in gate_gradients(policy, given).items():
        torch.testing.assert_close(gradient, gradients[block], rtol=1e-12, atol=1e-14)
    step, close = (1e-6, {"rtol": 1e-5, "atol": 1e-7}) if name == "openvla_oft" else (3e-3, {"rtol": 1e-2, "atol": 1e-3})
    action = [] if name == "openvla_oft" else ["action.0", "action.5"]
    for block in ("language.0", "language.3", f"{vision}.1", *action):
        for part in PARTS:
            gate, gradient = policy.gates(part)[f"{block}.{part}"], gradients[f"{block}.{part}"]
            gate.alpha = alpha = torch.ones(len(gradient), dtype=torch.float64, requires_grad=True)
            policy.losses(given).sum().backward()
            assert alpha.grad is not None and gradient.abs().max() > 1e-4
            torch.testing.assert_close(gradient, alpha.grad, rtol=1e-6, atol=1e-9)
            with torch.no_grad():
                sides: list[Tensor] = []
                for gate.alpha in (1 + step, 1 - step):
                    sides.append(policy.losses(given))
            gate.alpha = None
            torch.testing.assert_close(gradient, (sides[0] - sides[1]) / (2 * step), **close)
    dead = {gate for gate, gradient in gradients.items() if bool((gradient == 0).all())}
    assert dead == policy.dead


@pytest.mark.parametrize("name", NAMES)
def test_leave_one_out_is_the_loss_of_the_smaller_policy(name: str) -> None:
    policy, given = made(name), batch(name)
    changes = loss_changes(policy, given, ["language"], PARTS)
    assert list(changes) == [f"language.{i}.{part}" for part in PARTS for i in range(6)]
    with torch.no_grad():
        for part in PARTS:
            smaller = made(name)
            smaller.drop({"language": [2]}, part)
            expected = smaller.losses(given).double() - policy.losses(given).double()
            torch.testing.assert_close(changes[f"language.2.{part}"], expected, rtol=0, atol=1e-6)
    assert all(bool((changes[gate] == 0).all()) == (gate in policy.dead) for gate in changes)
    assert all(gate.alpha is None for part in PARTS for gate in policy.gates(part).values())


def test_granularities_that_are_refused() -> None:
    policy, given = made("openvla_oft"), batch("openvla_oft")
    assert list(gateprobe(policy, Calibration.of([given]), ["vision.dino"], ["mlp"])) == [f"vision.dino.{i}.mlp" for i in range(4)]
    with pytest.raises(PlanMismatch, match="openvla_oft has no attention in its action blocks"):
        gate_gradients(policy, given, ["action"], ["attention"])
    with pytest.raises(UnknownName, match="did you mean 'mlp'"):
        gate_gradients(policy, given, None, ["mpl"])
    assert not any(gate.startswith("action") for gate in gate_gradients(policy, given, None, ["attention"]))
