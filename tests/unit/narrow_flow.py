"""Narrow flow-matching policies and batches for them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from dtr.policies.base import Batch
from dtr.policies.flow_policy import FlowPolicy
from dtr.policies.registry import beside, build

FULL = {name: beside(name, "_config", "FULL_SIZE") for name in ("pi05", "gigabrain0", "lingbot_vla")}
ALL = tuple(range(6))
QWEN = {"depth": 4, "width": 16, "heads": 2, "mlp": 20, "image_size": 56, "window": 28, "full": (1, 3), "kept": (0, 1, 2, 3)}
SIGLIP = {"depth": 3, "width": 12, "heads": 2, "mlp": 16, "image_size": 28, "kept": (0, 1, 2)}


def narrow(name: str, **change: Any) -> Any:
    """The released configuration, six layers deep and a few numbers wide."""
    full, stream = FULL[name], {"depth": 6, "heads": 4, "kv_heads": 2, "head_dim": 4, "scale": 4.0, "kept": ALL}
    own = {"state_dim": 5, "loss_dims": 5} if name == "lingbot_vla" else {"text_scale": 4.0}
    return replace(
        full,
        vision=replace(full.vision, **(QWEN if name == "lingbot_vla" else SIGLIP)),
        language=replace(full.language, **stream, width=16, mlp=24),
        action=replace(full.action, **stream, width=12, mlp=20),
        vocab=40,
        chunk=3,
        action_dim=5,
        max_text=7,
        **own,
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


def batch(name: str = "pi05", lengths: tuple[int, ...] = (7, 3, 5), seed: int = 1) -> Batch:
    """Random inputs; the last camera of the second sample is missing."""
    random, B, T = torch.Generator().manual_seed(seed), len(lengths), max(lengths)
    present = torch.ones(B, 3, dtype=torch.bool)
    present[1:2, 2] = False
    given = {
        "pixel_values": torch.rand(B, 3, 3, 28, 28, generator=random) * 2 - 1,
        "image_mask": present,
        "input_ids": torch.randint(1, 40, (B, T), generator=random),
        "attention_mask": torch.arange(T) < torch.tensor(lengths)[:, None],
        "embodiment": torch.arange(B) % 3,
        "actions": torch.randn(B, 3, 5, generator=random),
        "noise": torch.randn(B, 3, 5, generator=random),
        "time": torch.rand(B, generator=random),
    }
    if name == "lingbot_vla":
        random = torch.Generator().manual_seed(5)
        given |= {"pixel_values": torch.randn(B, 3, 3, 56, 56, generator=random), "state": torch.randn(B, 5, generator=random)}
    return given
