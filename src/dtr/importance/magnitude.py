r"""Magnitude: how large a block's weights are.

    I(B) = sum over W in B  sum_{jk}  | W_jk |

Unit: that of a weight. No data and no loss: one value a block, without standard error. B's weights as for `dtr.importance.taylor`.
It does not see that a block is dead: a dead block gets the size of its weights, like any other.

Source: the paper's baseline "Magnitude"; the sum of absolute weights as in Shortened LLaMA (arXiv 2402.02834), after Li et al.
(arXiv 1608.08710).
"""

from __future__ import annotations

from collections.abc import Collection

import torch

from dtr.importance.calibration import Calibration, Values
from dtr.importance.shared_pass import BLOCKS, Components, chosen_layers
from dtr.policies.base import Policy


@torch.no_grad()
def magnitude(policy: Policy, calibration: Calibration, components: Components = None, granularities: Collection[str] = BLOCKS) -> Values:
    """Name -> (1,) float64. Raises as `dtr.importance.shared_pass.chosen_stacks`."""
    layers = chosen_layers(policy, components, granularities)
    sizes = {name: [layer.weight.abs().sum(dtype=torch.float64).item() for layer in found] for name, found in layers.items()}
    return {name: torch.tensor([sum(found)], dtype=torch.float64) for name, found in sizes.items()}
