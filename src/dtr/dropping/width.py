r"""Which hidden units of an action head stay when its width is cut.

OpenVLA-OFT's head has no transformer blocks to drop, so the paper cuts its hidden width W = 4096 instead: to W/2 for Drop Half,
to W/16 for Keep 2. Which units stay the paper does not say (its recovery starts from a head drawn at random, where every choice
is alike). Here, where a trained head is cut, a unit stays for how strongly it is both written and read:

    write_j = || everything that adds to stream unit j ||        row j of W_1 and of every block's W_i, with their biases
    read_j  = || everything that takes from stream unit j ||     column j of every W_i and of W_2, times the layer norm's gain
    keep the units of largest write_j read_j; of equals the lower index; in ascending order

A unit that nothing reads, or nothing writes, goes first: it costs nothing. The rule needs no data, and the same weights always
give the same units. All units of the residual stream are one group: unit j of W_1, of every block, of every norm and of W_2 go
together, so the narrow head is a head of the same class. Its layer norms take their statistics over the units that stay.
"""

from __future__ import annotations

import torch
from torch import Tensor

from dtr.policies.base import Policy
from dtr.policies.head import ActionHead, HeadBlock

DIVISOR = {"half": 2, "ends": 16}
"""By how much a rule divides the hidden width: 4096 -> 2048 and 4096 -> 256 (paper Table 1)."""


def action_head(policy: Policy) -> ActionHead | None:
    """The head whose width `half` and `ends` cut, None for a policy whose action component is a stack of transformer blocks."""
    return next((child for child in policy.children() if isinstance(child, ActionHead)), None)


def width_before(policy: Policy) -> tuple[int, int] | None:
    """The head's hidden width now and in the undropped model, None for a policy without one."""
    head = action_head(policy)
    return None if head is None else (head.hidden, policy.config.action.full_hidden)


@torch.no_grad()
def strongest_units(head: ActionHead, width: int) -> list[int]:
    """The `width` units that stay, ascending."""
    if head.fc1.weight.is_meta:
        return list(range(width))
    blocks = [block for block in head.stack.blocks.values() if isinstance(block, HeadBlock)]
    write = rows(head.fc1.weight) + head.fc1.bias.double() ** 2
    read = rows((head.fc2.weight * head.norm2.weight).T)
    for block in blocks:
        write = write + rows(block.fc.weight) + block.fc.bias.double() ** 2
        read = read + rows((block.fc.weight * block.norm.weight).T)
    order = torch.argsort(write * read, descending=True, stable=True)
    return sorted(order[:width].tolist())


def rows(matrix: Tensor) -> Tensor:
    """Squared length of every row, in double precision: (R, C) -> (R,)."""
    return matrix.double().square().sum(dim=1)
