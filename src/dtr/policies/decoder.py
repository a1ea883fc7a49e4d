"""The Llama block without its causality: every valid token sees every valid token.

    x <- x + W_o attention(rope(W_q n), rope(W_k n), W_v n),  n = RMS1(x)
    x <- x + W_down (silu(W_gate m) * W_up m),                m = RMS2(x)

Legend: B batch, N tokens, D width, H query heads, G key/value heads (H a multiple of G), K head width.
Source: transformers 4.40.1 `modeling_llama.py`; the bidirectional mask is that of moojink/transformers-openvla-oft.
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

Rotation = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class LanguageConfig(StackConfig):
    """The language stack. `kv_heads` 0 = `heads`, `head_dim` 0 = width / heads. `mlp`: hidden width. `eps`: of the RMS norms."""

    what: ClassVar[str] = "language"
    width: int
    heads: int
    mlp: int
    vocab: int
    kv_heads: int = 0
    head_dim: int = 0
    eps: float = 1e-6
    rope_base: float = 10000.0
    attention_bias: bool = False

    def __post_init__(self) -> None:
        check_sizes(self, self.what, ("depth", "width", "heads", "mlp", "vocab"))
        if not self.head_dim and self.width % self.heads:
            raise BadConfig(f"heads must divide the width where head_dim is not given, got {self}: correct the configuration.")
        object.__setattr__(self, "kv_heads", self.kv_heads or self.heads)
        object.__setattr__(self, "head_dim", self.head_dim or self.width // self.heads)
        super().__post_init__()
        if self.heads % self.kv_heads or self.head_dim % 2:
            raise BadConfig(f"kv_heads must divide heads and head_dim must be even, got {self}: correct the configuration.")


def rotation(positions: Tensor, head_dim: int, base: float, dtype: torch.dtype) -> Rotation:
    """cos and sin of position * base^(-2j/K), the K/2 angles twice over (half-split RoPE): (..., N) -> (..., N, K) each."""
    powers = torch.arange(0, head_dim, 2, dtype=torch.int64, device=positions.device).float() / head_dim
    angles = positions[..., None].float() * (1.0 / base**powers)
    angles = torch.cat([angles, angles], dim=-1)
    return angles.cos().to(dtype), angles.sin().to(dtype)


def rotate(x: Tensor, by: Rotation) -> Tensor:
    """Turn each pair (x_j, x_{j+K/2}) by its angle. (B, H, N, K) -> (B, H, N, K)."""
    cos, sin = by
    low, high = x.chunk(2, dim=-1)
    return torch.addcmul(x * cos, torch.cat([-high, low], dim=-1), sin)


class LanguageBlock(PartedBlock):
    """Attention and SwiGLU, each behind an RMS norm, each added to the stream."""

    weights: ClassVar = {"attention": ("norm1", "q", "k", "v", "o"), "mlp": ("norm2", "gate", "up", "down")}

    def __init__(self, config: LanguageConfig) -> None:
        super().__init__()
        D, K, bias = config.width, config.head_dim, config.attention_bias
        self.heads, self.kv_heads, self.head_dim = config.heads, config.kv_heads, config.head_dim
        self.norm1 = nn.RMSNorm(D, eps=config.eps)
        self.q = nn.Linear(D, config.heads * K, bias=bias)
        self.k = nn.Linear(D, config.kv_heads * K, bias=bias)
        self.v = nn.Linear(D, config.kv_heads * K, bias=bias)
        self.o = nn.Linear(config.heads * K, D, bias=bias)
        self.norm2 = nn.RMSNorm(D, eps=config.eps)
        self.gate = nn.Linear(D, config.mlp, bias=False)
        self.up = nn.Linear(D, config.mlp, bias=False)
        self.down = nn.Linear(config.mlp, D, bias=False)

    def attention(self, n: Tensor, mask: Tensor | None, by: Rotation) -> Tensor:
        """(B, N, D) -> (B, N, D); `mask` (B, 1, 1, N) is True where a key may be seen, None when all may."""
        B, N, _ = n.shape
        q = rotate(self.q(n).view(B, N, self.heads, self.head_dim).transpose(1, 2), by)
        k = rotate(self.k(n).view(B, N, self.kv_heads, self.head_dim).transpose(1, 2), by)
        v = self.v(n).view(B, N, self.kv_heads, self.head_dim).transpose(1, 2)
        if self.kv_heads != self.heads:
            k, v = (t.repeat_interleave(self.heads // self.kv_heads, dim=1) for t in (k, v))
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        y = self.o(y.transpose(1, 2).reshape(B, N, self.heads * self.head_dim))
        return y

    def forward(self, x: Tensor, mask: Tensor | None, by: Rotation) -> Tensor:
        """(B, N, D) -> (B, N, D)."""
        if "attention" in self.parts:
            x = self.parts["attention"](x, x + self.attention(self.norm1(x), mask, by))
        if "mlp" in self.parts:
            m = self.norm2(x)
            x = self.parts["mlp"](x, x + self.down(F.silu(self.gate(m)) * self.up(m)))
        return x


class Decoder(nn.Module):
    """Token embedding, blocks and final norm. Positions are 0..N-1: padding stands at the end and shifts nobody."""

    def __init__(self, config: LanguageConfig) -> None:
        super().__init__()
        self.head_dim, self.rope_base = config.head_dim, config.rope_base
        self.embedding = nn.Embedding(config.vocab, config.width)
        self.stack = Stack(config.shape, lambda i: LanguageBlock(config))
        self.norm = nn.RMSNorm(config.width, eps=config.eps)
        self._rotation: Rotation | None = None

    def rotation(self, h: Tensor) -> Rotation:
        """RoPE of a sequence (B, N, D), computed once for a length, device and type."""
        known = self._rotation
        if known is None or (known[0].shape[0], known[0].device, known[0].dtype) != (h.shape[1], h.device, h.dtype):
            known = self._rotation = rotation(torch.arange(h.shape[1], device=h.device), self.head_dim, self.rope_base, h.dtype)
        return known

    def forward(self, h: Tensor, mask: Tensor | None) -> Tensor:
        """The stream behind the last block, before the final norm: (B, N, D), mask (B, 1, 1, N) or None -> (B, N, D)."""
        y: Tensor = self.stack(h, mask, self.rotation(h))
        return y
