"""A very narrow OpenVLA-OFT for tests of dropping, scoring and cost, and batches for it."""

from __future__ import annotations

import torch

from dtr.policies.base import Batch, Policy
from dtr.policies.bounds import Bounds
from dtr.policies.decoder import LanguageConfig
from dtr.policies.head import HeadConfig
from dtr.policies.openvla_oft_config import OpenVLAOFTConfig
from dtr.policies.openvla_oft_processor import OpenVLAProcessor
from dtr.policies.registry import build
from dtr.policies.tokenizer import WordTokenizer
from dtr.policies.vit import TowerConfig

CONFIG = OpenVLAOFTConfig(
    image_size=28,
    patch_size=14,
    dino=TowerConfig(depth=4, width=16, heads=2, mlp=32, class_token=True, registers=1, layer_scale=0.5),
    siglip=TowerConfig(depth=5, width=12, heads=2, mlp=20),
    language=LanguageConfig(depth=6, width=16, heads=2, mlp=24, vocab=40),
    action=HeadConfig(depth=2, hidden=32),
    chunk=2,
    action_dim=7,
)
WORDS = ("put", "the", "bowl", "on", "plate", "in", "out", "what", "action")
PROCESSOR = OpenVLAProcessor(
    tokenizer=WordTokenizer(WORDS, first=8, unknown=7),
    actions_bounds=Bounds((-1.0,) * 7, (1.0,) * 7, (True,) * 6 + (False,)),
    proprio_bounds=Bounds((-1.0,) * 8, (1.0,) * 8, (True,) * 8),
    image_size=28,
    chunk=2,
    action_dim=7,
    prompt="what action {instruction}",
    pad=0,
    empty=5,
)


def policy(seed: int = 0) -> Policy:
    """With weights large enough that every live block matters."""
    made = build("openvla_oft", CONFIG, seed)
    random = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=random))
    return made


def batch(lengths: tuple[int, ...] = (20, 18, 22, 22), seed: int = 1) -> Batch:
    """Random inputs, one sample a text length (prompt, 14 placeholders, stop), padded to the longest."""
    random, B, T = torch.Generator().manual_seed(seed), len(lengths), max(lengths)
    ids = torch.randint(8, 40, (B, T), generator=random)
    mask = torch.arange(T) < torch.tensor(lengths)[:, None]
    return {
        "pixel_values": torch.randn(B, 12, 28, 28, generator=random),
        "input_ids": ids.masked_fill(~mask, 0),
        "attention_mask": mask,
        "proprio": torch.randn(B, 8, generator=random),
        "actions": torch.randn(B, 2, 7, generator=random),
    }


def rows(whole: Batch, chosen: list[int]) -> Batch:
    """Some samples of a batch."""
    return {name: tensor[chosen] for name, tensor in whole.items()}


TEXT = int(PROCESSOR.text(["put the bowl on the plate"])[0].shape[1])
"""Text tokens of an ordinary instruction."""
