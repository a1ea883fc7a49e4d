r"""Hessian: the trace of the loss's second derivative by a block's weights, estimated by Hutchinson's method.

    I(B) = E_x tr H_BB(x),      H_BB = d^2 L(x) / dB^2
    tr H_BB = E_v [ v_B' (H v)_B ],      v = +1 or -1 with equal chance for each weight of each block

One probe v a sample, drawn from (seed of the sample, name of the layer), for all blocks at once: the cross terms v_B' H_BC v_C have mean 0.
H v is the gradient of <dL/dtheta, v>, so a sample costs a forward and two backwards. The standard error over samples covers the probes too.

Unit: loss over weight squared. The sign is kept: a block in whose weights the loss is curved downwards goes first (docs/metrics.md has
the effect of |tr H|). B's weights as for `dtr.importance.taylor`. A dead block has no derivative, and gets exactly 0.

Source: the paper's baseline "Hessian trace"; Hutchinson (1990), as in PyHessian (arXiv 1912.07145) and HAWQ-V2 (arXiv 1911.03852).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from dtr.importance.calibration import Calibration, Values, each_alone
from dtr.importance.shared_pass import BLOCKS, Components, chosen_layers, frozen
from dtr.policies.base import Batch, Policy
from dtr.policies.initial import generator
from dtr.progress import Progress


def hessian(policy: Policy, calibration: Calibration, components: Components = None, granularities: Collection[str] = BLOCKS) -> Values:
    """Name -> (n,) float64. Raises as `dtr.importance.shared_pass.chosen_stacks`."""
    layers = chosen_layers(policy, components, granularities)
    names = {module: name for name, module in policy.named_modules() if isinstance(module, nn.Linear)}
    once = {layer: names[layer] for found in layers.values() for layer in found}
    collected: dict[str, list[Tensor]] = {name: [] for name in layers}
    with Progress("score hessian", calibration.samples, "sample") as progress, second_order(policy, once):
        for batch in calibration.batches():
            for alone in each_alone(batch):
                curved = curvatures(policy, alone, once, probes(once, sample_seed(alone, calibration.seed)))
                for name, found in layers.items():
                    collected[name].append(sum((curved[layer] for layer in found), torch.zeros((), dtype=torch.float64)))
                progress.update(1)
    return {name: torch.stack(values) for name, values in collected.items()}


def sample_seed(alone: Batch, otherwise: int) -> int:
    """The seed of a sample, where it has one."""
    return int(alone["seed"]) if "seed" in alone else otherwise


def probes(layers: dict[nn.Linear, str], seed: int) -> dict[nn.Linear, Tensor]:
    """A v for the weight of each layer, by its name: another set of layers gives none of them another v."""
    drawn = {layer: torch.randint(0, 2, layer.weight.shape, generator=generator(seed, name)) for layer, name in layers.items()}
    return {layer: (2 * v - 1).to(layer.weight) for layer, v in drawn.items()}


@contextmanager
def second_order(policy: Policy, layers: Collection[nn.Linear]) -> Iterator[None]:
    """Inside, only the weights of `layers` need gradients, and attention is computed by formulas that can be differentiated twice."""
    with frozen(policy), sdpa_kernel(SDPBackend.MATH), torch.enable_grad():
        for layer in layers:
            layer.weight.requires_grad_(True)
        try:
            yield
        finally:
            for layer in layers:
                layer.weight.requires_grad_(False)


def curvatures(policy: Policy, batch: Batch, layers: Collection[nn.Linear], v: dict[nn.Linear, Tensor]) -> dict[nn.Linear, Tensor]:
    """v_W' (H v)_W for the weight W of each layer, for the sum of the batch's losses; 0 where the loss has no second derivative."""
    weights, zero = [layer.weight for layer in layers], torch.zeros((), dtype=torch.float64)
    first = torch.autograd.grad(policy.losses(batch).sum(), weights, create_graph=True, allow_unused=True)
    along = [(g * v[layer]).sum() for layer, g in zip(layers, first, strict=True) if g is not None and g.requires_grad]
    if not along:
        return dict.fromkeys(layers, zero)
    second = torch.autograd.grad(torch.stack(along).sum(), weights, allow_unused=True)
    return {layer: zero if h is None else (h.double() * v[layer].double()).sum().cpu() for layer, h in zip(layers, second, strict=True)}
