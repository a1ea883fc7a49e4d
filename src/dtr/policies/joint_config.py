"""What one stream of a joint-attention policy is, and which of its blocks are dead because of the other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from dtr.errors import BadConfig
from dtr.policies.settings import check_sizes
from dtr.policies.stack_config import StackConfig, StackShape

ACTIVATIONS = ("silu", "gelu_tanh")


@dataclass(frozen=True)
class StreamConfig(StackConfig):
    """One stream. `mlp`: hidden width; `norm`, `post_norm`, `final_norm`: kinds of `dtr.policies.norms`, "" for none (behind attention
    and MLP; behind the last block); `scale`: what the scores are divided by the root of, 0 = head_dim; `final_eps` 0 = eps."""

    what: ClassVar[str] = "stream"
    width: int
    heads: int
    kv_heads: int
    head_dim: int
    mlp: int
    norm: str
    activation: str
    post_norm: str = ""
    final_norm: str = ""
    eps: float = 1e-6
    final_eps: float = 0.0
    rope_base: float = 10000.0
    scale: float = 0.0
    qkv_bias: bool = False
    o_bias: bool = False

    def __post_init__(self) -> None:
        check_sizes(self, self.what, ("depth", "width", "heads", "kv_heads", "head_dim", "mlp"))
        object.__setattr__(self, "final_eps", self.final_eps or self.eps)
        object.__setattr__(self, "scale", self.scale or float(self.head_dim))
        super().__post_init__()
        if self.activation not in ACTIVATIONS:
            raise BadConfig(f"activation must be one of {', '.join(ACTIVATIONS)}, got {self.activation!r}: correct the configuration.")
        if self.heads % self.kv_heads or self.head_dim % 2:
            raise BadConfig(f"kv_heads must divide heads and head_dim must be even, got {self}: correct the configuration.")


def check_streams(first: StreamConfig, second: StreamConfig) -> None:
    """BadConfig unless the two can share a softmax."""
    for name in ("depth", "heads", "kv_heads", "head_dim", "rope_base", "scale"):
        a, b = getattr(first, name), getattr(second, name)
        if a != b:
            raise BadConfig(f"streams that attend jointly need the same {name}, got {a} and {b}: correct the configuration.")


def first_shape(first: StreamConfig, second: StreamConfig) -> StackShape:
    """The first stream's stack: only layers at which the second still attends read it, and they read what enters them."""
    return first.shaped(max(second.shape.attending, default=-1) - 1)
