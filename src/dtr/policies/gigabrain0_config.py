"""Every dimension of GigaBrain-0, for the 3.5 B model and for narrow ones of the same class."""

from __future__ import annotations

from dataclasses import dataclass

from dtr.errors import BadConfig
from dtr.policies.joint_config import StreamConfig
from dtr.policies.pi05_config import Pi05Config
from dtr.policies.siglip import SigLIPConfig


@dataclass(frozen=True, kw_only=True)
class GigaBrain0Config(Pi05Config):
    """The whole model: as pi0.5 with Gemma-2 blocks, and `embodiments` robots that have their own action projections."""

    embodiments: int = 3

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.embodiments < 1:
            raise BadConfig(f"GigaBrain-0 needs at least 1 embodiment, got {self.embodiments}: correct the configuration.")


FULL_SIZE = GigaBrain0Config(
    vision=SigLIPConfig(depth=27, width=1152, heads=16, mlp=4304),
    language=StreamConfig(
        depth=26,
        width=2304,
        heads=8,
        kv_heads=4,
        head_dim=256,
        mlp=9216,
        norm="rms_plus_one",
        post_norm="rms_plus_one",
        activation="gelu_tanh",
    ),
    action=StreamConfig(
        depth=26,
        width=1024,
        heads=8,
        kv_heads=4,
        head_dim=256,
        mlp=2048,
        norm="scale_shift_gate",
        post_norm="rms_plus_one",
        final_norm="scale_shift_gate",
        activation="gelu_tanh",
    ),
    vocab=257216,
    chunk=50,
    action_dim=32,
    max_text=200,
    unused=True,
)
"""The released `GigaBrain-0-3.5B-Base`: SigLIP-So400m, Gemma-2-2B. Facts: giga-models `b0e05c7`, giga-brain-0 `19328ff`."""
