"""Each of the four policies, narrow and with weights so large that every live part matters, and a batch for it."""

from __future__ import annotations

from typing import Any

import cut_world
import narrow_flow
import torch

from dtr.policies.base import Batch, Policy
from dtr.policies.registry import build

NAMES = ("openvla_oft", "pi05", "gigabrain0", "lingbot_vla")
VISION = {"openvla_oft": "vision.dino"}
"""The tower that tests drop from, where it is not `vision`."""
OUTPUTS = {"attention": ("proj", "o"), "mlp": ("fc2", "down")}
"""The last linear layer of each part: what a block adds to its stream goes through it."""


def config(name: str) -> Any:
    """The narrow configuration."""
    return cut_world.CONFIG if name == "openvla_oft" else narrow_flow.narrow(name)


def made(name: str) -> Policy:
    """The policy; equal at every call."""
    policy, random = build(name, config(name), 0), torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in policy.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=random))
    return policy.eval()


def batch(name: str) -> Batch:
    """Three or four samples, some padded."""
    return cut_world.batch() if name == "openvla_oft" else narrow_flow.batch(name)


def parts(name: str) -> dict[str, dict[str, list[int]]]:
    """Granularity -> stack -> blocks: a drop of parts in every stack that has them."""
    vision, acts = VISION.get(name, "vision"), name != "openvla_oft"
    attention, mlp = {"language": [0, 3], vision: [1]}, {"language": [1], vision: [0]}
    return {"attention": attention | ({"action": [1, 3]} if acts else {}), "mlp": mlp | ({"action": [2]} if acts else {})}
