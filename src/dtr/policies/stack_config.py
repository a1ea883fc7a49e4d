"""What a configuration says of a stack of residual blocks: how deep the undropped one is, and what of it is left.

kept               original indices of the blocks that are there
without_attention  of these, the ones that have only their MLP
without_mlp        of these, the ones that have only their attention
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import KW_ONLY, dataclass
from typing import Any, ClassVar

from dtr.errors import BadConfig
from dtr.policies.settings import optional

EVERY = (-1,)
"""`kept` of an undropped stack, in a configuration."""


@dataclass(frozen=True)
class StackShape:
    """What a plan must know of a stack: `depth` of the undropped model, `kept` original indices, `readout` original index, and the
    kept blocks that lost a part.

    The output of the stack is the residual stream after block `readout`; later blocks are `dead`: they change nothing.
    """

    depth: int
    kept: tuple[int, ...]
    readout: int
    without_attention: tuple[int, ...] = ()
    without_mlp: tuple[int, ...] = ()

    @property
    def dead(self) -> tuple[int, ...]:
        """The kept blocks behind the read-out."""
        return tuple(i for i in self.kept if i > self.readout)

    @property
    def attending(self) -> tuple[int, ...]:
        """The kept blocks that have their attention."""
        return tuple(i for i in self.kept if i not in self.without_attention)

    @property
    def left(self) -> dict[str, Any]:
        """The fields of a configuration that say what is left."""
        return {"kept": self.kept, "without_attention": self.without_attention, "without_mlp": self.without_mlp}


def kept_blocks(kept: Iterable[int], depth: int, what: str) -> tuple[int, ...]:
    """`kept` of a configuration as increasing original indices; BadConfig when it is none."""
    indices = tuple(int(i) for i in kept)
    if indices == EVERY:
        return tuple(range(depth))
    if list(indices) != sorted(set(indices)) or any(not 0 <= i < depth for i in indices):
        raise BadConfig(f"{what}.kept must hold increasing block indices below {depth}, got {list(indices)}: correct the configuration.")
    return indices


@dataclass(frozen=True)
class StackConfig:
    """The part of a configuration that all stacks of transformer blocks share; see the module's text."""

    what: ClassVar[str] = "stack"
    """What an error calls it."""

    depth: int
    _: KW_ONLY
    kept: tuple[int, ...] = EVERY
    without_attention: tuple[int, ...] = optional(())
    without_mlp: tuple[int, ...] = optional(())

    def __post_init__(self) -> None:
        object.__setattr__(self, "kept", kept_blocks(self.kept, self.depth, self.what))
        for name in ("without_attention", "without_mlp"):
            indices = getattr(self, name)
            if list(indices) != sorted(set(indices)) or not set(indices) <= set(self.kept):
                raise BadConfig(f"{self.what}.{name} must hold increasing indices of kept blocks, got {list(indices)}: correct it.")
        if both := sorted(set(self.without_attention) & set(self.without_mlp)):
            raise BadConfig(f"{self.what} blocks {both} have neither attention nor MLP: leave them out of {self.what}.kept.")

    def shaped(self, readout: int) -> StackShape:
        """The stack with this read-out."""
        return StackShape(self.depth, self.kept, readout, self.without_attention, self.without_mlp)

    @property
    def shape(self) -> StackShape:
        """The stack; its read-out is the last block."""
        return self.shaped(self.depth - 1)
