"""Joint attention: two streams of tokens, each with its own weights, that meet in one softmax a layer.

Layer i of a stream, h = h_{i-1}; K_past, V_past are those that the other stream left at layer i, if it is read:

    n, r = norm1(h, c);   k = rope(W_k n),  v = W_v n                                  the source: what others read of a layer
    y = W_o softmax(rope(W_q n) [K_past, k]' / sqrt(scale)) [V_past, v]                the block: what the layer does to its own stream
    x = gate_a(h, h + r post1(y));   m, g = norm2(x, c);   F_i(h) = gate_m(x, x + g post2(W_down(act(W_gate m) * W_up m)))
    h_i = gate_i(h, F_i(h))

The first stream (images and words) never sees the second (actions). So it is run once, its (k, v) of every layer are kept, and the
second is run on them: in training once, in sampling once a step of the flow.

Sources stand beside the blocks (`sources.7.k.weight`, `stack.blocks.7.q.weight`), because a source outlives its block: dropping
block i deletes norm2, W_q, W_o and the MLP; norm1, W_k and W_v stay as long as the other stream still attends at layer i and so reads
them (`settle`). Dropping the attention of block i deletes W_q, W_o, and the source likewise when nobody reads it any more; dropping its
MLP touches no source. The last block of the first stream is dead, as is every one behind the last layer at which the second attends.
Legend: B batch, T tokens, S tokens seen, D width, H query heads, G key heads, K head width, C condition width.
Source: openpi `models_pytorch/gemma_pytorch.py`; giga-models and lingbot-vla do the same with other norms and biases.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dtr.policies.decoder import Rotation, rotate
from dtr.policies.joint_config import StreamConfig
from dtr.policies.norms import make_norm
from dtr.policies.parts import PartedBlock
from dtr.policies.stack import Stack
from dtr.policies.stack_config import StackShape

KeysValues = tuple[Tensor, Tensor]
"""k and v of one layer, (B, G, T, K) each, k already turned."""
Offered = tuple[Tensor, Tensor | None, KeysValues]
"""n, r, and all keys and values that a layer's block may see."""
Cache = Mapping[int, KeysValues]
"""By original layer index."""


def visible(blocks: Iterable[int], device: torch.device) -> Tensor:
    """(T, T) bool: token t sees token u where block(u) <= block(t). `blocks`: the block of every token, increasing."""
    block = torch.tensor(tuple(blocks), device=device)
    return block[None, :] <= block[:, None]


class Source(nn.Module):
    """norm1, W_k and W_v of one layer."""

    def __init__(self, config: StreamConfig, condition: int) -> None:
        super().__init__()
        D, K, bias = config.width, config.head_dim, config.qkv_bias
        self.head_dim = K
        self.norm = make_norm(config.norm, D, config.eps, condition)
        self.k = nn.Linear(D, config.kv_heads * K, bias=bias)
        self.v = nn.Linear(D, config.kv_heads * K, bias=bias)

    def forward(self, h: Tensor, by: Rotation, c: Tensor | None) -> tuple[Tensor, Tensor | None, KeysValues]:
        """(B, T, D) -> n (B, T, D), r, and (k, v)."""
        n, r = self.norm(h, c)
        k, v = (w(n).unflatten(-1, (-1, self.head_dim)).transpose(1, 2) for w in (self.k, self.v))
        return n, r, (rotate(k, by), v)


class JointBlock(PartedBlock):
    """W_q, attention, W_o and the MLP: the residual of one layer on its own stream."""

    weights: ClassVar = {"attention": ("q", "o", "post1"), "mlp": ("norm2", "gate", "up", "down", "post2")}

    def __init__(self, config: StreamConfig, condition: int) -> None:
        super().__init__()
        D, K = config.width, config.head_dim
        self.heads, self.groups, self.head_dim, self.scale = config.heads, config.heads // config.kv_heads, K, config.scale**-0.5
        self.activation = config.activation
        self.q = nn.Linear(D, config.heads * K, bias=config.qkv_bias)
        self.o = nn.Linear(config.heads * K, D, bias=config.o_bias)
        self.norm2 = make_norm(config.norm, D, config.eps, condition)
        self.gate = nn.Linear(D, config.mlp, bias=False)
        self.up = nn.Linear(D, config.mlp, bias=False)
        self.down = nn.Linear(config.mlp, D, bias=False)
        self.post1 = make_norm(config.post_norm, D, config.eps) if config.post_norm else None
        self.post2 = make_norm(config.post_norm, D, config.eps) if config.post_norm else None

    def attention(self, n: Tensor, seen: KeysValues, mask: Tensor, by: Rotation) -> Tensor:
        """(B, T, D), (B, G, S, K) twice, mask (B, 1, T or 1, S) True where a key may be seen -> (B, T, D)."""
        q = rotate(self.q(n).unflatten(-1, (self.heads, self.head_dim)).transpose(1, 2), by)
        k, v = seen if self.groups == 1 else (t.repeat_interleave(self.groups, dim=1) for t in seen)
        y: Tensor = self.o(F.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=self.scale).transpose(1, 2).flatten(2))
        return y if self.post1 is None else self.post1(y)[0]

    def mlp(self, m: Tensor) -> Tensor:
        """(B, T, D) -> (B, T, D)."""
        gate = self.gate(m)
        y: Tensor = self.down((F.silu(gate) if self.activation == "silu" else F.gelu(gate, approximate="tanh")) * self.up(m))
        return y if self.post2 is None else self.post2(y)[0]

    def forward(self, h: Tensor, offered: Offered | None, mask: Tensor, by: Rotation, c: Tensor | None) -> Tensor:
        """(B, T, D) -> (B, T, D). `offered`: n and r of the layer's source and all keys and values, None where there is no source."""
        x = h
        if "attention" in self.parts:
            assert offered is not None, "a layer that attends has its source"
            n, r, seen = offered
            y = self.attention(n, seen, mask, by)
            x = self.parts["attention"](h, h + (y if r is None else r * y))
        if "mlp" in self.parts:
            m, g = self.norm2(x, c)
            y = self.mlp(m)
            x = self.parts["mlp"](x, x + (y if g is None else g * y))
        return x


class Stream(nn.Module):
    """One stream: its blocks (`stack`), its sources, and where there are such its final norm and its token table.

    shape: `first_shape`, or the configuration's own; read_by: the layers at which the other stream reads this one; condition: C, 0 = none.
    """

    def __init__(self, config: StreamConfig, shape: StackShape, read_by: Iterable[int] = (), condition: int = 0, vocab: int = 0) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocab, config.width) if vocab else None
        self.stack = Stack(shape, lambda i: JointBlock(config, condition))
        self.sources = nn.ModuleDict({str(i): Source(config, condition) for i in sorted({*shape.attending, *read_by})})
        self.norm = make_norm(config.final_norm, config.width, config.final_eps, condition) if config.final_norm else None

    def embed(self, ids: Tensor) -> Tensor:
        """(B, T) token ids -> (B, T, D), of a stream with a token table."""
        assert self.embedding is not None, "this stream reads no words"
        y: Tensor = self.embedding(ids)
        return y

    def finish(self, h: Tensor, c: Tensor | None = None) -> Tensor:
        """The final norm, of a stream that has one: (B, T, D) -> (B, T, D)."""
        assert self.norm is not None, "nothing reads this stream behind its last block"
        y: Tensor = self.norm(h, c)[0]
        return y

    def forward(
        self, h: Tensor, by: Rotation, mask: Tensor, c: Tensor | None = None, past: Cache | None = None
    ) -> tuple[Tensor, dict[int, KeysValues]]:
        """The stream behind its last live block, before the final norm, and the keys and values of its layers.

        h (B, T, D), mask (B, 1, T or 1, S) bool, S = the past's tokens and then T, c (B, C) -> (B, T, D), by layer.
        """
        made: dict[int, KeysValues] = {}
        layers = sorted({*map(int, self.sources), *self.stack.kept})
        for i in (i for i in layers if i <= self.stack.readout + 1):
            offered = None
            if str(i) in self.sources:
                n, r, (k, v) = self.sources[str(i)](h, by, c)
                made[i] = k, v
                seen = (k, v) if past is None else (torch.cat([past[i][0], k], dim=2), torch.cat([past[i][1], v], dim=2))
                offered = n, r, seen
            h = self.stack.step(i, h, offered, mask, by, c)
        return h, made


def settle(first: Stream, second: Stream) -> None:
    """After a drop: delete the sources that nothing reads any more, and move the first stream's read-out."""
    reading = second.stack.having("attention")
    first.stack.readout = max(reading, default=-1) - 1
    for stream, read_by in ((first, reading), (second, ())):
        for i in map(int, tuple(stream.sources)):
            if i not in stream.stack.having("attention") and i not in read_by:
                del stream.sources[str(i)]
