r"""Fisher: the trace of the empirical Fisher information of a block's weights.

    I(B) = E_x  sum over W in B  sum_{jk}  (dL(x)/dW_jk)^2  =  E_x || dL(x)/dB ||^2

Unit: loss squared over weight squared. Squared per sample, before the mean; B's weights as for `dtr.importance.taylor`. "Empirical": the
gradient of the action loss on the demonstrated actions, as the paper's calibration has it, not on actions drawn from the policy.
A dead block has no gradient, and gets exactly 0.

Source: the paper's baseline "Fisher"; the sum of squared gradients is its usual diagonal form (Kirkpatrick et al., arXiv 1612.00796).
Others weigh by the weights, sum W^2 (dL/dW)^2 (Theis et al., arXiv 1801.05787): see docs/metrics.md.
"""

from __future__ import annotations

import torch
from torch import Tensor

from dtr.importance.shared_pass import Reader


def information(gradient: Tensor, weight: Tensor) -> Tensor:
    """sum (dL/dW)^2 over a matrix: (B, O, I), (O, I) -> (B,)."""
    y: Tensor = torch.linalg.vector_norm(gradient.flatten(1), dim=1).square()
    return y


fisher = Reader("fisher", backward=True, matrix=information)
"""The metric."""
