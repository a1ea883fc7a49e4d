"""One success rate, and two that were measured apart.

Symbols: k successes of n episodes, p the true success rate, a = 1 - level, z the normal quantile at 1 - a/2.

Pooling over tasks and suites. Episodes of different tasks have different success probabilities p_i. The number of successes is then
Poisson-binomial, which is never more spread than a binomial of the same mean (Hoeffding 1956, Ann. Math. Stat. 27:713-721), so the
Clopper-Pearson interval of the pooled count stays conservative for the mean of the p_i. With equal n in every suite, the mean of the suite
rates is the pooled rate: the `average` column needs no other interval.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from scipy.optimize import brentq
from scipy.stats import beta, fisher_exact, norm

Z = 8.0
"""Beyond this many standard errors a p-value is given as that of 8: 6e-16."""


@dataclass(frozen=True)
class Interval:
    """A two-sided confidence interval: `low <= high`, its level and the method's name."""

    low: float
    high: float
    level: float
    method: str


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


def apart(d: float, own: Interval, d0: float, other: Interval, method: str) -> Interval:
    """The interval for d - d0 of two estimates that were measured apart, from theirs, (l, u) and (l0, u0), by squaring and adding:

        d - d0 - sqrt((d - l)^2 + (u0 - d0)^2)   to   d - d0 + sqrt((u - d)^2 + (d0 - l0)^2)

    (Newcombe 1998, Stat. Med. 17:873, method 10, for two rates; Zou & Donner 2008, Stat. Med. 27:1693, for any two estimates).
    """
    low, high = math.hypot(d - own.low, other.high - d0), math.hypot(own.high - d, d0 - other.low)
    return Interval(d - d0 - low, d - d0 + high, own.level, method)


def unpaired_difference(k: int, n: int, k0: int, n0: int, level: float = 0.95) -> Interval:
    """Newcombe's hybrid score interval for k/n - k0/n0 of two independent samples: `apart` of their Wilson intervals."""
    return apart(k / n, wilson(k, n, level), k0 / n0, wilson(k0, n0, level), "newcombe")


def turned_round(interval: Callable[[float], Interval], estimate: float, d: float) -> float:
    """The z at whose level an end of `interval` meets d, positive where the estimate lies above d, within +-Z.

    Then norm.sf(z) is the one-sided p-value that the truth is not above d, and 2 norm.sf(|z|) the two-sided one that it is d: below a
    exactly where the interval at level 1 - a lies on one side of d.
    """

    def gap(z: float) -> float:
        found = interval(1 - 2 * float(norm.sf(abs(z)))) if z else None
        return (estimate if found is None else found.low if z > 0 else found.high) - d

    return Z if gap(Z) > 0 else -Z if gap(-Z) < 0 else float(brentq(gap, -Z, Z))


def non_inferior_unpaired_p(k: int, n: int, k0: int, n0: int, margin: float) -> float:
    """One-sided p-value that the first rate is worse than the second by `margin` or more: Newcombe's interval turned round."""
    return float(norm.sf(turned_round(lambda level: unpaired_difference(k, n, k0, n0, level), k / n - k0 / n0, -margin)))


def fisher_p(k: int, n: int, k0: int, n0: int) -> float:
    """Two-sided exact p-value that two independent samples succeed equally often (Fisher 1935)."""
    _check(k, n, 0.5)
    _check(k0, n0, 0.5)
    return float(fisher_exact([[k, n - k], [k0, n0 - k0]]).pvalue)


def _check(k: int, n: int, level: float) -> None:
    if not (n > 0 and 0 <= k <= n and 0 < level < 1):
        raise ValueError(f"need 0 <= k <= n, n > 0 and 0 < level < 1; got k={k}, n={n}, level={level}")
