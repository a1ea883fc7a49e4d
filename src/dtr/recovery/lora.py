"""Low-rank adaptation: recovery trains a thin correction beside every frozen matrix, and merges it at the end.

    y = W x + b + (alpha / r) B A x,        A (r, D_in) normal with spread 1/r,   B (D_out, r) zero

so the adapted policy starts as the policy that it adapts. Merging adds (alpha / r) B A to W, once: `merge` compares the actions
before and after and refuses to hand on a policy in which they differ. (Merging twice is how published checkpoints came to 0 %.)

As OpenVLA-OFT's finetune.py does it: every linear layer of towers, projector and language model is adapted, nothing else of them
is trained; what the policy names in `trained_whole` (action head, proprioception) is trained in full.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dtr.errors import BadCheckpoint
from dtr.policies.base import Batch, Policy
from dtr.policies.initial import generator
from dtr.recovery.recipe import Lora

TOLERANCE = 1e-4
"""Largest difference of a normalised action that merging may make: it rounds differently, no more."""


class Adapted(nn.Module):
    """A frozen linear layer with its correction; (..., D_in) -> (..., D_out)."""

    def __init__(self, linear: nn.Linear, lora: Lora, seed: int, name: str) -> None:
        super().__init__()
        self.linear, self.scale, device = linear.requires_grad_(False), lora.alpha / lora.rank, linear.weight.device
        drawn = torch.randn(lora.rank, linear.in_features, generator=generator(seed, f"{name}.down")) / lora.rank
        self.down = nn.Parameter(drawn.to(device))
        self.up = nn.Parameter(torch.zeros(linear.out_features, lora.rank, device=device))

    def forward(self, x: Tensor) -> Tensor:
        """W x + b + (alpha / r) B A x."""
        y: Tensor = self.linear(x) + self.scale * ((x @ self.down.T) @ self.up.T)
        return y

    @torch.no_grad()
    def merged(self) -> nn.Linear:
        """The layer with its correction added, computed in double precision and rounded once."""
        correction = self.scale * self.up.double() @ self.down.double()
        self.linear.weight.copy_(self.linear.weight.double() + correction)
        return self.linear


def adapt(policy: Policy, lora: Lora, seed: int) -> None:
    """Freeze `policy` and put a correction beside every linear layer that trains, but for what is trained whole. In place."""
    found = [(name, module) for name, module in policy.named_modules() if isinstance(module, nn.Linear)]
    chosen = [(name, linear) for name, linear in found if linear.weight.requires_grad and not whole(policy, name)]
    for name, parameter in policy.named_parameters():
        parameter.requires_grad_(parameter.requires_grad and whole(policy, name))
    for name, linear in chosen:
        policy.set_submodule(name, Adapted(linear, lora, seed, name))


def whole(policy: Policy, name: str) -> bool:
    """Whether the parameter or module `name` is trained in full."""
    return name.split(".")[0] in policy.trained_whole


def merge(policy: Policy, probe: Batch) -> float:
    """Add every correction to its matrix, in place. Returns the largest change of an action on the `probe`.

    Raises BadCheckpoint when it is more than rounding: the merged policy would not be the one that was trained.
    """
    before = policy.act(probe)
    for name, layer in [(name, module) for name, module in policy.named_modules() if isinstance(module, Adapted)]:
        policy.set_submodule(name, layer.merged())
    gap = (policy.act(probe) - before).abs().max().item()
    if not gap <= TOLERANCE * max(1.0, before.abs().max().item()):
        raise BadCheckpoint(f"merging the low-rank correction moved an action by {gap:.1e} (at most {TOLERANCE:.0e}): nothing was written.")
    return gap
