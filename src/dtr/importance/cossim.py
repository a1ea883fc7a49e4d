r"""CosSim: how little a block turns its stream.

    I(B_i) = E_x  mean over tokens t  [ 1 - cos(h_{i-1,t}, h_{i,t}) ]

Unit: none, in [0, 2]. The cosine is per token and the mean is per sample; tokens that stand for nothing (padding, a camera that is not
there) do not count. A token that is 0 before the block (OpenVLA-OFT's placeholders before block 0) has cosine 0, so distance 1.
A dead block is never run, so the stream passes it unturned, and it gets exactly 0. (Upstream runs the last language block of pi0.5,
which no action depends on, and so gives it what it happens to turn.)

Source: Block Influence of ShortGPT (arXiv 2403.03853, eq. 1), the paper's baseline "CosSim".
"""

from __future__ import annotations

import torch
from torch import Tensor

from dtr.importance.calibration import Values
from dtr.importance.shared_pass import Gates, Reader
from dtr.policies.gate import Gate

TINY = 1e-30
"""Below this a product of two lengths is that of a token that is 0."""


def turns(gates: Gates, samples: int, valid: Tensor | None) -> Values:
    """The distance of every gate, sample by sample: name -> (B,)."""
    return {name: turn(gate, samples, valid) for name, gate in gates.items()}


def turn(gate: Gate, samples: int, valid: Tensor | None) -> Tensor:
    """(B,) float64."""
    if gate.h_in is None or gate.h_out is None:
        return torch.zeros(samples, dtype=torch.float64)
    a, b = by_sample(gate.h_in, samples), by_sample(gate.h_out, samples)
    cosine = (a * b).sum(-1) / (a.square().sum(-1) * b.square().sum(-1)).sqrt().clamp_min(TINY)
    return token_mean(1 - cosine, valid).cpu()


def by_sample(h: Tensor, samples: int) -> Tensor:
    """(R, T, D) -> (B, M, D) float64, all rows of a sample side by side."""
    return h.detach().double().reshape(samples, -1, h.shape[-1])


def token_mean(distance: Tensor, valid: Tensor | None) -> Tensor:
    """(B, M, ...) -> (B, ...): the mean over the valid tokens (B, M) of each sample."""
    if valid is None:
        return distance.mean(dim=1)
    shares = valid.double() / valid.sum(dim=1, keepdim=True)
    return torch.einsum("bm...,bm->b...", distance, shares)


cossim = Reader("cossim", backward=False, gates=turns)
"""The metric."""
