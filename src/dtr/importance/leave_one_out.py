r"""Leave one out: how much the loss really changes when a residual block is absent.

    I(B_i) = E_x [ L(x; alpha_i = 0) - L(x) ]

The reference that GateProbe approximates to first order (the paper's PPL metric is of this kind). One forward a block beside the
first, so its cost grows with the square of the depth. The sign is kept: a block whose absence lowers the loss goes first.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

import torch
from torch import Tensor

from dtr.importance.gateprobe import BLOCKS, chosen_gates, frozen
from dtr.policies.base import Batch, Policy


@torch.no_grad()
def loss_changes(
    policy: Policy, batch: Batch, components: Iterable[str] | None = None, granularities: Collection[str] = BLOCKS
) -> Mapping[str, Tensor]:
    """L without the block (or part) minus L with it, for every one and every sample: name -> (B,) float64.

    A dead block is never run, so its change is exactly 0 and takes no forward. Raises as `chosen_gates`.
    """
    gates, dead = chosen_gates(policy, components, granularities), policy.dead
    with frozen(policy):
        whole = policy.losses(batch).double().cpu()
        changes = {name: torch.zeros_like(whole) for name in gates}
        for name in (name for name in gates if name not in dead):
            gates[name].alpha = 0.0
            try:
                changes[name] = policy.losses(batch).double().cpu() - whole
            finally:
                gates[name].alpha = None
    return changes
