"""Every metric by name. All have one signature; those that read nothing but the shared pass are computed together, in one pass.

metric(policy, calibration, components or None, granularities) -> gate name -> (n,) values, whose mean is the score
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

from dtr.dropping.cut import METRICS
from dtr.errors import unknown
from dtr.importance.calibration import Calibration, Values
from dtr.importance.chance import chance
from dtr.importance.cossim import cossim
from dtr.importance.cossim_contiguous import cossim_contiguous
from dtr.importance.fisher import fisher
from dtr.importance.gateprobe import gateprobe
from dtr.importance.hessian import hessian
from dtr.importance.igia import igia
from dtr.importance.leave_one_out import leave_one_out
from dtr.importance.magnitude import magnitude
from dtr.importance.shared_pass import BLOCKS, Components, Reader, read_all
from dtr.importance.sleb import sleb
from dtr.importance.taylor import taylor
from dtr.policies.base import Policy

Metric = Callable[[Policy, Calibration, Components, Collection[str]], Values]

FUNCTIONS: Mapping[str, Metric] = {
    "gateprobe": gateprobe,
    "taylor": taylor,
    "igia": igia,
    "fisher": fisher,
    "hessian": hessian,
    "cossim": cossim,
    "cossim_contiguous": cossim_contiguous,
    "leave_one_out": leave_one_out,
    "sleb": sleb,
    "magnitude": magnitude,
    "random": chance,
}
TOGETHER = (*(name for name, metric in FUNCTIONS.items() if isinstance(metric, Reader)), "magnitude", "random")
"""What `all` means: one forward and one backward give all of these."""


def check_metric(metric: str) -> None:
    """Raises UnknownName."""
    if metric not in FUNCTIONS:
        raise unknown("metric", metric, METRICS)


def evaluate(
    policy: Policy,
    calibration: Calibration,
    metrics: Collection[str],
    components: Components = None,
    granularities: Collection[str] = BLOCKS,
) -> dict[str, Values]:
    """Metric -> its values: those of one pass together, then the others one after another. Raises UnknownName, PlanMismatch."""
    for metric in metrics:
        check_metric(metric)
    components = None if components is None else list(components)
    chosen = {metric: FUNCTIONS[metric] for metric in metrics}
    readers = [function for function in chosen.values() if isinstance(function, Reader)]
    values = read_all(policy, calibration, readers, components, granularities) if readers else {}
    for metric, function in chosen.items():
        if not isinstance(function, Reader):
            values[metric] = function(policy, calibration, components, granularities)
    return {metric: values[metric] for metric in metrics}
