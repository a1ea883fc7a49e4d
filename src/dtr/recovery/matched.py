"""Recovery at equal cost: a smaller policy takes more steps for the same training FLOPs (paper, Table 4).

    steps = steps_0 * (batch_0 / batch) / r,        r = F(what is left) / F(undropped)

F counts one training forward of one sample; a backward costs twice that before and after the drop, so it cancels. F runs dead blocks
too, as the official code does: the paper's fractions are of that, and with its shapes ours agree with them within a point. (Here dead
blocks are not run, so our undropped policy trains a little faster than F says.)
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from dtr.cost import EveryBranchTrue
from dtr.errors import BadConfig
from dtr.policies.registry import skeleton
from dtr.recovery.recipe import Recipe


def training_flops(name: str, config: Any, text_tokens: int) -> int:
    """F of the policy with this configuration: operations of the losses of one sample, dead blocks run."""
    policy = skeleton(name, config)
    for stack in policy.stacks().values():
        stack.readout = stack.depth - 1
    batch = policy.example(text_tokens)
    batch["actions"] = torch.empty(1, config.chunk, config.action_dim, device="meta")
    with FlopCounterMode(display=False) as counter, EveryBranchTrue(), torch.device("meta"):
        policy.losses(batch)
    return int(counter.get_total_flops())


def matched(recipe: Recipe, name: str, undropped: Any, left: Any, text_tokens: int) -> Recipe:
    """The recipe with as many steps as cost what its own `steps` of `matched_batch` samples cost undropped; itself where none is given.

    `undropped`, `left`: the configurations of the policy before and after the drop.
    """
    if recipe.matched_batch is None:
        return recipe
    r = training_flops(name, left, text_tokens) / training_flops(name, undropped, text_tokens)
    steps = round(recipe.steps * recipe.matched_batch / recipe.batch / r)
    if steps <= recipe.warmup_steps:
        raise BadConfig(f"recipe: {steps} steps have this recipe's cost, no more than its warm-up of {recipe.warmup_steps}: shorten that.")
    return replace(recipe, steps=steps, matched_batch=None)
