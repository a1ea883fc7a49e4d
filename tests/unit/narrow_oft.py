"""A narrow OpenVLA-OFT, a batch and a processor for tests."""

from __future__ import annotations

from typing import Any

import torch

from dtr.policies.base import Batch
from dtr.policies.bounds import Bounds
from dtr.policies.openvla_oft import OpenVLAOFT
from dtr.policies.openvla_oft_processor import OpenVLAProcessor
from dtr.policies.registry import build
from dtr.policies.tokenizer import WordTokenizer

CONFIG: dict[str, Any] = {
    "image_size": 16,
    "patch_size": 8,
    "dino": {"depth": 3, "width": 16, "heads": 2, "mlp": 24, "class_token": True, "registers": 4, "layer_scale": 0.5},
    "siglip": {"depth": 4, "width": 12, "heads": 3, "mlp": 20},
    "language": {"depth": 3, "width": 24, "heads": 4, "kv_heads": 2, "mlp": 40, "vocab": 40},
    "action": {"depth": 2, "hidden": 32},
    "chunk": 3,
}
SENTENCES = ("pick up the milk", "put the can into the basket")


def oft(seed: int = 0, **change: Any) -> OpenVLAOFT:
    policy = build("openvla_oft", CONFIG | change, seed)
    assert isinstance(policy, OpenVLAOFT)
    return policy.eval()


def batch(lengths: tuple[int, ...] = (30, 30), seed: int = 1) -> Batch:
    """Inputs whose text has these lengths, padded to the longest; 24 tokens are the 21 placeholders, BOS, empty and stop."""
    random, B, T = torch.Generator().manual_seed(seed), len(lengths), max(lengths)
    return {
        "pixel_values": torch.randn(B, 12, 16, 16, generator=random),
        "input_ids": torch.randint(0, 40, (B, T), generator=random),
        "attention_mask": torch.arange(T) < torch.tensor(lengths)[:, None],
        "proprio": torch.randn(B, 8, generator=random),
        "actions": torch.randn(B, 3, 7, generator=random),
    }


def processor(**change: Any) -> OpenVLAProcessor:
    actions = Bounds((-0.5,) * 7, (0.8,) * 7, (True,) * 6 + (False,))
    proprio = Bounds((-1.0,) * 8, (2.0,) * 8, (True,) * 8)
    words = WordTokenizer.of(SENTENCES, first=6, unknown=5)
    fields = {"image_size": 16, "chunk": 3, "action_dim": 7, "prompt": "{instruction}", "pad": 0, "empty": 3, "placeholder": 4}
    return OpenVLAProcessor(words, actions, proprio, **(fields | change))
