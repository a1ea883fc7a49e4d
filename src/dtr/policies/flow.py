"""Flow matching: a straight path from noise to actions, and Euler's steps back along the learned velocity.

    training   x_t = t e + (1 - t) a,   e ~ N(0, 1),   target  v* = e - a
    sampling   x = e,  then for t = 1, 1 - 1/n, ...:   x <- x - v(x, t) / n                 t = 1 is noise, t = 0 the actions

Legend: B batch, C chunk steps, A action dimension, E width of the time embedding, n steps.
Source: openpi `models_pytorch/pi0_pytorch.py`; giga-models and lingbot-vla, which differ in the points named below.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

TIME_LOW, TIME_SPAN = 0.001, 0.999
"""t = TIME_LOW + TIME_SPAN u, u drawn on [0, 1]: never quite 0."""


@dataclass(frozen=True)
class FlowConfig:
    """`steps` n of sampling; shortest and longest period of the time embedding, in units of t."""

    steps: int = 10
    min_period: float = 4e-3
    max_period: float = 4.0


def embed_time(t: Tensor, width: int, min_period: float, max_period: float, dtype: torch.dtype = torch.float64) -> Tensor:
    """[sin | cos] of 2 pi t / period, E/2 periods between the two in geometric order: (B,) -> (B, E) fp32, computed in `dtype`.

    The shortest period is 0.004, so the type shows: float32 instead of float64 moves actions by 1e-4.
    """
    fraction = torch.linspace(0.0, 1.0, width // 2, dtype=dtype, device=t.device)
    period = min_period * (max_period / min_period) ** fraction
    angle = (1.0 / period * 2 * math.pi)[None, :] * t[:, None].to(dtype)
    return torch.cat([angle.sin(), angle.cos()], dim=1).float()


def accumulated_times(steps: int) -> list[float]:
    """t = 1 and then t <- t - 1/n, rounded to float32 every time (openpi, lingbot-vla)."""
    t, dt = torch.tensor(1.0, device="cpu"), torch.tensor(-1.0 / steps, device="cpu")
    times = []
    for _ in range(steps):
        times.append(t.item())
        t = t + dt
    return times


def spaced_times(steps: int) -> list[float]:
    """1 - k/n, each rounded to float32 once (giga-models)."""
    times: list[float] = torch.arange(1.0, 0.5 / steps, -1.0 / steps, device="cpu").tolist()
    return times


def beta_times(B: int, device: torch.device) -> Tensor:
    """t of u ~ Beta(1.5, 1), drawn from torch's global generator: (B,). u = U^(1/1.5) for uniform U (openpi)."""
    return TIME_LOW + TIME_SPAN * torch.rand(B, device=device) ** (1 / 1.5)


def ratio_times(B: int, device: torch.device) -> Tensor:
    """t of u = p / (p + q), p = U^(1/1.5), q = V: what giga-models and lingbot-vla draw for Beta(1.5, 1), which it is not quite."""
    p, q = torch.rand(B, device=device) ** (1 / 1.5), torch.rand(B, device=device)
    return TIME_LOW + TIME_SPAN * p / (p + q)


def seeded_noise(seeds: Tensor, chunk: int, action_dim: int, device: torch.device) -> Tensor:
    """Noise of its own for every seed (B,) -> (B, C, A): a sample's noise does not depend on its neighbours in the batch."""
    rows = [torch.randn(chunk, action_dim, generator=torch.Generator().manual_seed(int(s)), device="cpu") for s in seeds.tolist()]
    return torch.stack(rows).to(device)


def euler(velocity: Callable[[Tensor, Tensor], Tensor], x: Tensor, times: list[float]) -> list[tuple[float, Tensor, Tensor]]:
    """Every step of x <- x - v(x, t) / n as (t, v, x behind the step): the last x are the actions. x (B, C, A), v(x, t (B,)) alike."""
    path = []
    for t in times:
        v = velocity(x, torch.full((x.shape[0],), t, device=x.device))
        x = x - v * (1 / len(times))
        path.append((t, v, x))
    return path
