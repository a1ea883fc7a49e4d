"""One pass over a batch for several metrics: a forward, and where one of them needs it one backward.

A metric of this kind is a `Reader`. It reads what the gates of a stack captured (h_{i-1}, h_i and dL/dh_i), or the gradient of each
weight matrix, sample by sample:

    y = W a + b in every linear layer,        dL(x)/dW = sum over tokens t of x  (dL/dy_t) a_t'        (O, I) a sample

Samples do not meet inside the network, so the backward of the *sum* of their losses holds every sample's own dL/dy, and the sum over
tokens is taken sample by sample (the idea of Goodfellow, arXiv 1510.01799). No parameter needs a gradient; the weights' gradients live
for one layer at a time. Legend: B samples, T tokens, I and O widths of a layer, D of a stream, R rows = B times images or draws.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from dtr.errors import unknown
from dtr.importance.calibration import Calibration, Values, size
from dtr.policies.base import Batch, Policy
from dtr.policies.gate import Gate
from dtr.progress import Progress

BLOCKS = ("block",)
"""The granularities that are scored unless others are asked for; all of them: `dtr.policies.parts.GRANULARITIES`."""
Components = Iterable[str] | None
"""Components or stacks; None: all."""
Gates = Mapping[str, Gate]
"""The gates of one stack at one granularity, by name, shallow ones first."""


@dataclass(frozen=True)
class Reader:
    """A metric that needs nothing but the shared pass.

    gates: (gates of a stack, B, (B, M) valid tokens or None for all) -> gate name -> (B,) or (B, spans).
    matrix: ((B, O, I) gradient, (O, I) weight) -> (B,), summed over the linear layers that go with a block; 0 for a layer that never ran.
    backward: whether it needs gradients.
    """

    name: str
    backward: bool
    gates: Callable[[Gates, int, Tensor | None], Values] | None = None
    matrix: Callable[[Tensor, Tensor], Tensor] | None = None

    def __call__(
        self, policy: Policy, calibration: Calibration, components: Components = None, granularities: Collection[str] = BLOCKS
    ) -> Values:
        """The metric alone."""
        return read_all(policy, calibration, [self], components, granularities)[self.name]


@dataclass
class Matrices:
    """What the readers made of the gradient of each linear layer that ran: layer -> reader's name -> (B,)."""

    samples: int
    readers: Collection[Reader]
    read: dict[nn.Linear, Values] = field(default_factory=dict)

    def take(self, layer: nn.Linear, a: Tensor, dy: Tensor) -> None:
        """(R, T, I) and (R, T, O), or without T: the rows of a sample side by side."""
        left, right = (t.reshape(self.samples, -1, t.shape[-1]) for t in (dy, a))
        gradient = torch.bmm(left.transpose(1, 2), right.to(left.dtype))  # under autocast a may be wider than what was multiplied
        if gradient.dtype not in (torch.float32, torch.float64):
            gradient = gradient.float()
        self.read[layer] = {r.name: r.matrix(gradient, layer.weight.detach()).double().cpu() for r in self.readers if r.matrix}

    def total(self, name: str, layers: Iterable[nn.Linear]) -> Tensor:
        """The sum over `layers` of what reader `name` made of each: (B,)."""
        found = [self.read[layer][name] for layer in layers if layer in self.read]
        return sum(found, torch.zeros(self.samples, dtype=torch.float64))


def chosen_stacks(policy: Policy, components: Components, granularity: str) -> list[str]:
    """The stacks of these components that are scored at this granularity.

    Raises UnknownName for a component or granularity that does not exist, PlanMismatch for parts of a component that has none.
    """
    stacks = policy.stacks()
    if components is None:
        wanted = [name for name, stack in stacks.items() if granularity == "block" or stack.parted]
    else:
        asked, known = set(components), {part for name in stacks for part in (name.split(".")[0], name)}
        for name in sorted(asked - known):
            raise unknown("component", name, known)
        wanted = [name for name in stacks if asked & {name.split(".")[0], name}]
    for name in wanted:
        policy.check_granularity(name, granularity)
    return wanted


def stack_gates(policy: Policy, components: Components, granularities: Collection[str]) -> dict[tuple[str, str], Gates]:
    """(granularity, stack) -> its gates. Raises as `chosen_stacks`."""
    components = None if components is None else list(components)
    chosen = ((granularity, stack) for granularity in granularities for stack in chosen_stacks(policy, components, granularity))
    return {(granularity, stack): policy.gates(granularity, [stack]) for granularity, stack in chosen}


def chosen_gates(policy: Policy, components: Components, granularities: Collection[str] = BLOCKS) -> dict[str, Gate]:
    """The gates of these components, by name: of blocks, of their `attention`, of their `mlp`. Raises as `chosen_stacks`."""
    return {name: gate for gates in stack_gates(policy, components, granularities).values() for name, gate in gates.items()}


def chosen_layers(policy: Policy, components: Components, granularities: Collection[str] = BLOCKS) -> dict[str, list[nn.Linear]]:
    """Gate name -> the linear layers that go with that block or part. Raises as `chosen_stacks`."""
    keys = stack_gates(policy, components, granularities)
    return {name: layers for granularity, stack in keys for name, layers in policy.linears(granularity, stack).items()}


@contextmanager
def frozen(policy: nn.Module) -> Iterator[None]:
    """Inside, no parameter needs a gradient and the policy is in evaluation mode; afterwards all is as before."""
    parameters, training = [p for p in policy.parameters() if p.requires_grad], policy.training
    for parameter in parameters:
        parameter.requires_grad_(False)
    policy.eval()
    try:
        yield
    finally:
        policy.train(training)
        for parameter in parameters:
            parameter.requires_grad_(True)


@contextmanager
def watched(gates: Collection[Gate], layers: Collection[nn.Linear], take: Callable[[nn.Linear, Tensor, Tensor], None]) -> Iterator[None]:
    """Inside, `gates` capture what passes them, and `take` is told a and dL/dy of each of `layers` during backward."""

    def follow(layer: nn.Module, inputs: tuple[Tensor, ...], y: Tensor) -> Tensor:
        # With frozen parameters the first layer is where the graph begins.
        y, a = y if y.requires_grad else y.detach().requires_grad_(), inputs[0].detach()
        y.register_hook(lambda dy: take(layer, a, dy))  # type: ignore[arg-type]
        return y

    hooks = [layer.register_forward_hook(follow) for layer in layers]
    for gate in gates:
        gate.watch(True)
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
        for gate in gates:
            gate.watch(False)


def read(
    policy: Policy, batch: Batch, readers: Collection[Reader], components: Components = None, granularities: Collection[str] = BLOCKS
) -> dict[str, Values]:
    """Reader's name -> its values for one batch, from one pass. Raises as `chosen_stacks`."""
    groups, B, backward = stack_gates(policy, components, granularities), size(batch), any(r.backward for r in readers)
    matrices, layers = Matrices(B, readers), dict[str, list[nn.Linear]]()
    if any(r.matrix for r in readers):
        layers = {name: found for granularity, stack in groups for name, found in policy.linears(granularity, stack).items()}
    gates = [gate for group in groups.values() for gate in group.values()] if any(r.gates for r in readers) else []
    once = dict.fromkeys(layer for found in layers.values() for layer in found)
    values: dict[str, Values] = {r.name: {} for r in readers}
    with frozen(policy), torch.set_grad_enabled(backward), watched(gates, list(once), matrices.take):
        losses = policy.losses(batch)
        if losses.requires_grad:
            losses.sum().backward()
        for r in readers:
            if r.matrix:
                values[r.name] = {name: matrices.total(r.name, found) for name, found in layers.items()}
        for (_, stack), group in groups.items():
            valid = valid_tokens(policy, stack, batch, group, B)
            for r in (r for r in readers if r.gates):
                values[r.name] |= r.gates(group, B, valid)  # type: ignore[misc]
    return values


def valid_tokens(policy: Policy, stack: str, batch: Batch, gates: Gates, B: int) -> Tensor | None:
    """Which tokens of a stack stand for something: (B, M) bool, all rows of a sample side by side; None: all, or the stack never ran."""
    ran = next((gate.h_in for gate in gates.values() if gate.h_in is not None), None)
    return None if ran is None else policy.valid(stack, batch, ran.shape[0] * ran.shape[1] // B)


def read_all(
    policy: Policy,
    calibration: Calibration,
    readers: Collection[Reader],
    components: Components = None,
    granularities: Collection[str] = BLOCKS,
) -> dict[str, Values]:
    """Reader's name -> its values for all samples, from one pass. Raises as `chosen_stacks`."""
    components, names = None if components is None else list(components), ", ".join(r.name for r in readers)
    collected: dict[str, dict[str, list[Tensor]]] = {r.name: {} for r in readers}
    with Progress(f"score {names}", calibration.samples, "sample") as progress:
        for batch in calibration.batches():
            for metric, values in read(policy, batch, readers, components, granularities).items():
                for name, value in values.items():
                    collected[metric].setdefault(name, []).append(value)
            progress.update(size(batch))
    return {metric: {name: torch.cat(parts) for name, parts in values.items()} for metric, values in collected.items()}
