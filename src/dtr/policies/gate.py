"""The one seam through which blocks are scored, scaled and watched.

    h_i = gate(h_{i-1}, F_i(h_{i-1}))       = F_i(h_{i-1})                              normally, at no cost
                                            = h_{i-1} + alpha_i (F_i(h_{i-1}) - h_{i-1})    with a scale alpha_i

so alpha = 1 is the whole model and alpha = 0 is the model without block i; GateProbe's gradient is
dL/d(alpha_i) at 1 = <dL/dh_i, h_i - h_{i-1}>, which needs only what a watched gate captures (paper section 3, equation of GateProbe).
Legend: B batch, R rows (= B, or B times images in a vision tower, the rows of a sample side by side), T tokens, D width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Gate(nn.Module):
    """The parameterless end of one residual block.

    `alpha`: None (return h_out untouched), a number, or (B,) one scale a sample, shared by all rows of the sample.
    `h_in`, `h_out`: (R, T, D) of the last forward pass while watched, None otherwise; h_out is what the gate returned and,
    with gradients enabled, is in the graph and retains its gradient even when no parameter requires one.
    """

    def __init__(self) -> None:
        super().__init__()
        self.alpha: float | Tensor | None = None
        self.watched = False
        self.h_in: Tensor | None = None
        self.h_out: Tensor | None = None

    def watch(self, on: bool = True) -> None:
        """Begin (or end) to capture; either way what was captured before is forgotten."""
        self.watched, self.h_in, self.h_out = on, None, None

    def forward(self, h_in: Tensor, h_out: Tensor) -> Tensor:
        """(R, T, D), (R, T, D) -> (R, T, D)."""
        if self.alpha is not None:
            h_out = h_in + self._rows(self.alpha, h_in) * (h_out - h_in)
        if self.watched:
            if torch.is_grad_enabled():
                # With frozen parameters the first watched block is where the graph begins.
                h_out = h_out if h_out.requires_grad else h_out.detach().requires_grad_()
                h_out.retain_grad()
            self.h_in, self.h_out = h_in, h_out
        return h_out

    @staticmethod
    def _rows(alpha: float | Tensor, h: Tensor) -> float | Tensor:
        """A scale a sample (B,) as a scale a row (R, 1, ...)."""
        if isinstance(alpha, Tensor) and alpha.dim() == 1:
            return alpha.repeat_interleave(h.shape[0] // alpha.shape[0]).view(-1, *[1] * (h.dim() - 1))
        return alpha
