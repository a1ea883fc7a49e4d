"""A configuration to start a policy of one's own from (docs/your-own-policy.md)."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from dtr.policies.settings import plain
from dtr.policies.stack_config import StackShape


@dataclass(frozen=True, kw_only=True)
class PlainConfig:
    """What every policy has. A policy's own configuration adds its widths, and a `StackConfig` for each stack, named as the stack
    (with `_` for a dot: `vision_left` for `vision.left`).

    `image_size` in pixels; `vocab` token table; `chunk` steps of `action_dim` numbers; `max_text` text tokens, padding included; `images`
    cameras; `state_dim` numbers of state.
    """

    image_size: int
    vocab: int
    chunk: int
    max_text: int
    action_dim: int = 7
    images: int = 2
    state_dim: int = 8

    @property
    def picture(self) -> tuple[int, int, int]:
        """Channels, rows and columns of one image."""
        return 3, self.image_size, self.image_size

    def text_length(self, prompt: int) -> int:
        """Length of `input_ids`, the same for every instruction: prompts are padded to it."""
        return self.max_text

    def keeping(self, shapes: Mapping[str, StackShape]) -> Self:
        """The same configuration with what is left of every stack."""
        fields = {name.replace(".", "_"): shape.left for name, shape in shapes.items()}
        return dataclasses.replace(self, **{name: dataclasses.replace(getattr(self, name), **left) for name, left in fields.items()})

    def to_dict(self) -> dict[str, Any]:
        """JSON values; the policy's `parse` gives the same configuration back."""
        return plain(self)
