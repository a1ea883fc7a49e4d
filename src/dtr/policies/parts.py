"""A transformer block has two parts, attention and MLP: each is a residual behind a gate of its own, and each can go alone.

    x_1 = gate_a(x, x + A(x)),   x_2 = gate_m(x_1, x_1 + M(x_1));        F_i(h_{i-1}) = x_2 at x = h_{i-1}

A part that went has no weights left and passes on what it got: x_1 = x, or x_2 = x_1. A block that lost both is gone (`Stack.drop`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from torch import nn

from dtr.policies.gate import Gate

PARTS = ("attention", "mlp")
GRANULARITIES = ("block", *PARTS)
"""What is gated, scored and dropped: whole blocks, or one part of them."""


class PartedBlock(nn.Module):
    """A block of two parts. Its `forward` runs what is in `parts`, and ends each in the part's gate."""

    weights: ClassVar[Mapping[str, tuple[str, ...]]]
    """Part -> the attributes (modules, parameters) that are only its."""

    def __init__(self) -> None:
        super().__init__()
        self.parts = {part: Gate() for part in PARTS}

    def drop(self, part: str) -> None:
        """Delete a part that is there, with its weights."""
        for name in self.weights[part]:
            delattr(self, name)
        del self.parts[part]
