"""Weights that released checkpoints hold and that no action depends on: carried only so that a checkpoint can be exported whole."""

from __future__ import annotations

import torch
from torch import nn


class AttentionPool(nn.Module):
    """The parameters of timm's `AttentionPoolLatent` in the SigLIP tower; it computes nothing here."""

    def __init__(self, width: int, mlp: int) -> None:
        super().__init__()
        self.latent = nn.Parameter(torch.empty(1, 1, width))
        self.q = nn.Linear(width, width)
        self.kv = nn.Linear(width, 2 * width)
        self.proj = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width)
        self.fc1 = nn.Linear(width, mlp)
        self.fc2 = nn.Linear(mlp, width)
