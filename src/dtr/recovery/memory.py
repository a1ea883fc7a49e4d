"""What a device has to hold to train a policy, as far as it follows from counts: everything but activations.

    kept        (16 + 4 e) P_t / n + 4 P_f / n       theta, g, m, v, and with an EMA (e = 1) the average, float32; frozen weights
    gathered    4 (2 P_rest + 3 P_block)             put together at a time: all that is in no block and its g; a block, its g, the next
    copies      2 P                                  bfloat16 copies that wait for the way back; none in float32 or when blocks recompute

with P = P_t + P_f weights that a loss reads, P_t trained, P_f frozen, n devices, P_block those of the largest block. The weights of a
low-rank correction are in P_t, the matrices it corrects in P_f. `copies` is a bound: tables and norms are not copied.
"""

from __future__ import annotations

from dataclasses import dataclass

from dtr.policies.base import Policy
from dtr.recovery.recipe import Recipe

GIB = 2**30


@dataclass(frozen=True)
class Memory:
    """Bytes of one device; see the module's text."""

    kept: int
    gathered: int
    copies: int

    @property
    def total(self) -> int:
        """All of it."""
        return self.kept + self.gathered + self.copies


def memory(policy: Policy, recipe: Recipe, devices: int, recompute: bool = False) -> Memory:
    """Of a policy as it is trained, low-rank corrections put in; it may be on `meta`."""
    read = {name: p for name, p in policy.named_parameters() if not name.startswith("unused.")}
    trained = sum(p.numel() for p in read.values() if p.requires_grad)
    P = sum(p.numel() for p in read.values())
    blocks = [sum(p.numel() for p in b.parameters()) for stack in policy.stacks().values() for b in stack.blocks.values()]
    kept = (16 + 4 * (recipe.ema is not None)) * trained + 4 * (P - trained)
    gathered = 4 * (2 * (P - sum(blocks)) + 3 * max(blocks, default=0))
    return Memory(-(-kept // devices), gathered, 2 * P if recipe.precision == "bf16" and not recompute else 0)
