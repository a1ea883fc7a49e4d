"""Vision transformers as in timm: fused q/k/v, exact-erf GELU, optional LayerScale, class and register tokens.

    x = patches W + b + position;  x = [prefix, x]
    x <- x + s1 * attention(LN1 x);  x <- x + s2 * mlp(LN2 x)        (s = LayerScale or 1)
    features = x after block `readout`, prefix removed, no final norm

Legend: R rows (samples times images), P patches, T = prefix + P tokens, D width, H heads, K = D / H.
Source: timm 0.9.16 `vision_transformer.py` (DINOv2 with registers, SigLIP) and openvla-oft `modeling_prismatic.py`, the read-out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dtr.errors import BadConfig
from dtr.policies.parts import PartedBlock
from dtr.policies.settings import check_sizes
from dtr.policies.stack import Stack
from dtr.policies.stack_config import StackConfig, StackShape


@dataclass(frozen=True)
class TowerConfig(StackConfig):
    """One tower. `layer_scale`: its initial value, None for no LayerScale. `readout`: original block index, negative from the end.

    `class_token`, `registers`: prefix tokens, in front of the patches and without position. `mlp`: hidden width.
    """

    what: ClassVar[str] = "tower"
    width: int
    heads: int
    mlp: int
    class_token: bool = False
    registers: int = 0
    layer_scale: float | None = None
    eps: float = 1e-6
    readout: int = -2

    def __post_init__(self) -> None:
        check_sizes(self, self.what, ("depth", "width", "heads", "mlp"))
        if self.width % self.heads:
            raise BadConfig(f"a tower needs heads that divide its width, got {self}: correct the configuration.")
        if self.readout >= self.depth:
            raise BadConfig(f"a tower of {self.depth} blocks has no block {self.readout} to read out: correct the configuration.")
        # "The last but one" of a tower of one block is that block.
        object.__setattr__(self, "readout", max(0, self.readout if self.readout >= 0 else self.depth + self.readout))
        super().__post_init__()

    @property
    def prefix(self) -> int:
        """Number of tokens in front of the patches."""
        return int(self.class_token) + self.registers

    @property
    def shape(self) -> StackShape:
        """The stack of this tower."""
        return self.shaped(self.readout)


class VisionBlock(PartedBlock):
    """x + s1 * attention(LN1 x), then x + s2 * mlp(LN2 x)."""

    weights: ClassVar = {"attention": ("norm1", "qkv", "proj", "scale1"), "mlp": ("norm2", "fc1", "fc2", "scale2")}

    def __init__(self, config: TowerConfig) -> None:
        super().__init__()
        D = config.width
        self.heads = config.heads
        self.norm1 = nn.LayerNorm(D, eps=config.eps)
        self.qkv = nn.Linear(D, 3 * D)
        self.proj = nn.Linear(D, D)
        self.norm2 = nn.LayerNorm(D, eps=config.eps)
        self.fc1 = nn.Linear(D, config.mlp)
        self.fc2 = nn.Linear(config.mlp, D)
        scaled = config.layer_scale is not None
        self.scale1 = nn.Parameter(torch.empty(D)) if scaled else None
        self.scale2 = nn.Parameter(torch.empty(D)) if scaled else None

    def attention(self, x: Tensor) -> Tensor:
        """softmax(q k' / sqrt(K)) v over all tokens. (R, T, D) -> (R, T, D)."""
        R, T, D = x.shape
        q, k, v = self.qkv(x).view(R, T, 3, self.heads, D // self.heads).permute(2, 0, 3, 1, 4)
        y: Tensor = self.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(R, T, D))
        return y

    def forward(self, x: Tensor) -> Tensor:
        """(R, T, D) -> (R, T, D)."""
        if "attention" in self.parts:
            y = self.attention(self.norm1(x))
            x = self.parts["attention"](x, x + y if self.scale1 is None else torch.addcmul(x, self.scale1, y))
        if "mlp" in self.parts:
            y = self.fc2(F.gelu(self.fc1(self.norm2(x))))
            x = self.parts["mlp"](x, x + y if self.scale2 is None else torch.addcmul(x, self.scale2, y))
        return x


def flat_patches(images: Tensor, p: int) -> Tensor:
    """Patches row by row, each as (channel, row, column): (R, 3, S, S) -> (R, (S/p)^2, 3 p^2).

    A convolution with stride = kernel is one matrix product over them, several times faster on a CPU.
    """
    R, channels, s = images.shape[0], images.shape[1], images.shape[2] // p
    return images.reshape(R, channels, s, p, s, p).permute(0, 2, 4, 1, 3, 5).reshape(R, s * s, channels * p * p)


class ViT(nn.Module):
    """Images (R, 3, S, S) -> features (R, P, D) at the read-out, P = (S / patch_size)^2."""

    def __init__(self, config: TowerConfig, image_size: int, patch_size: int) -> None:
        super().__init__()
        D = config.width
        self.patch_size, self.side, self.prefix_tokens = patch_size, image_size // patch_size, config.prefix
        self.patch = nn.Conv2d(3, D, patch_size, stride=patch_size)
        self.position = nn.Parameter(torch.empty(1, self.side**2, D))
        self.class_token = nn.Parameter(torch.empty(1, 1, D)) if config.class_token else None
        self.registers = nn.Parameter(torch.empty(1, config.registers, D)) if config.registers else None
        self.stack = Stack(config.shape, lambda i: VisionBlock(config))

    def tokens(self, images: Tensor) -> Tensor:
        """The input of block 0: (R, 3, S, S) -> (R, prefix + P, D)."""
        x = F.linear(flat_patches(images, self.patch_size), self.patch.weight.flatten(1), self.patch.bias) + self.position
        prefix = [t.expand(images.shape[0], -1, -1) for t in (self.class_token, self.registers) if t is not None]
        return torch.cat([*prefix, x], dim=1) if prefix else x

    def forward(self, images: Tensor) -> Tensor:
        """(R, 3, S, S) -> (R, P, D)."""
        x: Tensor = self.stack(self.tokens(images))
        return x[:, self.prefix_tokens :]
