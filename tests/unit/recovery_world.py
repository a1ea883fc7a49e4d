"""A world small enough to train in: a policy of a few thousand weights and pictures whose colour says where to go."""

from __future__ import annotations

import numpy as np

from dtr.data.dataset import Dataset
from dtr.policies.base import Policy
from dtr.policies.processor import Processor
from dtr.recovery.pretrain import newborn
from dtr.recovery.recipe import Recipe

TOWER = {"depth": 3, "width": 8, "heads": 2, "mlp": 16}
SETTINGS = {
    "name": "openvla_oft",
    "config": {
        "image_size": 8,
        "patch_size": 4,
        "dino": {**TOWER, "class_token": True, "registers": 1, "layer_scale": 0.1},
        "siglip": TOWER,
        "language": {"depth": 2, "width": 16, "heads": 2, "mlp": 24},
        "action": {"depth": 1, "hidden": 16},
        "projector": [16, 16],
        "chunk": 2,
    },
}


def data(episodes: int = 6, steps: int = 9, seed: int = 0) -> Dataset:
    """Frames of one colour each; the action's first number is the colour's brightness."""
    rng = np.random.default_rng(seed)
    n = episodes * steps
    brightness = rng.uniform(0, 1, n).astype(np.float32)
    images = np.broadcast_to((255 * brightness).astype(np.uint8)[:, None, None, None, None], (n, 2, 8, 8, 3)).copy()
    actions = rng.uniform(-0.1, 0.1, (n, 7)).astype(np.float32)
    actions[:, 0], actions[:, 6] = 2 * brightness - 1, np.where(brightness > 0.5, 1.0, -1.0)
    task = np.repeat(np.arange(episodes) % 2, steps)
    return Dataset(
        images, rng.normal(size=(n, 8)).astype(np.float32), actions, np.repeat(np.arange(episodes), steps), task, ("push it", "pull it")
    )


def policy(of: Dataset, seed: int = 0) -> tuple[Policy, Processor]:
    """A newborn policy for `of`."""
    return newborn(SETTINGS, of, np.arange(len(of)), [], seed)


def recipe(**changes: object) -> Recipe:
    """A short recipe with `changes`."""
    return Recipe.from_dict({"steps": 12, "batch": 8, "lr": 3e-3, "warmup_steps": 2, "decay": "cosine", "report_every": 5, **changes})
