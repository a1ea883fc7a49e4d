"""What every policy can be asked through its blocks alone: gate gradients, and what is left after a drop."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from typing import TypeVar

import torch
from torch import Tensor

from dtr.importance.gateprobe import gate_gradients
from dtr.parity.comparison import Comparison, difference
from dtr.parity.golden import Golden
from dtr.policies.base import Batch, Policy

P = TypeVar("P", bound=Policy)
Names = Mapping[str, str]
"""Stack names of a golden folder -> ours."""
DEAD_DROP = 1e-6


def gates(policy: Policy, golden: Golden, batch: Batch, names: Names, tolerance: float) -> Iterator[Comparison]:
    """GateProbe's per-sample gradients against those of truly inserted gates; dead ones must be exactly 0."""
    ours, reference = gate_gradients(policy, batch), golden.json("gates.json", "values")
    dead = policy.dead
    for theirs, values in reference.items():
        for i, expected in values.items():
            mine = f"{names[theirs]}.{i}"
            got = ours.get(mine, torch.full((len(expected),), float("nan")))  # a block that we do not have is a failure
            yield difference(f"gate.{theirs}.{i}", got, torch.tensor(expected), 0.0 if mine in dead else tolerance)


def drops(
    policy: P, golden: Golden, batch: Batch, act: Callable[[P], Tensor], names: Names, loss_tolerance: float, tolerance: float
) -> Iterator[Comparison]:
    """Loss and actions after dropping blocks; a drop of dead blocks alone must also leave our own actions as they were."""
    listed = golden.json("drops.json", "drops")
    expected = golden.tensors("drops.safetensors", *(f"{entry['name']}.{what}" for entry in listed for what in ("loss", "actions")))
    for entry in listed:
        name, removed = entry["name"], {names[k]: v for k, v in entry["removed_blocks"].items()}
        pruned = copy.deepcopy(policy)
        pruned.drop(removed)
        with torch.no_grad():
            loss, actions = pruned.losses(batch), act(pruned)
            yield difference(f"drop.{name}.loss", loss, expected[f"{name}.loss"], loss_tolerance)
            yield difference(f"drop.{name}.actions", actions, expected[f"{name}.actions"], tolerance)
            if all(set(indices) <= set(policy.stacks()[stack].dead) for stack, indices in removed.items()):
                yield difference(f"drop.{name} against undropped", actions, act(policy), DEAD_DROP)
