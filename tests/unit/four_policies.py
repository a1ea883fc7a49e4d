"""Each of the four policies, narrow and with weights so large that every live part matters, and a batch for it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import cut_world
import narrow_flow
import torch

from dtr.policies import lingbot_vla_config
from dtr.policies.base import Batch, Policy
from dtr.policies.registry import build

NAMES = ("openvla_oft", "pi05", "gigabrain0", "lingbot_vla")
VISION = {"openvla_oft": "vision.dino"}
"""The tower that tests drop from, where it is not `vision`."""
OUTPUTS = {"attention": ("proj", "o"), "mlp": ("fc2", "down")}
"""The last linear layer of each part: what a block adds to its stream goes through it."""


def lingbot_config() -> Any:
    """LingBot-VLA with four vision blocks, full attention in two, and six layers."""
    full = lingbot_vla_config.FULL_SIZE
    stream = {"depth": 6, "heads": 4, "kv_heads": 2, "head_dim": 4, "scale": 4.0, "kept": tuple(range(6))}
    tower = {"depth": 4, "width": 16, "heads": 2, "mlp": 20, "image_size": 56, "window": 28, "full": (1, 3), "kept": (0, 1, 2, 3)}
    return replace(
        full,
        vision=replace(full.vision, **tower),
        language=replace(full.language, **stream, width=16, mlp=24),
        action=replace(full.action, **stream, width=12, mlp=20),
        vocab=40,
        chunk=3,
        action_dim=5,
        state_dim=5,
        loss_dims=5,
        max_text=7,
    )


def config(name: str) -> Any:
    """The narrow configuration."""
    return {"openvla_oft": lambda: cut_world.CONFIG, "lingbot_vla": lingbot_config}.get(name, lambda: narrow_flow.narrow(name))()


def made(name: str) -> Policy:
    """The policy; equal at every call."""
    policy, random = build(name, config(name), 0), torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in policy.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=random))
    return policy.eval()


def batch(name: str) -> Batch:
    """Three or four samples, some padded."""
    if name == "openvla_oft":
        return cut_world.batch()
    given, random = narrow_flow.batch(), torch.Generator().manual_seed(5)
    if name == "lingbot_vla":
        given |= {"pixel_values": torch.randn(3, 3, 3, 56, 56, generator=random), "state": torch.randn(3, 5, generator=random)}
    return given


def parts(name: str) -> dict[str, dict[str, list[int]]]:
    """Granularity -> stack -> blocks: a drop of parts in every stack that has them."""
    vision, acts = VISION.get(name, "vision"), name != "openvla_oft"
    attention, mlp = {"language": [0, 3], vision: [1]}, {"language": [1], vision: [0]}
    return {"attention": attention | ({"action": [1, 3]} if acts else {}), "mlp": mlp | ({"action": [2]} if acts else {})}
