r"""GateProbe: how much the loss would change, to first order, if a residual block were switched off.

    h_i = h_{i-1} + F_i(h_{i-1})                      a residual block
    h~_i = h_{i-1} + alpha_i F_i(h_{i-1})             the same behind a virtual gate; alpha_i = 1 is the block, 0 its absence
    dL/dalpha_i |_{alpha=1} = < dL/dh_i , h_i - h_{i-1} >
    I(B_i) = E_x | < dL(x)/dh_i , h_i - h_{i-1} > |   (paper section 3.2)

No gate is inserted: every block's `Gate` only watches h_{i-1} and h_i, and one forward and one backward give all blocks at once.
Samples do not meet inside the network, so the gradient of the *sum* of their losses holds every sample's own gradient, and the
inner product is taken sample by sample. Absolute values are taken per sample, before the mean: a block that helps one sample
and hurts another is important. The parts of a block have gates too; block, attention and MLP share the one backward.
Unit: that of the loss. A dead block is never run, and gets exactly 0.

Cost: parameters need no gradient, so backward makes no weight gradients and keeps no optimizer state. Held in memory at once are
the activations of one batch, h_i and dL/dh_i of every block. B samples, T tokens, D width, L blocks: 2 L B T D numbers above the
activations, twice that with both parts watched; for OpenVLA-OFT's language stack (32, 600 tokens, 4096, bf16) 0.3 GB a sample beside
15 GB of weights.
"""

from __future__ import annotations

from collections.abc import Collection

import torch
from torch import Tensor

from dtr.importance.calibration import Values
from dtr.importance.shared_pass import BLOCKS, Components, Gates, Reader, read
from dtr.policies.base import Batch, Policy
from dtr.policies.gate import Gate


def gate_gradients(policy: Policy, batch: Batch, components: Components = None, granularities: Collection[str] = BLOCKS) -> Values:
    """dL/dalpha_i at alpha_i = 1 for every block (and part) and every sample: name -> (B,) float64, from one forward and one backward.

    Only the blocks of `components` are watched; what comes before the first of them runs without a graph. A dead block is never
    run, so its gradient is exactly 0. Raises as `dtr.importance.shared_pass.chosen_stacks`.
    """
    return read(policy, batch, [SIGNED], components, granularities)[SIGNED.name]


def inner_products(gates: Gates, samples: int, valid: Tensor | None) -> Values:
    """`inner_product` of every gate; padding has no gradient, so `valid` is not looked at."""
    return {name: inner_product(gate, samples) for name, gate in gates.items()}


def inner_product(gate: Gate, samples: int) -> Tensor:
    """<dL/dh_out, h_out - h_in> over rows, tokens and width of each sample: (R, T, D) -> (B,), R = B or B times images."""
    if gate.h_in is None or gate.h_out is None or gate.h_out.grad is None:
        return torch.zeros(samples, dtype=torch.float64)
    product = gate.h_out.grad.double() * (gate.h_out.detach().double() - gate.h_in.detach().double())
    return product.view(samples, -1).sum(dim=1).cpu()


def absolute(gates: Gates, samples: int, valid: Tensor | None) -> Values:
    """|dL/dalpha_i| of every gate and sample: name -> (B,)."""
    return {name: product.abs() for name, product in inner_products(gates, samples, valid).items()}


SIGNED = Reader("gate gradient", backward=True, gates=inner_products)
gateprobe = Reader("gateprobe", backward=True, gates=absolute)
"""The metric."""
