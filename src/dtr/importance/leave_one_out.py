r"""Leave one out: how much the loss really changes when a residual block is absent.

    I(B_i) = E_x [ L(x; alpha_i = 0) - L(x) ]

The reference that GateProbe approximates to first order, and the paper's metric "PPL": the loss without the block, up to a constant that
changes no order. One forward a block beside the first, so its cost grows with the square of the depth.
Unit: that of the loss. The sign is kept: a block whose absence lowers the loss goes first. A dead block is never run, and gets exactly 0.

Source: the paper's baseline "PPL"; SLEB (arXiv 2402.09025, eq. 1; its greedy loop is `dtr.importance.sleb`), Shortened LLaMA
(arXiv 2402.02834).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor

from dtr.importance.calibration import Calibration, Values, size
from dtr.importance.shared_pass import BLOCKS, Components, chosen_gates, frozen
from dtr.policies.base import Batch, Policy
from dtr.policies.gate import Gate
from dtr.progress import Progress


@contextmanager
def absent(gates: Iterable[Gate]) -> Iterator[None]:
    """Inside, these blocks and parts pass on what they get."""
    off = list(gates)
    for gate in off:
        gate.alpha = 0.0
    try:
        yield
    finally:
        for gate in off:
            gate.alpha = None


@torch.no_grad()
def loss_changes(
    policy: Policy, batch: Batch, components: Components = None, granularities: Collection[str] = BLOCKS
) -> Mapping[str, Tensor]:
    """L without the block (or part) minus L with it, for every one and every sample: name -> (B,) float64.

    A dead block is never run, so its change is exactly 0 and takes no forward. Raises as `dtr.importance.shared_pass.chosen_stacks`.
    """
    gates, dead = chosen_gates(policy, components, granularities), policy.dead
    with frozen(policy):
        whole = policy.losses(batch).double().cpu()
        changes = {name: torch.zeros_like(whole) for name in gates}
        for name in (name for name in gates if name not in dead):
            with absent([gates[name]]):
                changes[name] = policy.losses(batch).double().cpu() - whole
    return changes


def leave_one_out(
    policy: Policy, calibration: Calibration, components: Components = None, granularities: Collection[str] = BLOCKS
) -> Values:
    """Name -> (n,) float64. Raises as `loss_changes`."""
    components, collected = None if components is None else list(components), dict[str, list[Tensor]]()
    with Progress("score leave_one_out", calibration.samples, "sample") as progress:
        for batch in calibration.batches():
            for name, change in loss_changes(policy, batch, components, granularities).items():
                collected.setdefault(name, []).append(change)
            progress.update(size(batch))
    return {name: torch.cat(parts) for name, parts in collected.items()}
