"""Two arms on the same initial states.

Symbols: over n paired episodes, b = `gained` = only the arm succeeds, c = `lost` = only the baseline succeeds, d = (b - c) / n.
McNemar and Tango are closed or exact: no random state, no normal approximation at the edges. The bootstrap is seeded.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.stats import binom, norm

from dtr.stats.proportion import Interval

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Paired:
    """Counts over n paired episodes: both succeed, only the arm (`gained`), only the baseline (`lost`), neither."""

    both: int
    gained: int
    lost: int
    neither: int

    @property
    def n(self) -> int:
        """Number of pairs."""
        return self.both + self.gained + self.lost + self.neither

    @property
    def difference(self) -> float:
        """Success rate of the arm minus the baseline's, in [-1, 1]."""
        return (self.gained - self.lost) / self.n

    def __add__(self, other: Paired) -> Paired:
        """Pairs of two strata together."""
        return Paired(self.both + other.both, self.gained + other.gained, self.lost + other.lost, self.neither + other.neither)


def paired(arm: Sequence[bool], baseline: Sequence[bool]) -> Paired:
    """Count the pairs of two (n,) outcome sequences on the same initial states, in the same order."""
    if len(arm) != len(baseline):
        raise ValueError(f"paired outcomes need equal lengths, got {len(arm)} and {len(baseline)}")
    pairs = list(zip(arm, baseline, strict=True))
    return Paired(*(pairs.count(pair) for pair in ((True, True), (True, False), (False, True), (False, False))))


def mcnemar_exact(pairs: Paired) -> float:
    """Two-sided p-value that arm and baseline succeed equally often (McNemar 1947; exact as in Fagerland et al. 2013, BMC MRM 13:91).

    Only discordant pairs speak: under the null each of the m = gained + lost is a fair coin, so p = min(1, 2 P(X <= min(gained, lost)))
    with X ~ Binomial(m, 1/2). The null holds stratum by stratum, so pooling suites keeps the test exact.
    """
    m = pairs.gained + pairs.lost
    if m == 0:
        return 1.0
    return min(1.0, 2 * float(binom.cdf(min(pairs.gained, pairs.lost), m, 0.5)))


def tango_score(pairs: Paired, d: float) -> float:
    """Tango's score statistic that the true difference is d; it falls in d from +inf at -1 to -inf at 1, and is 0 at the estimate.

    (b - c - n d) / sqrt(n (2 q + d (1 - d))), where q is the maximum-likelihood probability of `lost` when the difference is d:
    q = (sqrt(B^2 - 8 n C) - B) / (4 n), B = -b - c + (2 n - b + c) d, C = -c d (1 - d).
    """
    n, b, c = pairs.n, pairs.gained, pairs.lost
    B, C = -b - c + (2 * n - b + c) * d, -c * d * (1 - d)
    q = (math.sqrt(max(0.0, B * B - 8 * n * C)) - B) / (4 * n)
    variance = n * (2 * q + d * (1 - d))
    gap = b - c - n * d
    return gap / math.sqrt(variance) if variance > 1e-12 else math.copysign(math.inf, gap) if abs(gap) > 1e-9 else 0.0


def paired_difference(pairs: Paired, level: float = 0.95) -> Interval:
    """Tango's score interval for the paired difference of two proportions (Tango 1998, Stat. Med. 17:891; recommended by Fagerland 2014):
    all d with |tango_score(d)| <= z. Good coverage even at n = 10 with rates near 1, where the Wald interval collapses to a point.
    """
    if not (pairs.n > 0 and 0 < level < 1):
        raise ValueError(f"need n > 0 pairs and 0 < level < 1; got n={pairs.n}, level={level}")
    z, estimate = float(norm.ppf(0.5 + level / 2)), pairs.difference
    low = -1.0 if estimate <= -1 else _root(lambda d: tango_score(pairs, d) - z, -1.0, estimate)
    high = 1.0 if estimate >= 1 else _root(lambda d: tango_score(pairs, d) + z, estimate, 1.0)
    return Interval(low, high, level, "tango")


def non_inferior_p(pairs: Paired, margin: float) -> float:
    """One-sided p-value that the arm is worse than the baseline by `margin` or more (Tango 1998): small means non-inferior.

    It is below a/2 exactly where the lower end of `paired_difference` at level 1 - a lies above -margin.
    """
    if not 0 < margin < 1:
        raise ValueError(f"need a margin between 0 and 1, got {margin}")
    return float(norm.sf(tango_score(pairs, -margin)))


def tango_p(pairs: Paired, d: float) -> float:
    """Two-sided p-value that the true difference is d: below a exactly where `paired_difference` at level 1 - a leaves d out."""
    return 2 * float(norm.sf(abs(tango_score(pairs, d))))


def paired_bootstrap(strata: Sequence[Paired], level: float = 0.95, draws: int = 10_000, seed: int = 0) -> Interval:
    """Percentile interval for the mean over strata (tasks) of the paired difference: pairs are drawn anew within each stratum.

    A stratum of n pairs enters a draw through its counts alone, so each draw is multinomial: (b*, c*, rest) ~ M(n; b/n, c/n, .).
    The tasks themselves stay fixed, as in the benchmark: the interval covers other episodes of these tasks.
    """
    return _percentiles(_resampled(strata, draws, np.random.default_rng(seed)), level)


def contrast_bootstrap(
    strata: Sequence[Paired], others: Sequence[Paired], level: float = 0.95, draws: int = 10_000, seed: int = 0
) -> Interval:
    """Percentile interval for how much more an arm gains (or loses) on one set of tasks than on another, a difference of differences:
    mean over `strata` of the paired difference minus that over `others`, whose episodes are others and drawn independently.

    For example: what a language cut costs where the instruction decides, beyond what it costs where the scene does.
    """
    rng = np.random.default_rng(seed)
    return _percentiles(_resampled(strata, draws, rng) - _resampled(others, draws, rng), level)


def contrast_difference(pairs: Paired, others: Paired, level: float = 0.95) -> Interval:
    """Interval for the same contrast, d = d1 - d2, from the two Tango intervals (l1, u1) and (l2, u2), whose episodes are independent:

        d - sqrt((d1 - l1)^2 + (u2 - d2)^2)  to  d + sqrt((u1 - d1)^2 + (d2 - l2)^2)

    (MOVER: Zou and Donner 2008, Stat. Med. 27:1693). It stays open where no pair is discordant, of which a bootstrap makes a point; it does
    not use that tasks are strata, so it is the wider one where they differ.
    """
    one, two = paired_difference(pairs, level), paired_difference(others, level)
    d1, d2 = pairs.difference, others.difference
    low, high = d1 - d2 - math.hypot(d1 - one.low, two.high - d2), d1 - d2 + math.hypot(one.high - d1, d2 - two.low)
    return Interval(max(low, -2.0), min(high, 2.0), level, "mover")


def _resampled(strata: Sequence[Paired], draws: int, rng: np.random.Generator) -> Array:
    """(draws,) means over strata of the paired difference, each stratum's pairs drawn anew."""
    if not strata or min(s.n for s in strata) < 1:
        raise ValueError("need at least one stratum, and a pair in each")
    mean = np.zeros(draws)
    for s in strata:
        counts = rng.multinomial(s.n, [s.gained / s.n, s.lost / s.n, (s.both + s.neither) / s.n], size=draws)
        mean += (counts[:, 0] - counts[:, 1]) / s.n / len(strata)
    return mean


def _percentiles(values: Array, level: float) -> Interval:
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return Interval(round(float(low), 12), round(float(high), 12), level, "bootstrap")


def _root(falling: Callable[[float], float], positive: float, negative: float) -> float:
    """The zero of a falling function, kept away from the ends where the score is infinite."""
    edge = 1e-9
    left, right = max(positive, -1 + edge), min(negative, 1 - edge)
    if falling(left) <= 0:
        return positive
    if falling(right) >= 0:
        return negative
    return float(brentq(falling, left, right, xtol=1e-12))
