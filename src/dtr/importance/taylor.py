r"""Taylor: how much the loss would change, to first order, if each weight of a block were set to 0, regardless of sign.

    I(B) = E_x  sum over W in B  sum_{jk}  | W_jk dL(x)/dW_jk |

Unit: that of the loss. Absolute values are per weight and per sample. B's weights are the matrices of the linear layers that go with it
(biases and norms are less than a percent, and upstream's block scores leave most of them out too).
A dead block has no gradient, and gets exactly 0.

Source: the paper's baseline "Taylor"; per weight as in LLM-Pruner (arXiv 2305.11627, eq. 5) and Shortened LLaMA (arXiv 2402.02834,
`anal_block_sensitivity_taylor.py`), which takes the absolute value of the gradient summed over its samples: see docs/metrics.md.
"""

from __future__ import annotations

import torch
from torch import Tensor

from dtr.importance.shared_pass import Reader


def salience(gradient: Tensor, weight: Tensor) -> Tensor:
    """sum |W dL/dW| over a matrix: (B, O, I), (O, I) -> (B,)."""
    y: Tensor = torch.linalg.vector_norm(gradient * weight, ord=1, dim=(1, 2))
    return y


taylor = Reader("taylor", backward=True, matrix=salience)
"""The metric."""
