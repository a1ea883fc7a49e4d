"""bfloat16 for those who only ask a policy: half the memory of its large weights, matrix products at the speed of bfloat16.

Autocast says what is computed in which type: matrix products, convolutions and attention in bfloat16; norms, losses, the residual stream
of every stack, the embedding of a flow's time, its noise and the steps along its path in float32 or better. Weights of linear layers and
2-D convolutions are used for nothing else, so they are stored in bfloat16, and the numbers are those of autocast on the float32 weights,
to the bit. Tables, norms and everything else stay float32, as upstream has them (openpi: norms and position embeddings). Not as upstream:
openpi also keeps the patch embedding and the projections of actions and time in float32, which autocast does not.
Training has the same types, and float32 weights: `recipe.precision`.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from dtr.errors import unknown
from dtr.policies.base import Policy
from dtr.policies.settings import PRECISIONS


def lower(policy: Policy, precision: str | None) -> Policy:
    """`policy`, from now on asked in this precision, in place; its actions and losses are float32. UnknownName."""
    if precision is None:
        return policy
    if precision not in PRECISIONS:
        raise unknown("precision", precision, PRECISIONS)
    for module in policy.modules():
        if isinstance(module, nn.Linear | nn.Conv2d):  # Qwen's Conv3d adds its weights up first: that is done in float32
            module.to(torch.bfloat16)
    for name in ("act", "losses"):
        setattr(policy, name, cast(policy.device.type, getattr(policy, name)))
    return policy


def cast(device: str, ask: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """`ask` under bfloat16 autocast, its answer in float32."""

    def asked(*args: object, **options: object) -> Tensor:
        with torch.autocast(device, torch.bfloat16):
            return ask(*args, **options).float()

    return asked
