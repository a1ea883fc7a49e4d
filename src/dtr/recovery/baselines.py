"""What a drop is compared with: policies of the same depth that were not dropped and recovered. A drop that only matches them shows no use
of the pretrained blocks.

early exit     f_d = head(norm(B_{d-1}(... B_0(h_0))))      the first d blocks as pretrained and frozen; final norm and head retrained
from scratch   f_d of any d blocks, every weight drawn anew, as many steps as pretraining and recovery have together

Neither needs a verb of its own: the cut (`language-keep-0_1_2`) says which blocks there are, the recipe what is trained. In an early exit
the norm is trained with the head, as both were fitted to the output of the last block and now read an earlier one; embeddings, vision,
projectors and the blocks stay what they were.
"""

from __future__ import annotations

from fnmatch import fnmatchcase

from dtr.errors import unknown
from dtr.policies.base import Policy
from dtr.policies.registry import build
from dtr.recovery.recipe import Recipe


def begin(policy: Policy, recipe: Recipe, seed: int) -> Policy:
    """The policy as its training begins: with new weights (`recipe.scratch`), or frozen but for `recipe.train_only`. Raises UnknownName."""
    if recipe.scratch:
        return build(policy.name, policy.config, seed)
    if recipe.train_only is not None:
        freeze(policy, recipe.train_only)
    return policy


def freeze(policy: Policy, patterns: tuple[str, ...]) -> None:
    """Leave only parameters to train whose names match a pattern, and that trained before. In place."""
    names = [name for name, parameter in policy.named_parameters() if parameter.requires_grad]
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in names):
            parts = {f"{'.'.join(name.split('.')[:depth])}.*" for name in names for depth in (1, 2) if name.count(".") >= depth}
            raise unknown("pattern of trained parameters", pattern, parts, "recipe.train_only names it.")
    for name, parameter in policy.named_parameters():
        parameter.requires_grad_(parameter.requires_grad and any(fnmatchcase(name, pattern) for pattern in patterns))
