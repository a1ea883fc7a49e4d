"""Whether two arms differ on many tasks, or on one.

a_t = gained - lost of task t, its pairs of all training seeds together; m of the T tasks have a_t != 0

    better, worse   how many a_t lie above and below 0
    p               share of the 2^m ways to give |a_1| .. |a_m| signs in which |sum| is at least the one seen (exact)

The states of a task often end alike, so n states of one task are not n chances to see how an arm handles tasks. McNemar's p is about other
states of these tasks; this one is about the tasks as a sample of their kind: under the null each difference is as likely to be the other
way round (Fisher's randomisation test, 1935). It is at least 2^(1-m): with fewer than six tasks that differ it cannot be below 0.05.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from dtr.stats.paired import Paired


@dataclass(frozen=True)
class Tasks:
    """How many of `count` tasks are better and worse, and the p-value that signs alone do it."""

    better: int
    worse: int
    count: int
    p: float


def over_tasks(strata: Iterable[Paired]) -> Tasks:
    """What the pairs of each task say."""
    nets = [pairs.gained - pairs.lost for pairs in strata]
    return Tasks(sum(a > 0 for a in nets), sum(a < 0 for a in nets), len(nets), sign_flip_p(nets))


def sign_flip_p(nets: Iterable[int]) -> float:
    """P(|sum of +-a_t| >= |sum of a_t|), each sign a fair coin: the law of the sum, one task after another."""
    seen, law = 0, np.ones(1)  # law[s + A] = P(sum = s), A = |a_1| + ... so far
    for a in nets:
        seen, shift = seen + a, np.zeros(2 * abs(a))
        law = (np.concatenate([law, shift]) + np.concatenate([shift, law])) / 2
    sums = np.arange(len(law)) - len(law) // 2
    return min(1.0, float(law[np.abs(sums) >= abs(seen)].sum()))
