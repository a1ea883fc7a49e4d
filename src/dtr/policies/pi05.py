"""pi0.5: PaliGemma beside a Gemma expert whose norms the time of the flow steers.

    c   = silu(W_2 silu(W_1 [sin | cos](t)))                     condition of every norm of the expert, E numbers
    x_t -> W_in x_t, C tokens in one block (no state token: the state is text)
    v   = W_out RMS_c(expert),   loss = mean (v - (e - a))^2      over all action dimensions, padded ones included

Batch: see `dtr.policies.flow_policy`; nothing beside. `pixel_values` in [-1, 1], -1 where a camera is missing.
Legend: B batch, C chunk, A action dimension, E width of the expert.
Source: Physical-Intelligence/openpi `15a9616`, `src/openpi/models_pytorch/pi0_pytorch.py`; paper arXiv 2504.16054.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from dtr.policies.base import Batch
from dtr.policies.flow import accumulated_times, beta_times, embed_time
from dtr.policies.flow_policy import FlowPolicy
from dtr.policies.norms import make_norm
from dtr.policies.pi05_config import Pi05Config
from dtr.policies.siglip import SigLIP
from dtr.policies.stack import Stack


class PaliGemmaPolicy(FlowPolicy):
    """What pi0.5 and GigaBrain-0 share: SigLIP, and an expert conditioned by an MLP of the time."""

    unused: nn.ModuleDict
    """With `config.unused`: weights that no action depends on, the language stream's final norm `language_norm` among them."""

    def __init__(self, config: Pi05Config) -> None:
        D, E = config.language.width, config.action.width
        super().__init__(config, condition=E)
        self.vision = SigLIP(config.vision)
        self.projector = nn.Linear(config.vision.width, D)
        self.time_in = nn.Linear(E, E)
        self.time_out = nn.Linear(E, E)

    def vision_stack(self) -> Stack:
        """SigLIP's blocks."""
        return self.vision.stack

    def image_tokens(self, pixel_values: Tensor) -> Tensor:
        """(B, n, 3, S, S) -> (B, n P, D); unlike words, not scaled."""
        y: Tensor = self.projector(self.vision(pixel_values.flatten(0, 1)))
        return y.unflatten(0, pixel_values.shape[:2]).flatten(1, 2)

    def condition(self, t: Tensor) -> Tensor:
        """c: (B,) -> (B, E)."""
        flow, weight = self._config.flow, self.time_in.weight
        embedded = embed_time(t, weight.shape[1], flow.min_period, flow.max_period).to(weight.dtype)
        return F.silu(self.time_out(F.silu(self.time_in(embedded))))


class Pi05(PaliGemmaPolicy):
    """The policy; see the module's text."""

    name = "pi05"
    times = staticmethod(accumulated_times)
    draw_times = staticmethod(beta_times)

    def __init__(self, config: Pi05Config) -> None:
        super().__init__(config)
        E = config.action.width
        self.action_in = nn.Linear(config.action_dim, E)
        self.action_out = nn.Linear(E, config.action_dim)
        if config.unused:
            self.unused = nn.ModuleDict(
                {
                    "language_norm": make_norm(config.language.norm, config.language.width, config.language.eps),
                    "expert_head": nn.Linear(E, config.vocab, bias=False),
                }
            ).requires_grad_(False)

    @classmethod
    def parse(cls, config: Mapping[str, Any]) -> Pi05Config:
        """The configuration from JSON values (BadConfig)."""
        return Pi05Config.from_dict(config)

    def enter(self, batch: Batch, x: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """(B, C, A), (B,) -> (B, C, E), (B, E)."""
        return self.action_in(x), self.condition(t)

    def leave(self, batch: Batch, h: Tensor) -> Tensor:
        """(B, C, E) -> (B, C, A)."""
        y: Tensor = self.action_out(h)
        return y

    def error(self, batch: Batch, apart: Tensor) -> Tensor:
        """Mean square over chunk and dimensions: (B, C, A) -> (B,)."""
        return apart.square().mean(dim=(1, 2))
