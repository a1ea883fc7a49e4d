r"""SLEB: leave one out, greedily. Each block that goes is chosen with those that went before it absent.

    D_0 = {};   B*_k = argmin over B not in D_k of  E_x L(x; D_k and B absent),   D_{k+1} = D_k + B*_k
    I(B*_k) = k

in each component by itself (all its towers together), the others whole. Of equal losses the deeper block goes first, then by name, as in
every cut. A block's score is its place in that order, 0 the first to go: without unit, one value a block, and without standard error.
A dead block changes no loss, so it goes before any that makes the loss worse.

Cost: n (n + 1) / 2 forwards a component of n blocks, over all samples.
Source: SLEB (arXiv 2402.09025, algorithm 1), the greedy form of the paper's baseline "PPL" (`dtr.importance.leave_one_out`).
"""

from __future__ import annotations

from collections.abc import Collection

import torch

from dtr.dropping.scores import least_important
from dtr.importance.calibration import Calibration, Values
from dtr.importance.leave_one_out import absent
from dtr.importance.shared_pass import BLOCKS, Components, Gates, frozen, stack_gates
from dtr.policies.base import Policy
from dtr.policies.gate import Gate
from dtr.progress import Progress


def sleb(policy: Policy, calibration: Calibration, components: Components = None, granularities: Collection[str] = BLOCKS) -> Values:
    """Name -> (1,) float64. Raises as `dtr.importance.shared_pass.chosen_stacks`."""
    groups: dict[tuple[str, str], dict[str, Gate]] = {}
    for (granularity, stack), gates in stack_gates(policy, components, granularities).items():
        groups.setdefault((granularity, stack.split(".")[0]), {}).update(gates)
    places = {name: place for gates in groups.values() for place, name in enumerate(greedy(policy, calibration, gates))}
    return {name: torch.tensor([places[name]], dtype=torch.float64) for gates in groups.values() for name in gates}


def greedy(policy: Policy, calibration: Calibration, gates: Gates) -> list[str]:
    """The names of `gates` in the order in which they go; the last one has nothing to be compared with."""
    gone: list[str] = []
    with Progress("score sleb", len(gates) - 1, "block") as progress:
        while len(gone) < len(gates) - 1:
            losses = losses_without(policy, calibration, gates, gone)
            gone.append(least_important(list(losses), losses)[0])
            progress.update(1)
    return [*gone, *(name for name in gates if name not in gone)]


@torch.no_grad()
def losses_without(policy: Policy, calibration: Calibration, gates: Gates, gone: Collection[str]) -> dict[str, float]:
    """The loss, summed over the samples, without `gone` and one more: for every one of `gates` that is still there."""
    left = [name for name in gates if name not in gone]
    losses = dict.fromkeys(left, 0.0)
    with frozen(policy):
        for batch in calibration.batches():
            for name in left:
                with absent(gates[other] for other in (*gone, name)):
                    losses[name] += policy.losses(batch).double().sum().item()
    return losses
