"""GigaBrain-0: PaliGemma 2 beside an expert as in pi0.5, in Gemma-2 blocks (a norm before and behind attention and MLP).

    x_t -> x_t W_in[e] + b_in[e],  e the robot;  C tokens in one block
    v   = RMS_c(expert) W_out[e] + b_out[e]
    loss = sum over the steps that count of mean (v - (e - a))^2 over dimensions, over C: steps that do not count are zeros

Batch: see `dtr.policies.flow_policy`, and `embodiment` (B,) int64; for losses `action_mask` (B, C) bool, the steps that count (all
where absent). The language model's own head, which writes subtasks, is no part of acting: carried with `unused`, as its final norm.
Legend: B batch, C chunk, A action dimension, E width of the expert, R robots.
Source: open-gigaai/giga-models `b0e05c7` (model), giga-brain-0 `19328ff` (loss); paper arXiv 2510.19430.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from dtr.policies.base import Batch
from dtr.policies.flow import ratio_times, spaced_times
from dtr.policies.gigabrain0_config import GigaBrain0Config
from dtr.policies.norms import make_norm
from dtr.policies.pi05 import PaliGemmaPolicy


class EmbodimentLinear(nn.Module):
    """y = x W[e] + b[e], W (R, in, out)."""

    def __init__(self, embodiments: int, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(embodiments, inputs, outputs))
        self.bias = nn.Parameter(torch.empty(embodiments, outputs))

    def forward(self, x: Tensor, e: Tensor) -> Tensor:
        """(B, C, in), (B,) -> (B, C, out)."""
        return torch.baddbmm(self.bias[e].unsqueeze(1), x, self.weight[e])


class GigaBrain0(PaliGemmaPolicy):
    """The policy; see the module's text."""

    name = "gigabrain0"
    times = staticmethod(spaced_times)
    draw_times = staticmethod(ratio_times)

    def __init__(self, config: GigaBrain0Config) -> None:
        super().__init__(config)
        E, R = config.action.width, config.embodiments
        self.action_in = EmbodimentLinear(R, config.action_dim, E)
        self.action_out = EmbodimentLinear(R, E, config.action_dim)
        if config.unused:
            language_norm = make_norm(config.language.norm, config.language.width, config.language.eps)
            self.unused = nn.ModuleDict({"language_norm": language_norm}).requires_grad_(False)

    @classmethod
    def parse(cls, config: Mapping[str, Any]) -> GigaBrain0Config:
        """The configuration from JSON values (BadConfig)."""
        return GigaBrain0Config.from_dict(config)

    def enter(self, batch: Batch, x: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """(B, C, A), (B,) -> (B, C, E), (B, E)."""
        return self.action_in(x, batch["embodiment"]), self.condition(t)

    def leave(self, batch: Batch, h: Tensor) -> Tensor:
        """(B, C, E) -> (B, C, A)."""
        y: Tensor = self.action_out(h, batch["embodiment"])
        return y

    def error(self, batch: Batch, apart: Tensor) -> Tensor:
        """(B, C, A) -> (B,)."""
        steps = apart.square().mean(dim=2)
        return (steps * batch["action_mask"] if "action_mask" in batch else steps).mean(dim=1)
