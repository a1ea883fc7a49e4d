"""Narrow flow-matching policies and batches for them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from dtr.policies import gigabrain0_config, pi05_config
from dtr.policies.base import Batch
from dtr.policies.flow_policy import FlowPolicy
from dtr.policies.registry import build

FULL = {"pi05": pi05_config.FULL_SIZE, "gigabrain0": gigabrain0_config.FULL_SIZE}


def narrow(name: str, **change: Any) -> Any:
    """The released configuration, six layers deep and a few numbers wide."""
    full = FULL[name]
    return replace(
        full,
        vision=replace(full.vision, depth=3, width=12, heads=2, mlp=16, image_size=28, kept=(0, 1, 2)),
        language=replace(full.language, depth=6, width=16, heads=4, kv_heads=2, head_dim=4, scale=4.0, mlp=24, kept=tuple(range(6))),
        action=replace(full.action, depth=6, width=12, heads=4, kv_heads=2, head_dim=4, scale=4.0, mlp=20, kept=tuple(range(6))),
        text_scale=4.0,
        vocab=40,
        chunk=3,
        action_dim=5,
        max_text=7,
        **change,
    )


def made(name: str, seed: int = 0) -> FlowPolicy:
    """Large enough weights that every live block matters."""
    policy = build(name, narrow(name), seed)
    random = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in policy.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=random))
    assert isinstance(policy, FlowPolicy)
    return policy


def batch(lengths: tuple[int, ...] = (7, 3, 5), seed: int = 1) -> Batch:
    """Random inputs; the last camera of the second sample is missing."""
    random, B, T = torch.Generator().manual_seed(seed), len(lengths), max(lengths)
    present = torch.ones(B, 3, dtype=torch.bool)
    present[1:2, 2] = False
    return {
        "pixel_values": torch.rand(B, 3, 3, 28, 28, generator=random) * 2 - 1,
        "image_mask": present,
        "input_ids": torch.randint(1, 40, (B, T), generator=random),
        "attention_mask": torch.arange(T) < torch.tensor(lengths)[:, None],
        "embodiment": torch.arange(B) % 3,
        "actions": torch.randn(B, 3, 5, generator=random),
        "noise": torch.randn(B, 3, 5, generator=random),
        "time": torch.rand(B, generator=random),
    }
