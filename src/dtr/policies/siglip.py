"""SigLIP as PaliGemma reads it: the whole tower, its last norm, and one linear map to the width of the language model.

    x = patches W + b + position
    x <- x + W_o attention(W_q n, W_k n, W_v n),  n = LN1 x        every linear with bias
    x <- x + W_2 gelu_tanh(W_1 m),                m = LN2 x
    tokens = LN x                                                  no class token, no pooling; every block is alive

Legend: R rows (samples times images), S pixels, P patches, D width, H heads, K = D / H.
Source: transformers 4.53.2 `modeling_siglip.py`. (OpenVLA's SigLIP is timm's: exact GELU, fused q/k/v, read before its last block.)
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
from dtr.policies.stack_config import StackConfig
from dtr.policies.vit import flat_patches


@dataclass(frozen=True)
class SigLIPConfig(StackConfig):
    """The tower. `image_size`, `patch_size` in pixels; `mlp`: hidden width."""

    what: ClassVar[str] = "vision"
    width: int
    heads: int
    mlp: int
    image_size: int = 224
    patch_size: int = 14
    channels: int = 3
    eps: float = 1e-6

    def __post_init__(self) -> None:
        check_sizes(self, self.what, ("depth", "width", "heads", "mlp", "image_size", "patch_size", "channels"))
        if self.width % self.heads or self.image_size % self.patch_size:
            raise BadConfig(f"SigLIP needs heads that divide its width and patches that divide its image, got {self}: correct it.")
        super().__post_init__()

    @property
    def tokens(self) -> int:
        """P, the tokens of one image."""
        return (self.image_size // self.patch_size) ** 2


class SigLIPBlock(PartedBlock):
    """Attention and MLP, each behind a layer norm, each added to the stream."""

    weights: ClassVar = {"attention": ("norm1", "q", "k", "v", "o"), "mlp": ("norm2", "fc1", "fc2")}

    def __init__(self, config: SigLIPConfig) -> None:
        super().__init__()
        D = config.width
        self.heads = config.heads
        self.norm1 = nn.LayerNorm(D, eps=config.eps)
        self.q, self.k, self.v, self.o = (nn.Linear(D, D) for _ in range(4))
        self.norm2 = nn.LayerNorm(D, eps=config.eps)
        self.fc1 = nn.Linear(D, config.mlp)
        self.fc2 = nn.Linear(config.mlp, D)

    def attention(self, n: Tensor) -> Tensor:
        """softmax(q k' / sqrt(K)) v over all tokens. (R, P, D) -> (R, P, D)."""
        q, k, v = (w(n).unflatten(-1, (self.heads, -1)).transpose(1, 2) for w in (self.q, self.k, self.v))
        y: Tensor = self.o(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
        return y

    def forward(self, x: Tensor) -> Tensor:
        """(R, P, D) -> (R, P, D)."""
        if "attention" in self.parts:
            x = self.parts["attention"](x, x + self.attention(self.norm1(x)))
        if "mlp" in self.parts:
            x = self.parts["mlp"](x, x + self.fc2(F.gelu(self.fc1(self.norm2(x)), approximate="tanh")))
        return x


class SigLIP(nn.Module):
    """Images (R, 3, S, S) in [-1, 1] -> tokens (R, P, D)."""

    def __init__(self, config: SigLIPConfig) -> None:
        super().__init__()
        self.patch = nn.Conv2d(config.channels, config.width, config.patch_size, stride=config.patch_size)
        self.position = nn.Parameter(torch.empty(config.tokens, config.width))
        self.stack = Stack(config.shape, lambda i: SigLIPBlock(config))
        self.norm = nn.LayerNorm(config.width, eps=config.eps)

    def tokens(self, images: Tensor) -> Tensor:
        """The input of block 0: (R, 3, S, S) -> (R, P, D)."""
        return F.linear(flat_patches(images, self.patch.kernel_size[0]), self.patch.weight.flatten(1), self.patch.bias) + self.position

    def forward(self, images: Tensor) -> Tensor:
        """(R, 3, S, S) -> (R, P, D)."""
        y: Tensor = self.norm(self.stack(self.tokens(images)))
        return y
