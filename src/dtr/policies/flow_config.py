"""What the configurations of all flow-matching policies with joint attention have in common."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from dtr.errors import BadConfig
from dtr.policies.flow import FlowConfig
from dtr.policies.joint_config import StreamConfig, check_streams, first_shape
from dtr.policies.settings import check_sizes, parse, plain
from dtr.policies.stack_config import StackShape


@dataclass(frozen=True, kw_only=True)
class FlowPolicyConfig:
    """A policy's class adds its own `vision`, whose `tokens` one image becomes.

    `language`, `action` the two streams; `vocab` token table; `images` slots for cameras; `max_text` text tokens, padding included;
    `chunk` steps of `action_dim` numbers (padded dimensions included); `text_scale` multiplies word embeddings, 0 = sqrt(width of
    language); `unused` also carries released weights that no action depends on, so that an imported checkpoint exports whole.
    """

    language: StreamConfig
    action: StreamConfig
    vocab: int
    chunk: int
    action_dim: int
    max_text: int
    images: int = 3
    text_scale: float = 0.0
    flow: FlowConfig = field(default_factory=FlowConfig)
    unused: bool = False

    def __post_init__(self) -> None:
        check_streams(self.language, self.action)
        check_sizes(self, "config", ("vocab", "chunk", "action_dim", "max_text", "images"))
        check_sizes(self.flow, "config.flow", ("steps",))
        if self.action.width % 2:
            raise BadConfig(f"the expert's width must be even, got {self.action.width}: correct the configuration.")
        object.__setattr__(self, "text_scale", self.text_scale or self.language.width**0.5)

    def text_length(self, prompt: int) -> int:
        """Length of `input_ids`, the same for every instruction: prompts are padded to it."""
        return self.max_text

    @property
    def picture(self) -> tuple[int, int, int]:
        """Channels, rows and columns of one image."""
        vision: Any = self.vision  # type: ignore[attr-defined]
        return vision.channels, vision.image_size, vision.image_size

    @property
    def suffix(self) -> tuple[int, ...]:
        """The block of every token of the second stream: a token sees those of its own block and of earlier ones."""
        return (0,) * self.chunk

    def shapes(self) -> dict[str, StackShape]:
        """Depth, what is left and read-out of every stack."""
        return {
            "vision": self.vision.shape,  # type: ignore[attr-defined]
            "language": first_shape(self.language, self.action),
            "action": self.action.shape,
        }

    def keeping(self, shapes: Mapping[str, StackShape]) -> Self:
        """The same configuration with what is left of every stack."""
        stacks = {name: dataclasses.replace(getattr(self, name), **shape.left) for name, shape in shapes.items()}
        return dataclasses.replace(self, **stacks)

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        return plain(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """The configuration of JSON values; BadConfig names the field that is wrong."""
        return parse(cls, values)
