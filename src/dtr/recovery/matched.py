"""Recovery at equal cost: a smaller policy takes more steps for the same training FLOPs (paper, Table 4).

    steps = steps_0 * (batch_0 / batch) / r,        r = F(what is left) / F(undropped)

F counts one training forward of one sample, with all of the recipe's draws of noise: the first stream runs once for them, the second once
each, so the more draws, the more of F is the second's. A backward costs twice that before and after the drop, so it cancels. The cost
that is matched is that of the undropped policy under this very recipe, its draws included. F runs dead blocks too, as the official code
does: the paper's fractions are of that, and with its shapes ours agree with them within a point. (Here dead blocks are not run, so our
undropped policy trains a little faster than F says.)
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from dtr.cost import counted
from dtr.errors import BadConfig
from dtr.policies.registry import skeleton
from dtr.recovery.recipe import Recipe


def training_flops(name: str, config: Any, text_tokens: int, draws: int = 1) -> int:
    """F of the policy with this configuration: operations of the losses of one sample, `draws` of noise for it, dead blocks run."""
    policy = skeleton(name, config)
    policy.draws = draws
    for stack in policy.stacks().values():
        stack.readout = stack.depth - 1
    batch = policy.example(text_tokens)
    batch["actions"] = torch.empty(1, config.chunk, config.action_dim, device="meta")
    with torch.device("meta"):
        return int(counted(lambda: policy.losses(batch)).get_total_flops())


def matched(recipe: Recipe, name: str, undropped: Any, left: Any, text_tokens: int) -> Recipe:
    """The recipe with as many steps as cost what its own `steps` of `matched_batch` samples cost undropped; itself where none is given.

    `undropped`, `left`: the configurations of the policy before and after the drop.
    """
    if recipe.matched_batch is None:
        return recipe
    F_left, F_undropped = (training_flops(name, config, text_tokens, recipe.draws or 1) for config in (left, undropped))
    r = F_left / F_undropped
    steps = round(recipe.steps * recipe.matched_batch / recipe.batch / r)
    if steps <= recipe.warmup_steps:
        raise BadConfig(f"recipe: {steps} steps have this recipe's cost, no more than its warm-up of {recipe.warmup_steps}: shorten that.")
    return replace(recipe, steps=steps, matched_batch=None)
