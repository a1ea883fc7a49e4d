"""Root-mean-square norms of joint-attention policies: two plain ones, and two that a condition c (the time of a flow) steers.

    n = x / sqrt(mean(x^2) + eps)                                    in fp32
    rms               y = w n
    rms_plus_one      y = (1 + w) n
    scale_shift_gate  y = (1 + s) n + t,  [s, t, g] = W c + b        the block then adds g f(y) to its stream
    gamma_beta        y = (1 + W_g c + b_g) w n + (W_b c + b_b)

Every norm is called as norm(x, c) and returns (y, g): g is the factor of the branch that reads y, None where there is none.
Legend: B batch, T tokens, D width, C condition width.
Source: openpi `transformers_replace/models/gemma/modeling_gemma.py` (GemmaRMSNorm), giga-models (the same), lingbot-vla (AdaRMS).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dtr.errors import BadConfig

Normed = tuple[Tensor, Tensor | None]


class Norm(nn.Module):
    """What the norms share: width D, eps, and n."""

    def __init__(self, width: int, eps: float) -> None:
        super().__init__()
        self.width, self.eps = width, eps

    def unit(self, x: Tensor) -> Tensor:
        """n in fp32: (..., D) -> (..., D)."""
        return F.rms_norm(x.float(), (self.width,), eps=self.eps)

    def neutral(self) -> None:
        """Set gains, scales and shifts so that y = n and g = 1 at c = 0."""
        raise NotImplementedError


class RMS(Norm):
    """y = (offset + w) n, offset 0 or 1."""

    def __init__(self, width: int, eps: float, offset: float = 0.0) -> None:
        super().__init__(width, eps)
        self.offset = offset
        self.weight = nn.Parameter(torch.empty(width))

    def forward(self, x: Tensor, c: Tensor | None = None) -> Normed:
        """(B, T, D) -> (B, T, D); c is not looked at."""
        return (self.unit(x) * (self.offset + self.weight.float())).to(x.dtype), None

    def neutral(self) -> None:
        """w = 1 - offset."""
        nn.init.constant_(self.weight, 1.0 - self.offset)


class ScaleShiftGate(Norm):
    """y = (1 + s) n + t, and g; no weight of its own."""

    def __init__(self, width: int, eps: float, condition: int) -> None:
        super().__init__(width, eps)
        self.dense = nn.Linear(condition, 3 * width)

    def forward(self, x: Tensor, c: Tensor) -> Normed:
        """(B, T, D), (B, C) -> (B, T, D), (B, 1, D)."""
        s, t, g = self.dense(c).unsqueeze(1).chunk(3, dim=-1)
        return (self.unit(x) * (1 + s.float()) + t.float()).to(x.dtype), g

    def neutral(self) -> None:
        """b = [0, 0, 1]. (Upstream begins with W = 0 and g = 0, so with an expert that does nothing.)"""
        nn.init.zeros_(self.dense.bias)
        nn.init.ones_(self.dense.bias[2 * self.width :])


class GammaBeta(Norm):
    """y = (1 + gamma(c)) w n + beta(c)."""

    def __init__(self, width: int, eps: float, condition: int) -> None:
        super().__init__(width, eps)
        self.weight = nn.Parameter(torch.empty(width))
        self.gamma = nn.Linear(condition, width)
        self.beta = nn.Linear(condition, width)

    def forward(self, x: Tensor, c: Tensor) -> Normed:
        """(B, T, D), (B, C) -> (B, T, D)."""
        gamma, beta = self.gamma(c).unsqueeze(1), self.beta(c).unsqueeze(1)
        return (1 + gamma) * (self.weight * self.unit(x).to(x.dtype)) + beta, None

    def neutral(self) -> None:
        """w = 1, no bias."""
        nn.init.ones_(self.weight)
        nn.init.zeros_(self.gamma.bias)
        nn.init.zeros_(self.beta.bias)


PLAIN = ("rms", "rms_plus_one")
STEERED = ("scale_shift_gate", "gamma_beta")


def make_norm(kind: str, width: int, eps: float, condition: int = 0) -> Norm:
    """The norm of a kind; `condition`: C, of the steered ones. BadConfig for a kind that does not exist."""
    if kind in PLAIN:
        return RMS(width, eps, offset=float(kind == "rms_plus_one"))
    if kind not in STEERED:
        raise BadConfig(f"a norm must be one of {', '.join((*PLAIN, *STEERED))}, got {kind!r}: correct the configuration.")
    return (ScaleShiftGate if kind == "scale_shift_gate" else GammaBeta)(width, eps, condition)
