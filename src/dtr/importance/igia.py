r"""IGIA: how hard the first steps of fine-tuning pull at a block's weights.

    theta_0 = the policy;   g_s = dL_s/dtheta at theta_s,   theta_{s+1} = AdamW(theta_s, clip(g_s), LR)          s = 0 .. S-1
    I(B) = 1/S  sum_s  sum over W in B  sum_{jk}  | g_s,jk |

L_s is the mean loss of calibration batch number s: each batch is one step, so samples / batch says how many steps there are (512 samples in
batches of 8: 64 steps; the paper's 1 % of 30,000 would be 300). The policy is put back afterwards, bit for bit.

Unit: loss over weight. Absolute values are per weight and per *step*, so unlike every other metric this one depends on the batch size; its
values are one a step, and its standard error is over steps. B's weights as for `dtr.importance.taylor`. A dead block gets exactly 0.
Cost: that of training: gradients and AdamW's two moments of all weights are in memory.

Source: the paper's baseline "IGIA", after GradPruner (arXiv 2601.19503): gradients of each weight accumulated over about the first 1 % of
fine-tuning, summed over a layer's linear sublayers. What it accumulates (signed or absolute), the optimiser and the rate the paper leaves
open: docs/metrics.md.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager

import torch

from dtr.importance.calibration import Calibration, Values, size
from dtr.importance.shared_pass import BLOCKS, Components, chosen_layers
from dtr.policies.base import Policy
from dtr.progress import Progress
from dtr.recovery.adamw import adamw, clip
from dtr.recovery.flat import Flat
from dtr.recovery.recipe import Recipe

LR = 5e-5
"""The rate of pi0.5's recipe (facts of the paper), for every policy, and from the first step on: its warm-up (10,000 steps) is left out."""


def igia(policy: Policy, calibration: Calibration, components: Components = None, granularities: Collection[str] = BLOCKS) -> Values:
    """Name -> (S,) float64. Raises as `dtr.importance.shared_pass.chosen_stacks`."""
    layers = chosen_layers(policy, components, granularities)
    values: dict[str, list[float]] = {name: [] for name in layers}
    with Progress("score igia", calibration.samples, "sample") as progress:
        for samples in first_steps(policy, calibration, LR):
            for name, found in layers.items():
                pulls = [layer.weight.grad.abs().sum(dtype=torch.float64).item() for layer in found if layer.weight.grad is not None]
                values[name].append(sum(pulls))
            progress.update(samples)
    return {name: torch.tensor(pulls, dtype=torch.float64) for name, pulls in values.items()}


def first_steps(policy: Policy, calibration: Calibration, lr: float, warmup: int = 0) -> Iterator[int]:
    """Train; at every step the weights' `.grad` hold g_s, not clipped yet, and the number of its samples is given.

    `warmup`: steps in which the rate rises linearly to `lr` (0: it is `lr` from the first on).
    """
    recipe = Recipe(steps=1, batch=1, lr=lr, warmup_steps=warmup, shards=1)
    with borrowed(policy) as flat:
        m, v = torch.zeros_like(flat.theta), torch.zeros_like(flat.theta)
        for s, batch in enumerate(calibration.batches()):
            with torch.enable_grad():
                g = flat.backward(policy.losses(batch).mean())
            yield size(batch)
            clip(g, recipe.clip)
            with torch.no_grad():
                adamw(flat.theta, g, m, v, flat.decays, s + 1, recipe.rate(s), recipe)


@contextmanager
def borrowed(policy: Policy) -> Iterator[Flat]:
    """The weights as one vector that may be trained; afterwards they are what they were."""
    kinds, training = [(p, p.dtype) for p in policy.parameters() if p.requires_grad], policy.training
    flat = Flat(policy)
    before = flat.theta.clone()
    policy.eval()
    try:
        yield flat
    finally:
        flat.theta.copy_(before)
        flat.release()
        for p, kind in kinds:
            p.data = p.data.to(kind)
        policy.train(training)
