"""Metrics of the residual stream against loops over samples and tokens; noise that belongs to its sample; the greedy order."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parent))

import cut_world
from four_policies import NAMES, batch, made

from dtr.importance.calibration import Calibration, each_alone, with_noise
from dtr.importance.cossim import cossim
from dtr.importance.cossim_contiguous import cossim_contiguous
from dtr.importance.sleb import sleb
from dtr.policies.base import Batch, Policy
from dtr.policies.parts import GRANULARITIES


def streams(policy: Policy, alone: Batch, granularity: str, stack: str) -> list[tuple[Tensor, Tensor]]:
    """What goes into and out of every gate that runs, for one sample: (M, D) each, valid tokens only."""
    seen: list[tuple[Tensor, Tensor]] = []
    hooks = [
        gate.register_forward_hook(lambda _, given, y: seen.append((given[0].flatten(0, 1).double(), y.flatten(0, 1).double())))
        for gate in policy.gates(granularity, [stack]).values()
    ]
    with torch.no_grad():
        policy.losses(alone)
    for hook in hooks:
        hook.remove()
    valid = policy.valid(stack, alone, len(seen[0][0]))
    keep = torch.ones(len(seen[0][0]), dtype=torch.bool) if valid is None else valid[0]
    return [(a[keep], b[keep]) for a, b in seen]


def apart(a: Tensor, b: Tensor) -> float:
    """Mean over tokens of 1 - cos, one token after another."""
    found = []
    for x, y in zip(a.tolist(), b.tolist(), strict=True):
        lengths = math.hypot(*x) * math.hypot(*y)
        found.append(1 - (math.fsum(p * q for p, q in zip(x, y, strict=True)) / lengths if lengths else 0.0))
    return sum(found) / len(found)


@pytest.mark.parametrize("name", NAMES)
def test_cosines_are_loops_over_tokens(name: str) -> None:
    policy, given = made(name), batch(name)
    calibration = Calibration.of([given])
    single, spans = (metric(policy, calibration, None, GRANULARITIES) for metric in (cossim, cossim_contiguous))
    for b, alone in enumerate(each_alone(given)):
        for granularity, stack in (("block", "language"), ("mlp", "language"), ("attention", next(iter(policy.stacks())))):
            names = list(policy.gates(granularity, [stack]))
            flow = streams(policy, alone, granularity, stack)
            for i, (a, y) in enumerate(flow):
                assert single[names[i]][b].item() == pytest.approx(apart(a, y), rel=1e-5, abs=1e-7)
                out = a.clone()
                for j in range(i, len(flow)):
                    out = out + flow[j][1] - flow[j][0]
                    assert spans[names[i]][b, j - i].item() == pytest.approx(apart(a, out), rel=1e-5, abs=1e-6)
            for i in range(len(names)):
                assert len(spans[names[i]][b]) == len(names) - i
                dead = max(0, len(names) - max(i, len(flow)))
                if dead and i < len(flow):
                    assert torch.equal(spans[names[i]][b, -dead:], spans[names[i]][b, -dead - 1].expand(dead)), "a dead block adds nothing"


def test_padding_does_not_count() -> None:
    """Samples of other lengths beside it change no sample's cosines."""
    policy, given = cut_world.policy(), cut_world.batch()
    together = cossim(policy, Calibration.of([given]))
    for b, length in enumerate((20, 18, 22, 22)):
        alone = cut_world.rows(given, [b]) | {key: given[key][b : b + 1, :length] for key in ("input_ids", "attention_mask")}
        for name, value in cossim(policy, Calibration.of([alone])).items():
            assert value.item() == pytest.approx(together[name][b].item(), rel=1e-4, abs=1e-6), name


@pytest.mark.parametrize("name", ["pi05", "gigabrain0", "lingbot_vla"])
def test_noise_belongs_to_its_sample(name: str) -> None:
    """Neither the batch nor what was drawn before changes it, and drawing it changes nothing else."""
    policy = made(name)
    policy.draws = 2
    given = {key: t for key, t in batch(name).items() if key not in ("noise", "time")}
    torch.manual_seed(9)
    before = torch.random.get_rng_state()
    whole = with_noise(policy, given, [5, 6, 7])
    assert torch.equal(torch.random.get_rng_state(), before)
    assert whole["noise"].shape == (6, 3, 5) and whole["time"].shape == (6,) and whole["noise"].unique().numel() == 90
    alone = with_noise(policy, {key: t[1:2] for key, t in given.items()}, [6])
    assert torch.equal(alone["noise"], whole["noise"][2:4]) and torch.equal(alone["time"], whole["time"][2:4])
    losses = [policy.losses(part).item() for part in each_alone(whole)]
    torch.testing.assert_close(torch.tensor(losses), policy.losses(whole).detach(), rtol=1e-5, atol=1e-6)


def test_sleb_really_drops() -> None:
    policy, given = cut_world.policy(), cut_world.batch()
    places = sleb(policy, Calibration.of([cut_world.rows(given, [0]), cut_world.rows(given, [1, 2, 3])]), ["language", "vision"])
    assert sorted(places[f"language.{i}"].item() for i in range(6)) == list(range(6))
    assert sorted(v.item() for name, v in places.items() if name.startswith("vision")) == list(range(9))
    gone: list[int] = []
    for _ in range(3):
        losses = {}
        for i in set(range(6)) - set(gone):
            smaller = cut_world.policy()
            smaller.drop({"language": [*gone, i]})
            with torch.no_grad():
                losses[i] = smaller.losses(given).double().sum().item()
        gone.append(min(losses, key=losses.__getitem__))
    assert [places[f"language.{i}"].item() for i in gone] == [0, 1, 2]
    assert all(gate.alpha is None for gate in policy.gates().values())
