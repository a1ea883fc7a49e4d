r"""GateProbe: how much the loss would change, to first order, if a residual block were switched off.

    h_i = h_{i-1} + F_i(h_{i-1})                      a residual block
    h~_i = h_{i-1} + alpha_i F_i(h_{i-1})             the same behind a virtual gate; alpha_i = 1 is the block, 0 its absence
    dL/dalpha_i |_{alpha=1} = < dL/dh_i , h_i - h_{i-1} >
    I(B_i) = E_x | < dL(x)/dh_i , h_i - h_{i-1} > |   (paper section 3.2)

No gate is inserted: every block's `Gate` only watches h_{i-1} and h_i, and one forward and one backward give all blocks at once.
Samples do not meet inside the network, so the gradient of the *sum* of their losses holds every sample's own gradient, and the
inner product is taken sample by sample. Absolute values are taken per sample, before the mean: a block that helps one sample
and hurts another is important. The parts of a block have gates too; block, attention and MLP share the one backward.

Cost: parameters need no gradient, so backward makes no weight gradients and keeps no optimizer state. Held in memory at once are
the activations of one batch, h_i and dL/dh_i of every block. B samples, T tokens, D width, L blocks: 2 L B T D numbers above the
activations, twice that with both parts watched; for OpenVLA-OFT's language stack (32, 600 tokens, 4096, bf16) 0.3 GB a sample beside
15 GB of weights.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from dtr.errors import unknown
from dtr.policies.base import Batch, Policy
from dtr.policies.gate import Gate

BLOCKS = ("block",)
"""The granularities that are scored unless others are asked for; all of them: `dtr.policies.parts.GRANULARITIES`."""


@contextmanager
def frozen(policy: nn.Module) -> Iterator[None]:
    """Inside, no parameter needs a gradient and the policy is in evaluation mode; afterwards all is as before."""
    parameters, training = [p for p in policy.parameters() if p.requires_grad], policy.training
    for parameter in parameters:
        parameter.requires_grad_(False)
    policy.eval()
    try:
        yield
    finally:
        policy.train(training)
        for parameter in parameters:
            parameter.requires_grad_(True)


def chosen_gates(policy: Policy, components: Iterable[str] | None, granularities: Collection[str] = BLOCKS) -> dict[str, Gate]:
    """The gates of these components (or stacks), by name: of blocks, of their `attention`, of their `mlp`; of all for None.

    Raises UnknownName for a component or granularity that does not exist, PlanMismatch for parts of a component that has none.
    """
    stacks = None
    if components is not None:
        names, wanted = list(policy.stacks()), set(components)
        known = {part for name in names for part in (name.split(".")[0], name)}
        for name in sorted(wanted - known):
            raise unknown("component", name, known)
        stacks = [name for name in names if wanted & {name.split(".")[0], name}]
    return {name: gate for granularity in granularities for name, gate in policy.gates(granularity, stacks).items()}


def gate_gradients(
    policy: Policy, batch: Batch, components: Iterable[str] | None = None, granularities: Collection[str] = BLOCKS
) -> dict[str, Tensor]:
    """dL/dalpha_i at alpha_i = 1 for every block (and part) and every sample: name -> (B,) float64, from one forward and one backward.

    Only the blocks of `components` are watched; what comes before the first of them runs without a graph. A dead block is never
    run, so its gradient is exactly 0. Raises as `chosen_gates`.
    """
    gates = chosen_gates(policy, components, granularities)
    for gate in gates.values():
        gate.watch(True)
    try:
        with frozen(policy), torch.enable_grad():
            losses = policy.losses(batch)
            if losses.requires_grad:
                losses.sum().backward()
        return {name: inner_product(gate, len(losses)) for name, gate in gates.items()}
    finally:
        for gate in gates.values():
            gate.watch(False)


def inner_product(gate: Gate, samples: int) -> Tensor:
    """<dL/dh_out, h_out - h_in> over rows, tokens and width of each sample: (R, T, D) -> (B,), R = B or B times images."""
    if gate.h_in is None or gate.h_out is None or gate.h_out.grad is None:
        return torch.zeros(samples, dtype=torch.float64)
    product = gate.h_out.grad.double() * (gate.h_out.detach().double() - gate.h_in.detach().double())
    return product.view(samples, -1).sum(dim=1).cpu()


def gateprobe(
    policy: Policy, batch: Batch, components: Iterable[str] | None = None, granularities: Collection[str] = BLOCKS
) -> Mapping[str, Tensor]:
    """|dL/dalpha_i| of every block (and part) and sample: name -> (B,). Its mean over the calibration samples is the score."""
    return {name: gradient.abs() for name, gradient in gate_gradients(policy, batch, components, granularities).items()}
