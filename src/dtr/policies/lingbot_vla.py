"""LingBot-VLA: Qwen2.5-VL beside a Qwen expert that reads the time twice, in its norms and in its tokens.

    c    = [sin | cos](t)                                        condition of every norm of the expert but the last, in float32
    x_t -> W_b silu(W_a [W_in x_t, c]), C tokens                 behind one state token W_s s, which does not see them
    v    = W_out RMS(expert), without the state's row
    loss = mean |v - (e - a)|                                    over the dimensions that the robot has ("mse": squares)

Batch: see `dtr.policies.flow_policy`, and `state` (B, S) normalised and padded. `pixel_values` as Qwen's processor normalises them,
zeros where a camera is missing. RoPE counts valid tokens, images included, with one base for both streams: not Qwen's own M-RoPE.
Legend: B batch, C chunk, A action dimension, S state dimension, D width of the language stream, E of the expert.
Source: Robbyant/lingbot-vla `61ef6b1`, `lingbotvla/models/vla/pi0/modeling_lingbot_vla.py`; the tower: `qwen_vit.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dtr.policies.base import Batch
from dtr.policies.flow import accumulated_times, embed_time, ratio_times
from dtr.policies.flow_policy import FlowPolicy
from dtr.policies.lingbot_vla_config import LingBotVLAConfig
from dtr.policies.norms import make_norm
from dtr.policies.qwen_vit import Merger, QwenViT
from dtr.policies.stack import Stack


class LingBotVLA(FlowPolicy):
    """The policy; see the module's text."""

    name = "lingbot_vla"
    times = staticmethod(accumulated_times)
    draw_times = staticmethod(ratio_times)
    _config: LingBotVLAConfig

    def __init__(self, config: LingBotVLAConfig) -> None:
        D, E, A = config.language.width, config.action.width, config.action_dim
        super().__init__(config, condition=E)
        self.vision = QwenViT(config.vision)
        self.projector = Merger(config.vision, D)
        self.state_in = nn.Linear(config.state_dim, E)
        self.action_in = nn.Linear(A, E)
        self.time_in = nn.Linear(2 * E, E)
        self.time_out = nn.Linear(E, E)
        self.action_out = nn.Linear(E, A)
        if config.unused:
            language_norm = make_norm(config.language.norm, D, config.language.eps)
            self.unused = nn.ModuleDict({"language_norm": language_norm}).requires_grad_(False)

    @classmethod
    def parse(cls, config: Mapping[str, Any]) -> LingBotVLAConfig:
        """The configuration from JSON values (BadConfig)."""
        return LingBotVLAConfig.from_dict(config)

    def vision_stack(self) -> Stack:
        """The blocks of Qwen's tower."""
        return self.vision.stack

    def image_tokens(self, pixel_values: Tensor) -> Tensor:
        """(B, n, 3, S, S) -> (B, n P, D), an image's tokens row by row."""
        y = self.vision.row_major(self.projector(self.vision(pixel_values.flatten(0, 1))))
        return y.unflatten(0, pixel_values.shape[:2]).flatten(1, 2)

    def enter(self, batch: Batch, x: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """(B, C, A), (B,) -> (B, 1 + C, E), (B, E)."""
        flow, y = self._config.flow, self.action_in(x)
        # In float32, as upstream: its angles reach 2 pi / 0.004, where the type shows in the fourth digit of an action.
        c = embed_time(t, y.shape[2], flow.min_period, flow.max_period, torch.float32).to(y.dtype)
        y = self.time_out(F.silu(self.time_in(torch.cat([y, c.unsqueeze(1).expand_as(y)], dim=2))))
        return torch.cat([self.state_in(batch["state"]).unsqueeze(1), y], dim=1), c

    def leave(self, batch: Batch, h: Tensor) -> Tensor:
        """(B, 1 + C, E) -> (B, C, A)."""
        y: Tensor = self.action_out(h[:, 1:])
        return y

    def error(self, batch: Batch, apart: Tensor) -> Tensor:
        """(B, C, A) -> (B,)."""
        apart = apart[..., : self._config.loss_dims]
        return (apart.abs() if self._config.loss == "l1" else apart.square()).mean(dim=(1, 2))
