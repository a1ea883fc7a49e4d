"""The spread over training seeds, which no number of episodes of one seed shows.

Symbols: x_s the success rate (or the difference of two arms) of training seed s, S seeds, n episodes a seed.

    between^2 = 1/(S-1) sum_s (x_s - mean)^2                    what is seen: training and evaluation together
    training^2 = max(0, between^2 - mean of the x_s' own sampling variances)
    interval   = mean +- t_{S-1} between / sqrt(S)              covers both
    t          = (mean - threshold) sqrt(S) / between           of S - 1 degrees of freedom, for a p-value
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from scipy.stats import t

from dtr.stats.proportion import Interval


@dataclass(frozen=True)
class Seeds:
    """Mean over `count` training seeds, the standard deviation seen, the part of it that is training's, an interval that covers both."""

    mean: float
    between: float
    training: float
    interval: Interval
    count: int

    def p(self, threshold: float = 0.0, one_sided: bool = False) -> float:
        """p-value that the true mean is `threshold`; one-sided: that it is not above. Seeds that all agree give 0 or 1."""
        gap = self.mean - threshold
        score = gap * math.sqrt(self.count) / self.between if self.between else math.copysign(math.inf, gap) if gap else 0.0
        return float(t.sf(score, self.count - 1)) if one_sided else 2 * float(t.sf(abs(score), self.count - 1))


def over_seeds(values: Sequence[float], variances: Sequence[float], level: float = 0.95) -> Seeds:
    """The spread of x_s = `values`, whose own sampling variances are `variances`, for example p (1 - p) / n. Raises ValueError below 2."""
    S = len(values)
    if S < 2 or len(variances) != S:
        raise ValueError(f"need two training seeds or more and a variance for each, got {S} and {len(variances)}")
    mean = sum(values) / S
    between2 = sum((x - mean) ** 2 for x in values) / (S - 1)
    half = float(t.ppf(0.5 + level / 2, S - 1)) * math.sqrt(between2 / S)
    training = math.sqrt(max(0.0, between2 - sum(variances) / S))
    return Seeds(mean, math.sqrt(between2), training, Interval(mean - half, mean + half, level, "student-t"), S)
