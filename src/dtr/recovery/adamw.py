"""AdamW on one vector, with clipping before and averaging after.

    g     <- g min(1, c / |g|)
    m     <- b1 m + (1 - b1) g
    v     <- b2 v + (1 - b2) g^2
    theta <- theta - lr w decays theta - lr (m / (1 - b1^k)) / (sqrt(v / (1 - b2^k)) + eps)
    mean  <- d mean + (1 - d) theta                     (only with an EMA of decay d)

for the k-th step, k = 1, 2, ...; all vectors (P,). Source: Loshchilov and Hutter, arXiv 1711.05101; equal to `torch.optim.AdamW`
within rounding (tests/unit/test_recovery_adamw.py).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from dtr.recovery.recipe import Recipe

EPS = 1e-8


def clip(g: Tensor, bound: float) -> float:
    """Scale `g` in place to a norm of at most `bound`; returns the norm before."""
    norm = float(torch.linalg.vector_norm(g))
    if norm > bound:
        g.mul_(bound / norm)
    return norm


def adamw(theta: Tensor, g: Tensor, m: Tensor, v: Tensor, decays: Tensor, k: int, lr: float, recipe: Recipe) -> None:
    """One step in place; `k` counts from 1."""
    m.lerp_(g, 1 - recipe.beta1)
    v.mul_(recipe.beta2).addcmul_(g, g, value=1 - recipe.beta2)
    if recipe.weight_decay:
        theta.addcmul_(theta, decays, value=-lr * recipe.weight_decay)
    scale = v.sqrt().div_(math.sqrt(1 - recipe.beta2**k)).add_(EPS)
    theta.addcdiv_(m, scale, value=-lr / (1 - recipe.beta1**k))


def average(mean: Tensor, theta: Tensor, decay: float) -> None:
    """The exponential moving average of the weights, in place; `mean` starts as the weights before the first step."""
    mean.lerp_(theta, 1 - decay)
