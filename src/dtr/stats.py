"""Exact statistics of success counts: one proportion, and two arms on the same initial states.

Symbols: k successes of n episodes; on paired episodes, `gained` = arm succeeds where the baseline fails, `lost` = the other way.
Everything is closed or exact: no bootstrap, no random state, no normal approximation at the edges 0 and n.

What the intervals cover: other rollouts of the *same trained weights* on exchangeable initial states. Another training seed adds
variance that no count of episodes shows; run several seeds to see it.

Pooling over tasks and suites. Episodes of different tasks have different success probabilities p_i. The number of successes is then
Poisson-binomial, which is never more spread than a binomial of the same mean (Hoeffding 1956, Ann. Math. Stat. 27:713-721), so the
Clopper-Pearson interval of the pooled count stays conservative for the mean of the p_i. With equal n in every suite, the mean of the suite
rates is the pooled rate: the `average` column needs no other interval.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from scipy.optimize import brentq
from scipy.stats import beta, binom, norm


@dataclass(frozen=True)
class Interval:
    """A two-sided confidence interval: `low <= high`, its level and the method's name."""

    low: float
    high: float
    level: float
    method: str


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


def clopper_pearson(k: int, n: int, level: float = 0.95) -> Interval:
    """The exact interval for a proportion: it covers at least `level` of the time, whatever the truth.

    low solves P(X >= k | low) = a/2 and high solves P(X <= k | high) = a/2, a = 1 - level (Clopper & Pearson 1934, Biometrika 26:404).
    """
    _check(k, n, level)
    a = 1 - level
    low = float(beta.ppf(a / 2, k, n - k + 1)) if k > 0 else 0.0
    high = float(beta.ppf(1 - a / 2, k + 1, n - k)) if k < n else 1.0
    return Interval(low, high, level, "clopper-pearson")


def wilson(k: int, n: int, level: float = 0.95) -> Interval:
    """The score interval for a proportion: all p with |k/n - p| <= z sqrt(p (1 - p) / n) (Wilson 1927, JASA 22:209).

    Shorter than Clopper-Pearson and right on average rather than at least.
    """
    _check(k, n, level)
    z = float(norm.ppf(0.5 + level / 2))
    p, zz = k / n, z * z / n
    centre, half = (p + zz / 2) / (1 + zz), z / (1 + zz) * math.sqrt(p * (1 - p) / n + zz / (4 * n))
    # At the edges the bound is the edge itself; rounding would leave 1e-17.
    return Interval(0.0 if k == 0 else centre - half, 1.0 if k == n else centre + half, level, "wilson")


def mcnemar_exact(pairs: Paired) -> float:
    """Two-sided p-value that arm and baseline succeed equally often (McNemar 1947; exact as in Fagerland et al. 2013, BMC MRM 13:91).

    Only discordant pairs speak: under the null each of the m = gained + lost is a fair coin, so p = min(1, 2 P(X <= min(gained, lost)))
    with X ~ Binomial(m, 1/2). The null holds stratum by stratum, so pooling suites keeps the test exact.
    """
    m = pairs.gained + pairs.lost
    if m == 0:
        return 1.0
    return min(1.0, 2 * float(binom.cdf(min(pairs.gained, pairs.lost), m, 0.5)))


def paired_difference(pairs: Paired, level: float = 0.95) -> Interval:
    """Tango's score interval for the paired difference of two proportions (Tango 1998, Stat. Med. 17:891; recommended by Fagerland 2014).

    With b = gained, c = lost: all d with |b - c - n d| <= z sqrt(n (2 q + d (1 - d))), where q is the maximum-likelihood probability of
    `lost` when the difference is d: q = (sqrt(B^2 - 8 n C) - B) / (4 n), B = -b - c + (2 n - b + c) d, C = -c d (1 - d).
    Good coverage even at n = 10 with rates near 1, where the Wald interval collapses to a point.
    """
    n, b, c = pairs.n, pairs.gained, pairs.lost
    _check(b, n, level)
    z = float(norm.ppf(0.5 + level / 2))

    def score(d: float) -> float:
        B, C = -b - c + (2 * n - b + c) * d, -c * d * (1 - d)
        q = (math.sqrt(max(0.0, B * B - 8 * n * C)) - B) / (4 * n)
        variance = n * (2 * q + d * (1 - d))
        gap = b - c - n * d
        return gap / math.sqrt(variance) if variance > 1e-12 else math.copysign(math.inf, gap) if abs(gap) > 1e-9 else 0.0

    # The score falls monotonically in d, from +inf at -1 to -inf at 1, and is 0 at the estimate.
    estimate = pairs.difference
    low = -1.0 if estimate <= -1 else _root(lambda d: score(d) - z, -1.0, estimate)
    high = 1.0 if estimate >= 1 else _root(lambda d: score(d) + z, estimate, 1.0)
    return Interval(low, high, level, "tango")


def _root(falling: Callable[[float], float], positive: float, negative: float) -> float:
    """The zero of a falling function, kept away from the ends where the score is infinite."""
    edge = 1e-9
    left, right = max(positive, -1 + edge), min(negative, 1 - edge)
    if falling(left) <= 0:
        return positive
    if falling(right) >= 0:
        return negative
    return float(brentq(falling, left, right, xtol=1e-12))


def _check(k: int, n: int, level: float) -> None:
    if not (n > 0 and 0 <= k <= n and 0 < level < 1):
        raise ValueError(f"need 0 <= k <= n, n > 0 and 0 < level < 1; got k={k}, n={n}, level={level}")
