"""What a device must hold, by hand on a small policy, and what fits where of the four policies at full size."""

from __future__ import annotations

import pytest
import recovery_world as world

from dtr.policies.registry import beside, skeleton
from dtr.recovery.lora import adapt
from dtr.recovery.memory import GIB, memory
from dtr.recovery.recipe import Lora


def test_counted_by_hand() -> None:
    policy, _ = world.policy(world.data())
    P = policy.parameter_count
    blocks = [sum(p.numel() for p in b.parameters()) for stack in policy.stacks().values() for b in stack.blocks.values()]
    one, two = (memory(policy, world.recipe(ema=0.9, precision="bf16"), n) for n in (1, 2))
    assert one.kept == 20 * P and two.kept == 10 * P
    assert one.gathered == two.gathered == 4 * (2 * (P - sum(blocks)) + 3 * max(blocks))
    assert one.copies == 2 * P and memory(policy, world.recipe(precision="bf16"), 1, recompute=True).copies == 0
    assert one.total == one.kept + one.gathered + one.copies


# GiB a device with bfloat16 autocast, activations not counted: full with EMA on 1 and on 4 devices, low rank (32) on 1.
FULL_SIZE = {
    "openvla_oft": (159.7, 54.1, 50.8),
    "pi05": (74.5, 27.7, 25.9),
    "gigabrain0": (79.5, 30.2, 28.4),
    "lingbot_vla": (90.2, 31.5, 29.6),
}


@pytest.mark.parametrize("name", FULL_SIZE)
def test_what_fits_at_full_size(name: str) -> None:
    recipe = world.recipe(ema=0.999, precision="bf16")
    policy = skeleton(name, beside(name, "_config", "FULL_SIZE"))
    full = [memory(policy, recipe, n).total / GIB for n in (1, 4)]
    adapt(policy, Lora(32), 0)
    got = (*full, memory(policy, world.recipe(precision="bf16"), 1).total / GIB)
    assert got == pytest.approx(FULL_SIZE[name], rel=0.01)
