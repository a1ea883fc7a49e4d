"""Every dimension of LingBot-VLA, for the 4 B model and for narrow ones of the same class."""

from __future__ import annotations

from dataclasses import dataclass

from dtr.errors import BadConfig
from dtr.policies.flow_config import FlowPolicyConfig
from dtr.policies.joint_config import StreamConfig
from dtr.policies.qwen_vit import QwenTowerConfig

LOSSES = ("l1", "mse")


@dataclass(frozen=True, kw_only=True)
class LingBotVLAConfig(FlowPolicyConfig):
    """The whole model: Qwen2.5-VL and an expert of adaptive norms.

    `state_dim`, `action_dim`: what robots' states and actions are padded to; `loss_dims`: the first numbers of an action, those that
    the robot has, which alone the loss looks at; `loss` of the velocity: l1 (released post-training) or mse. Words are not scaled.
    """

    vision: QwenTowerConfig
    state_dim: int
    loss_dims: int
    loss: str = "l1"
    text_scale: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.loss_dims <= self.action_dim:
            raise BadConfig(f"loss_dims must lie in 1..action_dim, got {self.loss_dims} of {self.action_dim}: correct the configuration.")
        if self.loss not in LOSSES:
            raise BadConfig(f"loss must be one of {', '.join(LOSSES)}, got {self.loss!r}: correct the configuration.")

    @property
    def suffix(self) -> tuple[int, ...]:
        """The state token's block, which sees itself alone, then that of the action tokens."""
        return (0, *(1,) * self.chunk)


FULL_SIZE = LingBotVLAConfig(
    vision=QwenTowerConfig(depth=32, width=1280, heads=16, mlp=3420, image_size=224, patch_size=14, window=112, full=(7, 15, 23, 31)),
    language=StreamConfig(
        depth=36, width=2048, heads=16, kv_heads=2, head_dim=128, mlp=11008, norm="rms", activation="silu", qkv_bias=True
    ),
    action=StreamConfig(
        depth=36,
        width=768,
        heads=16,
        kv_heads=2,
        head_dim=128,
        mlp=2752,
        norm="gamma_beta",
        final_norm="rms",
        activation="silu",
        qkv_bias=True,
    ),
    vocab=151936,
    chunk=50,
    action_dim=75,
    max_text=48,
    state_dim=75,
    loss_dims=7,
    unused=True,
)
"""The released `lingbot-vla-4b`: tower and language model of Qwen2.5-VL-3B, an expert of width 768; LIBERO's 7 action dimensions.
Facts: lingbot-vla `61ef6b1`."""
