"""All trainable numbers of a policy as one vector.

    theta (P,)   every trainable parameter, one after another; the module's parameters are views of it
    g     (P,)   its gradient; the parameters' `.grad` are views of it, so a backward pass adds straight into it

One vector makes clipping, AdamW, averaging, exchange between processes and the file of the state a line each. Every parameter
starts at a multiple of 64 bytes, as if it had been allocated alone; the gaps between stay zero.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

ALIGNMENT = 16  # float32 numbers in 64 bytes


class Flat:
    """`theta`, `gradient`, and `decays` (P,): 1 where weight decay applies (matrices and higher), 0 for biases, norms, gaps."""

    def __init__(self, module: nn.Module) -> None:
        """Moves the trainable parameters of `module` into one vector, values unchanged."""
        self.parameters = [p for p in module.parameters() if p.requires_grad]
        starts, end = [], 0
        for p in self.parameters:
            starts.append(end)
            end += -(-p.numel() // ALIGNMENT) * ALIGNMENT
        device = self.parameters[0].device
        self.theta, self.gradient, self.decays = (torch.zeros(end, device=device) for _ in range(3))
        for p, start in zip(self.parameters, starts, strict=True):
            part = slice(start, start + p.numel())
            view = self.theta[part].view_as(p)
            view.copy_(p.detach())
            p.data = view
            p.grad = self.gradient[part].view_as(p)
            self.decays[part] = float(p.dim() >= 2)

    def backward(self, loss: Tensor) -> Tensor:
        """The gradient (P,) of a scalar `loss`; valid until the next call."""
        self.gradient.zero_()
        torch.autograd.backward(loss)
        return self.gradient

    def release(self) -> None:
        """Give the parameters memory of their own again, without gradients."""
        for p in self.parameters:
            p.grad = None
            p.data = p.data.clone()
