"""How many forwards a metric takes to score one sample: what estimates and time limits of `score` and `stability` go by.

    a backward: two forwards                                  n blocks of a component, N of all of them together

`dtr stability` scores once more, so it takes what its metric does. IGIA trains a step a batch: a forward and a backward of each sample.
Dead blocks are not run, so it is an upper bound (tests/workflow/test_sizes.py counts them).
"""

from __future__ import annotations

from collections.abc import Mapping

from dtr.errors import unknown

FORWARDS = {
    "magnitude": 0,
    "random": 0,
    "cossim": 1,
    "cossim_contiguous": 1,
    "gateprobe": 2,
    "taylor": 3,
    "fisher": 3,
    "igia": 3,
    "hessian": 9,
}
"""Metric -> forwards. GateProbe's backward makes no weight gradients, so it is one forward; the Hessian's second one goes through the
forward and the first backward, twice three."""


def forwards(metric: str, depths: Mapping[str, int]) -> int:
    """Forwards a sample of the scores `metric`, `gateprobe.mlp` too. depths: stack -> its blocks. Raises UnknownName.

    leave_one_out: 1 + N;   sleb: the sum over components of n (n + 1) / 2.
    """
    name, components = metric.split(".")[0], dict[str, int]()
    for stack, depth in depths.items():
        component = stack.split(".")[0]
        components[component] = components.get(component, 0) + depth
    if name == "leave_one_out":
        return 1 + sum(components.values())
    if name == "sleb":
        return sum(n * (n + 1) // 2 for n in components.values())
    if name not in FORWARDS:
        raise unknown("metric", name, (*FORWARDS, "leave_one_out", "sleb"))
    return FORWARDS[name]
