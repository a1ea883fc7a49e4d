"""Every dimension of pi0.5, for the 3.6 B model and for narrow ones of the same class."""

from __future__ import annotations

from dataclasses import dataclass

from dtr.policies.flow_config import FlowPolicyConfig
from dtr.policies.joint_config import StreamConfig
from dtr.policies.siglip import SigLIPConfig


@dataclass(frozen=True, kw_only=True)
class Pi05Config(FlowPolicyConfig):
    """The whole model: PaliGemma and an expert of adaptive norms."""

    vision: SigLIPConfig


FULL_SIZE = Pi05Config(
    vision=SigLIPConfig(depth=27, width=1152, heads=16, mlp=4304),
    language=StreamConfig(depth=18, width=2048, heads=8, kv_heads=1, head_dim=256, mlp=16384, norm="rms_plus_one", activation="gelu_tanh"),
    action=StreamConfig(
        depth=18,
        width=1024,
        heads=8,
        kv_heads=1,
        head_dim=256,
        mlp=4096,
        norm="scale_shift_gate",
        final_norm="scale_shift_gate",
        activation="gelu_tanh",
    ),
    vocab=257152,
    chunk=10,
    action_dim=32,
    max_text=200,
    unused=True,
)
"""The released `pi05_libero`: SigLIP-So400m, Gemma-2B, Gemma-300M; horizon 10 (50 in `pi05_base`). Facts: openpi `15a9616`."""
