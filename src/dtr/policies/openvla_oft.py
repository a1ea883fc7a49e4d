"""OpenVLA-OFT: two vision towers, a bidirectional Llama, an L1 head on the states of empty action tokens.

    sequence   h_0 = [BOS] [patches of image 1] ... [patches of image n] [proprio] [prompt] [empty] [0 x C A] [stop] [padding]
    language   h   = RMS(Llama(h_0)), every token sees every valid token, positions 0..N-1
    read-out   a   = h[empty .. last-but-one placeholder]            one position early, as in a causal model
    action     y   = MLPResNet(a regrouped to C rows of A D numbers),   loss = mean |y - y*|

Batch: `pixel_values` (B, 6 n, S, S) or (B, n, 6, S, S), an image's three channels for DINOv2 then three for SigLIP;
`input_ids` (B, T) the text part, padded on the right behind the stop token; `attention_mask` (B, T) bool; `proprio` (B, P);
`actions` (B, C, A) normalised, only for losses.
Non-obvious: placeholder *embeddings* are zero, only RoPE tells them apart; the stop token keeps its embedding and is attended to;
a tower's output leaves after its block L-2, so its last block is dead.
Legend: B batch, n images, S pixels, T text tokens, N all tokens, P proprio or patches, F features, D width, C chunk, A action dim.
Source: moojink/openvla-oft `213c5ff`, `prismatic/extern/hf/modeling_prismatic.py`; paper arXiv 2502.19645.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dtr.policies.base import Batch, Mark, Policy, unmarked
from dtr.policies.decoder import Decoder
from dtr.policies.head import ActionHead
from dtr.policies.initial import fan_in_std, generator, truncated_normal
from dtr.policies.openvla_oft_config import OpenVLAOFTConfig
from dtr.policies.stack import Stack
from dtr.policies.unused import AttentionPool
from dtr.policies.vit import ViT


class Projector(nn.Module):
    """Linear, GELU, Linear, GELU, ... Linear over `sizes`."""

    def __init__(self, sizes: Sequence[int]) -> None:
        super().__init__()
        self.fc = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(sizes))

    def forward(self, x: Tensor) -> Tensor:
        """(..., sizes[0]) -> (..., sizes[-1])."""
        for i, fc in enumerate(self.fc):
            x = fc(F.gelu(x) if i else x)
        return x


class OpenVLAOFT(Policy):
    """The policy; see the module's text for inputs and shapes."""

    name = "openvla_oft"
    processor_kind = "openvla_oft"
    vocab_section = "language"
    trained_whole = ("proprio", "action")
    _config: OpenVLAOFTConfig

    def __init__(self, config: OpenVLAOFTConfig) -> None:
        super().__init__(config)
        D = config.language.width
        self.dino = ViT(config.dino, config.image_size, config.patch_size)
        self.siglip = ViT(config.siglip, config.image_size, config.patch_size)
        self.projector = Projector((config.features, *config.projector, D))
        self.proprio = Projector((config.proprio_dim, config.proprio_hidden, D))
        self.language = Decoder(config.language)
        self.action = ActionHead(config.action, config.action_dim * D, config.action_dim)
        if config.unused:
            self.unused = nn.ModuleDict(
                {
                    "dino_norm": nn.LayerNorm(config.dino.width),
                    "siglip_norm": nn.LayerNorm(config.siglip.width),
                    "siglip_pool": AttentionPool(config.siglip.width, config.siglip.mlp),
                    "lm_head": nn.Linear(D, config.language.vocab, bias=False),
                }
            ).requires_grad_(False)

    @classmethod
    def parse(cls, config: Mapping[str, Any]) -> OpenVLAOFTConfig:
        """The configuration from JSON values (BadConfig)."""
        return OpenVLAOFTConfig.from_dict(config)

    @property
    def config(self) -> OpenVLAOFTConfig:
        """The configuration as the model is now."""
        c, shapes = self._config, {name: stack.shape for name, stack in self.stacks().items()}
        return dataclasses.replace(
            c,
            dino=dataclasses.replace(c.dino, **shapes["vision.dino"].left),
            siglip=dataclasses.replace(c.siglip, **shapes["vision.siglip"].left),
            language=dataclasses.replace(c.language, **shapes["language"].left),
            action=dataclasses.replace(c.action, kept=shapes["action"].kept, hidden=self.action.hidden),
        )

    def stacks(self) -> dict[str, Stack]:
        """Both towers, the language stack and the head's residual blocks."""
        return {
            "vision.dino": self.dino.stack,
            "vision.siglip": self.siglip.stack,
            "language": self.language.stack,
            "action": self.action.stack,
        }

    def features(self, pixel_values: Tensor) -> Tensor:
        """Both towers side by side on channels, images one after another on tokens: -> (B, n P, F)."""
        c = self._config
        pixels = pixel_values.reshape(-1, c.images, 2, 3, c.image_size, c.image_size)
        fused = torch.cat([tower(pixels[:, :, k].flatten(0, 1)) for k, tower in enumerate((self.dino, self.siglip))], dim=-1)
        return fused.view(-1, c.images * c.patches, c.features)

    def embed(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """The sequence h_0 (B, N, D), the first read-out position of each sample (B,), and which tokens are valid (B, N)."""
        ids, proprio = batch["input_ids"], self.proprio(batch["proprio"]).unsqueeze(1)
        T = ids.shape[1]
        lengths = batch["attention_mask"].sum(1)
        # [... empty, C A placeholders, stop] ends at the length: the read-out begins at the empty token.
        first = lengths - self._config.action_tokens - 2
        after = torch.arange(T, device=ids.device) - first[:, None]
        placeholder = (after >= 1) & (after <= self._config.action_tokens)
        text = self.language.embedding(ids).masked_fill(placeholder.unsqueeze(-1), 0)
        visual = [self.projector(self.features(batch["pixel_values"])), proprio]
        h = torch.cat([text[:, :1], *visual, text[:, 1:]], dim=1)
        return h, first + self._config.visual_tokens, self.valid_tokens(batch, h.shape[1])

    def valid_tokens(self, batch: Batch, tokens: int) -> Tensor:
        """Which of the N tokens of the language stream are no padding: (B, N) bool."""
        mask = batch["attention_mask"]
        lengths = mask.sum(1) + tokens - mask.shape[1]
        return torch.arange(tokens, device=mask.device) < lengths[:, None]

    def valid(self, stack: str, batch: Batch, tokens: int) -> Tensor | None:
        """Not: padding of the text."""
        return self.valid_tokens(batch, tokens) if stack == "language" else None

    def action_states(self, h: Tensor, first: Tensor) -> Tensor:
        """The C A states before each placeholder, after the final norm: (B, N, D), (B,) -> (B, C A, D)."""
        positions = first[:, None] + torch.arange(self._config.action_tokens, device=h.device)
        read = h.gather(1, positions.unsqueeze(-1).expand(-1, -1, h.shape[-1]))
        y: Tensor = self.language.norm(read)
        return y

    def decode(self, states: Tensor) -> Tensor:
        """Action states to normalised actions: (B, C A, D) -> (B, C, A)."""
        y: Tensor = self.action(states.reshape(states.shape[0], self._config.chunk, -1))
        return y

    def forward(self, batch: Batch, always_mask: bool = True, mark: Mark = unmarked) -> Tensor:
        """(B, C, A) normalised actions, differentiable.

        Without padding no mask is needed, which is faster and may differ in the last bits. Training takes that path; inference
        (`always_mask`) does not, so that a row's bits never depend on whether another row of its batch is padded.
        """
        h, first, valid = self.embed(batch)
        mark("vision")
        mask = valid[:, None, None, :] if always_mask or not bool(valid.all()) else None
        states = self.action_states(self.language(h, mask), first)
        mark("language")
        actions = self.decode(states)
        mark("action")
        return actions

    def losses(self, batch: Batch) -> Tensor:
        """(B,) mean absolute error over the chunk."""
        return (self(batch, always_mask=False) - batch["actions"]).abs().mean(dim=(1, 2))

    @torch.no_grad()
    def act(self, batch: Batch, mark: Mark = unmarked) -> Tensor:
        """(B, C, A) normalised actions."""
        y: Tensor = self(batch, mark=mark)
        return y

    def narrow_head(self, units: Sequence[int]) -> None:
        """Keep only these hidden units of the MLPResNet."""
        self.action.narrow(units)

    def reset_parameters(self, seed: int) -> None:
        """See `dtr.policies.initial`."""
        scales = {"dino": self._config.dino.layer_scale, "siglip": self._config.siglip.layer_scale}
        depths = {"dino": self._config.dino.depth, "siglip": self._config.siglip.depth, "language": self._config.language.depth}
        with torch.no_grad():
            for name, p in self.named_parameters():
                tower, leaf = name.split(".")[0], name.split(".")[-2]
                if name.endswith(("scale1", "scale2")):
                    p.fill_(scales[tower] or 1.0)
                elif p.dim() == 1:
                    p.fill_(1.0 if "norm" in leaf and name.endswith("weight") else 0.0)
                elif name.endswith(("position", "class_token", "registers", "embedding.weight", "latent")):
                    truncated_normal(p, 0.02, generator(seed, name))
                else:
                    residual = depths[tower] if leaf in ("proj", "fc2", "o", "down") and "blocks" in name else None
                    truncated_normal(p, fan_in_std(p, residual), generator(seed, name))
