"""The vision tower of Qwen2.5-VL: attention inside windows, over the whole image in a few blocks; then m x m patches become one token.

    x = W patches                                                     no bias, no position: only RoPE tells patches apart
    x <- x + W_o attention(rope(q), rope(k), v),   [q k v] = W_qkv RMS1(x) + b
    x <- x + W_down (silu(W_gate n) * W_up n),     n = RMS2(x)        all with bias
    token = W_2 gelu(W_1 [RMS(x_1) ... RMS(x_mm)])                    the patches of one cell side by side (`Merger`)

A still image is its own film of `copies` equal frames, so the official Conv3d is one linear map of a patch: its weight summed over time.
RoPE is two-dimensional: the first half of a head's angles turns with the patch's row, the second with its column.
Inside the tower patches stand window by window, cells row by row in a window, patches row by row in a cell. Which blocks see the
whole image is said by *original* index: a pruned tower never turns a window block into a full one.
Legend: R rows (samples times images), S pixels, p patch size, m merge, s = S / (p m) cells a side, P = (s m)^2 patches, D width,
H heads, K = D / H, W windows.
Source: transformers 4.51.3 `modeling_qwen2_5_vl.py`, `Qwen2_5_VisionTransformerPretrainedModel`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dtr.errors import BadConfig
from dtr.policies.decoder import Rotation, rotate
from dtr.policies.parts import PartedBlock
from dtr.policies.settings import check_sizes
from dtr.policies.stack import Stack, residual
from dtr.policies.stack_config import StackConfig


@dataclass(frozen=True)
class QwenTowerConfig(StackConfig):
    """The tower and its merger.

    `image_size`, `patch_size`, `window` in pixels; `full`: original indices of the blocks that see the whole image; `merge`: patches
    a cell's side; `copies`: equal frames a still image counts for; `mlp`: hidden width; `eps`: of all RMS norms.
    """

    what: ClassVar[str] = "vision"
    width: int
    heads: int
    mlp: int
    image_size: int
    patch_size: int
    window: int
    full: tuple[int, ...]
    merge: int = 2
    copies: int = 2
    channels: int = 3
    eps: float = 1e-6
    rope_base: float = 10000.0

    def __post_init__(self) -> None:
        check_sizes(self, self.what, ("depth", "width", "heads", "mlp", "image_size", "patch_size", "merge", "copies", "channels"))
        if self.width % (4 * self.heads):
            raise BadConfig(f"a Qwen tower needs a head width that is a multiple of 4, got {self}: correct the configuration.")
        if self.image_size % self.cell or self.window < self.cell:
            raise BadConfig(
                f"image_size must be a multiple of patch_size x merge = {self.cell} and window at least that, got {self.image_size} and "
                f"{self.window}: correct the configuration."
            )
        if any(not 0 <= i < self.depth for i in self.full):
            raise BadConfig(f"full must name blocks below {self.depth}, got {list(self.full)}: correct the configuration.")
        super().__post_init__()

    @property
    def cell(self) -> int:
        """Pixels of a cell's side."""
        return self.patch_size * self.merge

    @property
    def side(self) -> int:
        """s, cells of an image's side."""
        return self.image_size // self.cell

    @property
    def tokens(self) -> int:
        """Cells of one image, each a token of the language stream."""
        return self.side**2


def windows(side: int, window: int) -> list[list[int]]:
    """The cells (numbered row by row) of a grid of `side`^2 cells, window by window; windows at the border may be smaller."""
    starts = range(0, side, window)
    reach = {a: range(a, min(a + window, side)) for a in starts}
    return [[row * side + column for row in reach[a] for column in reach[b]] for a in starts for b in starts]


class QwenVisionBlock(PartedBlock):
    """x + attention(RMS1 x), then x + SwiGLU(RMS2 x); `full`: attention over the whole image rather than inside windows."""

    weights: ClassVar = {"attention": ("norm1", "qkv", "proj"), "mlp": ("norm2", "gate", "up", "down")}

    def __init__(self, config: QwenTowerConfig, full: bool) -> None:
        super().__init__()
        D = config.width
        self.heads, self.full = config.heads, full
        self.norm1 = nn.RMSNorm(D, eps=config.eps)
        self.qkv = nn.Linear(D, 3 * D)
        self.proj = nn.Linear(D, D)
        self.norm2 = nn.RMSNorm(D, eps=config.eps)
        self.gate = nn.Linear(D, config.mlp)
        self.up = nn.Linear(D, config.mlp)
        self.down = nn.Linear(config.mlp, D)

    def attention(self, x: Tensor, by: Rotation, folds: int, mask: Tensor | None) -> Tensor:
        """(R, P, D) -> (R, P, D). `folds`: equal parts of the patches, each sees itself alone; `mask` (P, P): True where one may look."""
        R, P, D = x.shape
        q, k, v = self.qkv(x).view(R, P, 3, self.heads, D // self.heads).unbind(2)
        q, k, v = (t.reshape(R * folds, P // folds, self.heads, -1).transpose(1, 2) for t in (rotate(q, by), rotate(k, by), v))
        y: Tensor = self.proj(F.scaled_dot_product_attention(q, k, v, attn_mask=mask).transpose(1, 2).reshape(R, P, D))
        return y

    def forward(self, x: Tensor, by: Rotation, folds: int, mask: Tensor | None) -> Tensor:
        """(R, P, D) -> (R, P, D)."""
        if "attention" in self.parts:
            n = self.norm1(x)
            y = self.attention(n, by, 1, None) if self.full else self.attention(n, by, folds, mask)
            x = self.parts["attention"](x, x + y)
        if "mlp" in self.parts:
            n = self.norm2(x)
            x = self.parts["mlp"](x, x + self.down(F.silu(self.gate(n)) * self.up(n)))
        return x


class QwenViT(nn.Module):
    """Images (R, 3, S, S) -> patches (R, P, D) behind the last block, in window order."""

    def __init__(self, config: QwenTowerConfig) -> None:
        super().__init__()
        self.config = config
        self.windows = windows(config.side, config.window // config.cell)
        p = config.patch_size
        self.patch = nn.Conv3d(config.channels, config.width, (config.copies, p, p), bias=False)
        self.stack = Stack(config.shape, lambda i: QwenVisionBlock(config, full=i in config.full))
        self._context: tuple[Rotation, int, Tensor | None] | None = None

    def order(self, device: torch.device) -> Tensor:
        """(s^2,) the row-major cell at every place in window order."""
        return torch.tensor([cell for window in self.windows for cell in window], device=device)

    def boundaries(self) -> list[int]:
        """Where windows begin and end, in patches: 0, ..., P."""
        ends = [0]
        for window in self.windows:
            ends.append(ends[-1] + len(window) * self.config.merge**2)
        return ends

    def patches(self, images: Tensor) -> Tensor:
        """Row-major cells, the m x m patches of each, a patch's pixels: (R, 3, S, S) -> (R, s^2, m^2, 3, p, p)."""
        c = self.config
        x = images.reshape(-1, c.channels, c.side, c.merge, c.patch_size, c.side, c.merge, c.patch_size)
        return x.permute(0, 2, 5, 3, 6, 1, 4, 7).reshape(-1, c.tokens, c.merge**2, c.channels, c.patch_size, c.patch_size)

    def tokens(self, images: Tensor) -> Tensor:
        """The input of block 0, in window order: (R, 3, S, S) -> (R, P, D)."""
        x = self.patches(images)[:, self.order(images.device)].flatten(3).flatten(1, 2)
        return F.linear(x, self.patch.weight.sum(2).flatten(1))

    def context(self, x: Tensor) -> tuple[Rotation, int, Tensor | None]:
        """What blocks share: the rotation of every patch, cos and sin (P, 1, K), and the windows, as equal folds or as a mask."""
        known = self._context
        if known is None or (known[0][0].device, known[0][0].dtype) != (x.device, x.dtype):
            lengths = [len(window) * self.config.merge**2 for window in self.windows]
            folds, mask = len(lengths), None
            if len(set(lengths)) > 1:
                window = torch.tensor([k for k, length in enumerate(lengths) for _ in range(length)], device=x.device)
                folds, mask = 1, window[:, None] == window
            known = self._context = (self.rotation(x), folds, mask)
        return known

    def rotation(self, x: Tensor) -> Rotation:
        """cos and sin (P, 1, K) of [row f, column f, row f, column f], f_j = base^(-4j/K) for j < K/4."""
        c, half = self.config, self.config.width // self.config.heads // 2
        frequencies = 1.0 / c.rope_base ** (torch.arange(0, half, 2, dtype=torch.int64, device=x.device).float() / half)
        cells, inner = self.order(x.device)[:, None], torch.arange(c.merge**2, device=x.device)
        rows = cells // c.side * c.merge + inner // c.merge
        columns = cells % c.side * c.merge + inner % c.merge
        angles = torch.stack([rows, columns], dim=-1).view(-1, 1, 2, 1) * frequencies
        angles = angles.flatten(2).repeat(1, 1, 2)
        return angles.cos().to(x.dtype), angles.sin().to(x.dtype)

    def forward(self, images: Tensor) -> Tensor:
        """(R, 3, S, S) -> (R, P, D)."""
        x = residual(self.tokens(images))
        y: Tensor = self.stack(x, *self.context(x))
        return y

    def row_major(self, cells: Tensor) -> Tensor:
        """Cells from window order back to row by row: (R, s^2, D') -> (R, s^2, D')."""
        return cells[:, self.order(cells.device).argsort()]


class Merger(nn.Module):
    """The m x m patches of each cell become one token of width `out`: (R, P, D) -> (R, s^2, out)."""

    def __init__(self, config: QwenTowerConfig, out: int) -> None:
        super().__init__()
        self.inputs = config.merge**2 * config.width
        self.norm = nn.RMSNorm(config.width, eps=config.eps)
        self.fc1 = nn.Linear(self.inputs, self.inputs)
        self.fc2 = nn.Linear(self.inputs, out)

    def forward(self, x: Tensor) -> Tensor:
        """Neighbours in window order are the patches of one cell, so a cell is a stretch of the sequence."""
        y: Tensor = self.fc2(F.gelu(self.fc1(self.norm(x).reshape(x.shape[0], -1, self.inputs))))
        return y
