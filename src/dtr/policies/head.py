"""The action head of OpenVLA-OFT: a small residual MLP on the action tokens of one chunk step, side by side.

    y = relu(W_1 LN(a));  y <- y + relu(W_i LN_i(y));  action = W_2 LN(y)

Legend: B batch, C chunk steps, A action dimension, D width of the language stream, W hidden width.
Source: openvla-oft `prismatic/models/action_heads.py`, `MLPResNet`, `L1RegressionActionHead`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dtr.policies.settings import check_sizes
from dtr.policies.stack import Stack
from dtr.policies.stack_config import EVERY, StackShape, kept_blocks


@dataclass(frozen=True)
class HeadConfig:
    """`depth` residual blocks of width `hidden`; `hidden` is the width after narrowing, `full_hidden` (0 = the same) before."""

    depth: int
    hidden: int
    full_hidden: int = 0
    eps: float = 1e-5
    kept: tuple[int, ...] = EVERY

    def __post_init__(self) -> None:
        check_sizes(self, "action", ("hidden",))
        object.__setattr__(self, "full_hidden", self.full_hidden or self.hidden)
        object.__setattr__(self, "kept", kept_blocks(self.kept, self.depth, "action"))

    @property
    def shape(self) -> StackShape:
        """The stack; its read-out is the last block."""
        return StackShape(self.depth, self.kept, self.depth - 1)


class HeadBlock(nn.Module):
    """y + relu(W LN(y))."""

    def __init__(self, width: int, eps: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width, eps=eps)
        self.fc = nn.Linear(width, width)

    def forward(self, y: Tensor) -> Tensor:
        """(B, C, W) -> (B, C, W)."""
        return y + F.relu(self.fc(self.norm(y)))


class ActionHead(nn.Module):
    """(B, C, A D) -> (B, C, A)."""

    def __init__(self, config: HeadConfig, inputs: int, outputs: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(inputs, eps=config.eps)
        self.fc1 = nn.Linear(inputs, config.hidden)
        self.stack = Stack(config.shape, lambda i: HeadBlock(config.hidden, config.eps))
        self.norm2 = nn.LayerNorm(config.hidden, eps=config.eps)
        self.fc2 = nn.Linear(config.hidden, outputs)

    @property
    def hidden(self) -> int:
        """The hidden width W as it is now."""
        return self.fc1.out_features

    def enter(self, a: Tensor) -> Tensor:
        """The input of block 0: (B, C, A D) -> (B, C, W)."""
        return F.relu(self.fc1(self.norm1(a)))

    def forward(self, a: Tensor) -> Tensor:
        """(B, C, A D) -> (B, C, A)."""
        y: Tensor = self.fc2(self.norm2(self.stack(self.enter(a))))
        return y

    @torch.no_grad()
    def narrow(self, units: Sequence[int]) -> None:
        """Keep only these hidden units, in this order: every weight that touches the hidden width is cut."""
        keep = torch.as_tensor(list(units), dtype=torch.long, device=self.fc1.weight.device)
        squares = [block.fc for block in self.stack.blocks.values() if isinstance(block, HeadBlock)]
        norms = [block.norm for block in self.stack.blocks.values() if isinstance(block, HeadBlock)] + [self.norm2]
        for linear in (self.fc1, *squares):
            linear.weight, linear.bias = nn.Parameter(linear.weight[keep]), nn.Parameter(linear.bias[keep])
            linear.out_features = len(keep)
        for linear in (*squares, self.fc2):
            linear.weight = nn.Parameter(linear.weight[:, keep].contiguous())
            linear.in_features = len(keep)
        for norm in norms:
            norm.weight, norm.bias = nn.Parameter(norm.weight[keep]), nn.Parameter(norm.bias[keep])
            norm.normalized_shape = (len(keep),)
