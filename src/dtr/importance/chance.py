r"""Random: the control. A score that knows nothing.

    I(B) ~ U[0, 1), drawn from (calibration seed, name of the block)

One value a block, without standard error or unit. It depends on the seed and the name alone: neither on the data nor on which other blocks
there are. It does not see that a block is dead. A calibration set with another seed (`calibrations` in the configuration) is another draw.
"""

from __future__ import annotations

from collections.abc import Collection

import torch

from dtr.importance.calibration import Calibration, Values
from dtr.importance.shared_pass import BLOCKS, Components, chosen_gates
from dtr.policies.base import Policy
from dtr.policies.initial import generator


def chance(policy: Policy, calibration: Calibration, components: Components = None, granularities: Collection[str] = BLOCKS) -> Values:
    """Name -> (1,) float64. Raises as `dtr.importance.shared_pass.chosen_stacks`."""
    names = chosen_gates(policy, components, granularities)
    return {name: torch.rand(1, generator=generator(calibration.seed, f"random {name}"), dtype=torch.float64) for name in names}
