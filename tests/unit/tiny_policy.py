"""An OpenVLA-OFT of a few thousand parameters with random weights, for tests that need a real policy and no skill."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dtr.policies.base import Policy
from dtr.policies.bounds import Bounds
from dtr.policies.openvla_oft_config import HeadConfig, LanguageConfig, OpenVLAOFTConfig, TowerConfig
from dtr.policies.openvla_oft_processor import OpenVLAProcessor
from dtr.policies.registry import build
from dtr.policies.tokenizer import WordTokenizer


def tiny(instructions: Sequence[str], image_size: int = 64, seed: int = 0) -> tuple[Policy, OpenVLAProcessor]:
    """The policy and its processor."""
    tower = TowerConfig(depth=3, width=48, heads=3, mlp=96)
    config = OpenVLAOFTConfig(
        image_size=image_size,
        patch_size=16,
        dino=tower,
        siglip=tower,
        language=LanguageConfig(depth=3, width=72, heads=3, mlp=160, vocab=64),
        action=HeadConfig(depth=2, hidden=96),
    )
    tokenizer = WordTokenizer.of(instructions, first=8, unknown=3)
    low, high = tuple([-1.0] * 7), tuple([1.0] * 7)
    actions = Bounds(q01=low, q99=high, mask=tuple([True] * 6 + [False]))
    proprio = Bounds(q01=tuple([-1.0] * 8), q99=tuple([1.0] * 8), mask=tuple([True] * 8))
    processor = OpenVLAProcessor(
        tokenizer, actions, proprio, image_size, config.chunk, config.action_dim, "{instruction}", 0, 1, 2, 0, 4, 5
    )
    return build("openvla_oft", config, seed), processor


def frames(count: int, image_size: int = 64, seed: int = 0) -> list[tuple[np.ndarray, np.ndarray]]:
    """Random (images, state) pairs."""
    rng = np.random.default_rng(seed)
    shape = (2, image_size, image_size, 3)
    return [(rng.integers(0, 256, shape, dtype=np.uint8), rng.uniform(-1, 1, 8).astype(np.float32)) for _ in range(count)]
