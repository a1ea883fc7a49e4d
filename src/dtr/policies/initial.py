"""Initial weights, each drawn from the seed and its own name.

    W ~ N(0, 1/fan_in) truncated at two deviations (0.016 at the width of Llama-2-7B; a fixed 0.02 would be too small at width 64),
    residual outputs further divided by sqrt(2 depth), tables and tokens N(0, 0.02^2), norms 1, biases 0.

A weight's stream of random numbers depends on (seed, name) alone: dropping a block or adding one changes no other weight, and the
global random state is neither read nor moved.
"""

from __future__ import annotations

import hashlib
import math

import torch
from torch import Tensor, nn


def generator(seed: int, name: str) -> torch.Generator:
    """The random stream of the parameter `name` under `seed`."""
    state = int.from_bytes(hashlib.sha256(f"{seed}:{name}".encode()).digest()[:7], "little")
    return torch.Generator().manual_seed(state)


def truncated_normal(tensor: Tensor, std: float, random: torch.Generator) -> None:
    """Fill with N(0, std^2) cut at two deviations. A weight on `meta` has no memory: nothing is drawn for it."""
    if tensor.is_meta:
        return
    with torch.no_grad():
        drawn = torch.empty(tensor.shape, dtype=torch.float32)
        nn.init.trunc_normal_(drawn, std=std, a=-2 * std, b=2 * std, generator=random)
        tensor.copy_(drawn)


def draw(module: nn.Module, seed: int) -> None:
    """Every parameter of a module: a vector 1 where it is a `weight` (a norm's) and 0 elsewhere, a matrix by its fan-in."""
    with torch.no_grad():
        for name, p in module.named_parameters():
            if p.dim() < 2:
                p.fill_(1.0 if name.endswith("weight") else 0.0)
            else:
                truncated_normal(p, fan_in_std(p), generator(seed, name))


def fan_in_std(weight: Tensor, residual_depth: int | None = None) -> float:
    """1/sqrt(fan_in), divided by sqrt(2 depth) where the layer's output is added to a residual stream of `residual_depth` blocks."""
    fan_in = weight[0].numel()
    return 1 / math.sqrt(fan_in * (2 * residual_depth if residual_depth else 1))
