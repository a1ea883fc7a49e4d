"""A stack of residual blocks that remembers where each of them stood in the undropped model.

    h_0 = input,   h_i = gate_i(h_{i-1}, F_i(h_{i-1}))  for every kept block i up to the read-out,   output = h_readout

A dropped block is not there: an identity on the residual stream, no parameters, no work. Indices are those of the undropped
model for ever, so a read-out "after block L-2" stays where it was in a pruned tower.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from torch import Tensor, nn

from dtr.errors import BadConfig, PlanMismatch
from dtr.policies.gate import Gate

EVERY = (-1,)
"""`kept` of an undropped stack, in a configuration."""


@dataclass(frozen=True)
class StackShape:
    """What a plan must know of a stack: `depth` of the undropped model, `kept` original indices, `readout` original index.

    The output of the stack is the residual stream after block `readout`; later blocks are `dead`: they change nothing.
    """

    depth: int
    kept: tuple[int, ...]
    readout: int

    @property
    def dead(self) -> tuple[int, ...]:
        """The kept blocks behind the read-out."""
        return tuple(i for i in self.kept if i > self.readout)


def kept_blocks(kept: Iterable[int], depth: int, what: str) -> tuple[int, ...]:
    """`kept` of a configuration as increasing original indices; BadConfig when it is none."""
    indices = tuple(int(i) for i in kept)
    if indices == EVERY:
        return tuple(range(depth))
    if list(indices) != sorted(set(indices)) or any(not 0 <= i < depth for i in indices):
        raise BadConfig(f"{what}.kept must hold increasing block indices below {depth}, got {list(indices)}: correct the configuration.")
    return indices


class Stack(nn.Module):
    """Residual blocks keyed by original index; `make(i)` builds block i, a module (R, T, D), *context -> (R, T, D)."""

    def __init__(self, shape: StackShape, make: Callable[[int], nn.Module]) -> None:
        super().__init__()
        self.depth, self.readout = shape.depth, shape.readout
        self.blocks = nn.ModuleDict({str(i): make(i) for i in shape.kept})
        self._gates = {i: Gate() for i in shape.kept}

    @property
    def kept(self) -> tuple[int, ...]:
        """Original indices of the blocks that are left, increasing."""
        return tuple(self._gates)

    @property
    def shape(self) -> StackShape:
        """Depth, kept blocks and read-out as they are now."""
        return StackShape(self.depth, self.kept, self.readout)

    @property
    def dead(self) -> tuple[int, ...]:
        """Kept blocks that the output does not depend on; `forward` does not run them."""
        return self.shape.dead

    @property
    def gates(self) -> dict[int, Gate]:
        """The gate of every kept block, by original index."""
        return dict(self._gates)

    def drop(self, indices: Iterable[int]) -> None:
        """Delete these blocks and their parameters. PlanMismatch when one of them is not there."""
        gone = sorted(set(indices))
        absent = [i for i in gone if i not in self._gates]
        if absent:
            raise PlanMismatch(f"the plan drops blocks {absent} but this stack has {list(self.kept)}: make a plan for this policy.")
        for i in gone:
            del self.blocks[str(i)]
            del self._gates[i]

    def step(self, i: int, h: Tensor, *context: object) -> Tensor:
        """h_i from h_{i-1}: h_{i-1} itself where block i is gone or dead. (R, T, D) -> (R, T, D)."""
        if i not in self._gates or i > self.readout:
            return h
        y: Tensor = self._gates[i](h, self.blocks[str(i)](h, *context))
        return y

    def forward(self, h: Tensor, *context: object) -> Tensor:
        """(R, T, D) -> (R, T, D); `context` (mask, rotation) goes to every block."""
        for i in self._gates:
            h = self.step(i, h, *context)
        return h
