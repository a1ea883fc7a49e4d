"""The smallest true difference that a comparison would have shown: what "not significant" can mean.

Symbols: n episodes an arm, d the true difference of two success rates, a the two-sided level of the test, `power` the chance that it
rejects. `underpowered` is said of a comparison whose interval holds both answers; the number here says what it could have seen. Where the
question is "not worse by a margin", it is the smallest margin that would have been shown had the two rates been equal (d = 0):

    the half of the interval that such counts have  +  z_power standard errors of d
"""

from __future__ import annotations

import math

import numpy as np
from scipy.optimize import brentq
from scipy.stats import binom, norm

from dtr.stats.paired import Paired, paired_difference
from dtr.stats.proportion import unpaired_difference

A = 0.05
POWER = 0.8


def mcnemar_power(n: int, discordant: float, d: float, a: float = A) -> float:
    """Chance that the exact McNemar test rejects at level a, with n pairs of which a fraction `discordant` >= |d| differs.

    The number of discordant pairs is M ~ Binomial(n, discordant); of them Binomial(M, (1 + d / discordant) / 2) are gained. The test
    rejects where 2 P(X <= min(b, M - b)) <= a with X ~ Binomial(M, 1/2), that is for b below or above a critical count.
    """
    if not 0 < discordant <= 1 or abs(d) > discordant:
        raise ValueError(f"need |d| <= discordant <= 1, got d={d}, discordant={discordant}")
    m = np.arange(n + 1)
    critical = binom.ppf(a / 2, m, 0.5) - 1  # the largest b with P(X <= b) <= a/2, or below 0
    critical = np.where(binom.cdf(critical + 1, m, 0.5) <= a / 2, critical + 1, critical)
    gained = (1 + d / discordant) / 2
    rejects = binom.cdf(critical, m, gained) + binom.cdf(critical, m, 1 - gained)
    return float(np.sum(binom.pmf(m, n, discordant) * rejects))


def detectable_paired(n: int, discordant: float, power: float = POWER, a: float = A) -> float | None:
    """The smallest d that n pairs show with chance `power`, where a fraction `discordant` of them differs (or d itself, if that is more).

    None where not even d = 1 would be seen (n < 6 at a = 0.05).
    """

    def lacks(d: float) -> float:
        return mcnemar_power(n, max(discordant, d), d, a) - power

    if lacks(1.0) < 0:
        return None
    return float(brentq(lacks, 1e-9, 1.0, xtol=1e-6))


def detectable_unpaired(p: float, n: int, n0: int, power: float = POWER, a: float = A) -> float | None:
    """The smallest d that an arm of n episodes shows with chance `power` beside one of rate p on n0 other episodes; d goes away from the
    nearer edge. None where no rate would be seen.

    z-test of two proportions (Fleiss, Levin & Paik 2003, section 4.2): with q = p +- d and m the pooled rate,
    d = z_{1-a/2} sqrt(m (1 - m) (1/n + 1/n0)) + z_power sqrt(q (1 - q) / n + p (1 - p) / n0).
    """
    sign = -1 if p > 0.5 else 1

    def lacks(d: float) -> float:
        q = p + sign * d
        m = (n * q + n0 * p) / (n + n0)
        apart = norm.ppf(power) * math.sqrt(max(0.0, q * (1 - q) / n + p * (1 - p) / n0))
        return d - float(norm.ppf(1 - a / 2) * math.sqrt(m * (1 - m) * (1 / n + 1 / n0)) + apart)

    most = p if sign < 0 else 1 - p
    return float(brentq(lacks, 1e-9, most, xtol=1e-9)) if lacks(most) > 0 else None


def detectable_margin_paired(n: int, discordant: float, power: float = POWER, a: float = A) -> float:
    """The smallest margin by which n pairs show "not worse" with chance `power`, where a fraction `discordant` of them differs both ways
    alike: the half of Tango's interval at level 1 - a, and z_power sqrt(discordant / n)."""
    each = math.ceil(n * discordant / 2)
    half = -paired_difference(Paired(max(0, n - 2 * each), each, each, 0), 1 - a).low
    return half + float(norm.ppf(power)) * math.sqrt(discordant / n)


def detectable_margin_unpaired(p: float, n: int, n0: int, power: float = POWER, a: float = A) -> float:
    """The same of two samples apart, both of rate p: the half of Newcombe's interval, and z_power sqrt(p (1 - p) (1/n + 1/n0))."""
    half = -unpaired_difference(round(p * n), n, round(p * n0), n0, 1 - a).low
    return half + float(norm.ppf(power)) * math.sqrt(p * (1 - p) * (1 / n + 1 / n0))
