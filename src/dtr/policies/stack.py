"""A stack of residual blocks that remembers where each of them stood in the undropped model.

    h_0 = input,   h_i = gate_i(h_{i-1}, F_i(h_{i-1}))  for every kept block i up to the read-out,   output = h_readout

A dropped block is not there: an identity on the residual stream, no parameters, no work. Indices are those of the undropped
model for ever, so a read-out "after block L-2" stays where it was in a pruned tower. A transformer block can also lose one of its two
parts (`parts.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from dtr.errors import PlanMismatch, unknown
from dtr.policies.gate import Gate
from dtr.policies.parts import GRANULARITIES, PARTS, PartedBlock
from dtr.policies.stack_config import StackShape


class Stack(nn.Module):
    """Residual blocks keyed by original index; `make(i)` builds block i, a module (R, T, D), *context -> (R, T, D)."""

    def __init__(self, shape: StackShape, make: Callable[[int], nn.Module]) -> None:
        super().__init__()
        self.depth, self.readout = shape.depth, shape.readout
        self.recompute = False
        """In training keep only the blocks' inputs, and run each block once more on the way back: same numbers, a third more time."""
        self.blocks = nn.ModuleDict({str(i): make(i) for i in shape.kept})
        self._gates = {i: Gate() for i in shape.kept}
        self.drop(shape.without_attention, "attention")
        self.drop(shape.without_mlp, "mlp")

    @property
    def kept(self) -> tuple[int, ...]:
        """Original indices of the blocks that are left, increasing."""
        return tuple(self._gates)

    @property
    def shape(self) -> StackShape:
        """Depth, what is left and read-out as they are now."""
        without = {part: tuple(sorted({*self.kept} - {*self.having(part)})) if self.parted else () for part in PARTS}
        return StackShape(self.depth, self.kept, self.readout, without["attention"], without["mlp"])

    @property
    def dead(self) -> tuple[int, ...]:
        """Kept blocks that the output does not depend on; `forward` does not run them."""
        return self.shape.dead

    @property
    def parted(self) -> bool:
        """Whether its blocks are transformer blocks, which have an attention and an MLP part."""
        return all(isinstance(block, PartedBlock) for block in self.blocks.values())

    @property
    def gates(self) -> dict[int, Gate]:
        """The gate of every kept block, by original index."""
        return dict(self._gates)

    def gates_of(self, granularity: str) -> dict[int, Gate]:
        """The gate of every kept block, or of its `attention` or `mlp` where it still has that. UnknownName for another granularity."""
        if granularity == "block":
            return self.gates
        if granularity not in PARTS:
            raise unknown("granularity", granularity, GRANULARITIES)
        blocks = ((int(i), block) for i, block in self.blocks.items() if isinstance(block, PartedBlock))
        return {i: block.parts[granularity] for i, block in blocks if granularity in block.parts}

    def having(self, granularity: str) -> tuple[int, ...]:
        """Original indices of the kept blocks, or of those of them that have this part."""
        return tuple(self.gates_of(granularity))

    def linears_of(self, granularity: str) -> dict[int, list[nn.Linear]]:
        """The linear layers inside every kept block, or inside its `attention` or `mlp` where it still has that."""
        found: dict[int, list[nn.Linear]] = {}
        for i in self.having(granularity):
            block = self.blocks[str(i)]
            mine: list[object] = [block]
            if granularity != "block" and isinstance(block, PartedBlock):
                mine = [getattr(block, name) for name in block.weights[granularity]]
            found[i] = [layer for module in mine if isinstance(module, nn.Module) for layer in linear_layers(module)]
        return found

    def check(self, indices: Iterable[int], granularity: str) -> None:
        """PlanMismatch when one of these blocks, or this part of one, is not there."""
        there = self.having(granularity)
        if absent := sorted({*indices} - {*there}):
            what, has = ("", "has") if granularity == "block" else (f"the {granularity} of ", "has that in")
            raise PlanMismatch(f"the plan drops {what}blocks {absent} but this stack {has} {list(there)}: make a plan for this policy.")

    def drop(self, indices: Iterable[int], granularity: str = "block") -> None:
        """Delete these blocks, or this part of them, with their parameters. PlanMismatch when one of them is not there."""
        gone = sorted({*indices})
        self.check(gone, granularity)
        for i in gone:
            block = self.blocks[str(i)]
            if granularity != "block" and isinstance(block, PartedBlock):
                block.drop(granularity)
                if block.parts:
                    continue
            del self.blocks[str(i)]
            del self._gates[i]

    def step(self, i: int, h: Tensor, *context: object) -> Tensor:
        """h_i from h_{i-1}: h_{i-1} itself where block i is gone or dead. (R, T, D) -> (R, T, D)."""
        if i not in self._gates or i > self.readout:
            return h
        h = residual(h)
        y: Tensor = self._gates[i](h, self._run(self.blocks[str(i)], h, *context))
        return y

    def _run(self, block: nn.Module, h: Tensor, *context: object) -> Tensor:
        again = self.recompute and torch.is_grad_enabled()  # blocks draw nothing: no random state has to be kept
        y: Tensor = checkpoint(block, h, *context, use_reentrant=False, preserve_rng_state=False) if again else block(h, *context)
        return y

    def forward(self, h: Tensor, *context: object) -> Tensor:
        """(R, T, D) -> (R, T, D); `context` (mask, rotation) goes to every block."""
        for i in self._gates:
            h = self.step(i, h, *context)
        return h


def linear_layers(module: nn.Module) -> list[nn.Linear]:
    """The linear layers of a module, itself included."""
    return [layer for layer in module.modules() if isinstance(layer, nn.Linear)]


def residual(h: Tensor) -> Tensor:
    """h as a residual stream: float32 under autocast, where blocks round what they add, but not their sum at every block anew."""
    return h.float() if not h.is_meta and torch.is_autocast_enabled(h.device.type) else h
