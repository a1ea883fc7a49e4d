"""Every number here is checkable by hand or printed in the paper named beside it."""

from __future__ import annotations

from itertools import product
from math import comb, sqrt

import numpy as np
import pytest
from scipy.stats import binom, norm

from dtr.stats import (
    Interval,
    Paired,
    apart,
    clopper_pearson,
    contrast_bootstrap,
    contrast_difference,
    detectable_margin_paired,
    detectable_margin_unpaired,
    detectable_paired,
    detectable_unpaired,
    fisher_p,
    mcnemar_exact,
    non_inferior_p,
    non_inferior_unpaired_p,
    over_seeds,
    over_tasks,
    paired,
    paired_bootstrap,
    paired_difference,
    sign_flip_p,
    tango_p,
    turned_round,
    unpaired_difference,
    wilson,
)
from dtr.stats.paired import tango_score
from dtr.stats.power import mcnemar_power


def test_clopper_pearson_closed_forms_at_the_edges() -> None:
    # k = 0: (1 - high)^10 = 0.025; k = n mirrors it.
    assert clopper_pearson(0, 10).low == 0.0
    assert clopper_pearson(0, 10).high == pytest.approx(1 - 0.025**0.1)
    assert clopper_pearson(10, 10).low == pytest.approx(0.025**0.1)
    assert clopper_pearson(10, 10).high == 1.0


def test_intervals_of_newcombe_1998() -> None:
    # Newcombe 1998, Stat. Med. 17:857, table I, 15 of 148: methods "score" and "Clopper-Pearson exact".
    assert (wilson(15, 148).low, wilson(15, 148).high) == pytest.approx((0.0624, 0.1605), abs=5e-5)
    assert (clopper_pearson(15, 148).low, clopper_pearson(15, 148).high) == pytest.approx((0.0578, 0.1617), abs=5e-5)


def test_clopper_pearson_covers_at_least_its_level() -> None:
    n = 12
    intervals = [clopper_pearson(k, n) for k in range(n + 1)]
    for percent in range(1, 100, 7):
        p = percent / 100
        covered = sum(binom.pmf(k, n, p) for k, i in enumerate(intervals) if i.low <= p <= i.high)
        assert covered >= 0.95 - 1e-12


def test_pooled_interval_is_conservative_for_a_mean_of_unequal_suites() -> None:
    # Hoeffding 1956: suites at 0.5 and 1.0, 10 episodes each; the pooled count covers their mean 0.75 at least as often as 95 %.
    covered = 0.0
    for k in range(11):
        interval = clopper_pearson(k + 10, 20)
        covered += binom.pmf(k, 10, 0.5) if interval.low <= 0.75 <= interval.high else 0.0
    assert covered >= 0.95


def test_wilson_at_the_edge_is_z_squared_over_n_plus_z_squared() -> None:
    assert wilson(0, 10).low == 0.0
    assert wilson(0, 10).high == pytest.approx(3.841459 / 13.841459, abs=1e-6)


def test_paired_counts() -> None:
    pairs = paired([True, True, False, False, True], [True, False, True, False, False])
    assert (pairs.both, pairs.gained, pairs.lost, pairs.neither, pairs.n) == (1, 2, 1, 1, 5)
    assert pairs.difference == pytest.approx(0.2)
    with pytest.raises(ValueError, match="equal lengths"):
        paired([True], [])


def test_mcnemar_by_hand() -> None:
    # 1 against 7: 2 (C(8,0) + C(8,1)) / 2^8 = 18/256; printed as 0.0703 in Fagerland, Lydersen & Laake 2014, Stat. Med. 33:2850.
    assert mcnemar_exact(Paired(1, 1, 7, 12)) == pytest.approx(18 / 256)
    assert mcnemar_exact(Paired(5, 0, 5, 0)) == pytest.approx(2 / 32)
    assert mcnemar_exact(Paired(5, 3, 3, 0)) == 1.0
    assert mcnemar_exact(Paired(9, 0, 0, 1)) == 1.0


def test_tango_interval() -> None:
    # Fagerland, Lydersen & Laake 2014 (airway reactivity, 1/1/7/12): Tango (-0.517, -0.026).
    interval = paired_difference(Paired(1, 1, 7, 12))
    assert (interval.low, interval.high) == pytest.approx((-0.517, -0.026), abs=5e-4)


def test_tango_is_antisymmetric_and_ends_at_the_score_bound() -> None:
    there, back = paired_difference(Paired(20, 12, 2, 16)), paired_difference(Paired(20, 2, 12, 16))
    assert (there.low, there.high) == pytest.approx((-back.high, -back.low))
    # No discordant pair: the bounds solve d = z sqrt(d (1 - d) / n), the Wilson bound of 0 of n.
    assert paired_difference(Paired(10, 0, 0, 0)).high == pytest.approx(wilson(0, 10).high)
    assert paired_difference(Paired(0, 10, 0, 0)).high == 1.0


def test_tango_and_mcnemar_agree_far_from_the_border() -> None:
    clear, unclear = Paired(80, 15, 1, 4), Paired(80, 8, 8, 4)
    assert mcnemar_exact(clear) < 0.05 and paired_difference(clear).low > 0
    assert mcnemar_exact(unclear) > 0.05 and paired_difference(unclear).low < 0 < paired_difference(unclear).high


@pytest.mark.parametrize(("k", "n"), [(-1, 5), (6, 5), (0, 0)])
def test_impossible_counts_are_refused(k: int, n: int) -> None:
    with pytest.raises(ValueError, match="0 <= k <= n"):
        clopper_pearson(k, n)


def test_newcombe_s_interval_of_two_independent_rates() -> None:
    # Newcombe 1998, Stat. Med. 17:873, table II, 56/70 - 48/80, method 10.
    interval = unpaired_difference(56, 70, 48, 80)
    assert (interval.low, interval.high) == pytest.approx((0.0524, 0.3339), abs=5e-5)
    back = unpaired_difference(48, 80, 56, 70)
    assert (back.low, back.high) == pytest.approx((-interval.high, -interval.low))


def test_non_inferiority_of_two_independent_rates_is_the_interval_turned_round() -> None:
    low, high = unpaired_difference(56, 70, 48, 80).low, unpaired_difference(56, 70, 48, 80).high
    assert non_inferior_unpaired_p(48, 80, 56, 70, high) == pytest.approx(0.025, abs=1e-6)  # the other way round, its lower end is -high
    assert non_inferior_unpaired_p(48, 80, 56, 70, -low + 0.4) < 0.025 < non_inferior_unpaired_p(48, 80, 56, 70, 0.2) < 0.975
    assert non_inferior_unpaired_p(40, 80, 40, 80, 1e-9) == pytest.approx(0.5, abs=1e-6)
    assert non_inferior_unpaired_p(2000, 2000, 20, 2000, 0.02) < 1e-14 < 0.999 < non_inferior_unpaired_p(20, 2000, 2000, 2000, 0.02)


def test_fisher_by_hand() -> None:
    assert fisher_p(3, 3, 0, 3) == pytest.approx(2 / comb(6, 3))
    assert fisher_p(2, 4, 2, 4) == 1.0


def test_non_inferiority_by_hand_and_against_the_interval() -> None:
    # No discordant pair: q = margin, so the score is sqrt(n m / (1 - m)).
    assert non_inferior_p(Paired(40, 0, 0, 10), 0.1) == pytest.approx(norm.sf(sqrt(50 * 0.1 / 0.9)))
    pairs = Paired(80, 4, 9, 7)
    low = paired_difference(pairs, 0.95).low
    assert non_inferior_p(pairs, -low) == pytest.approx(0.025)
    assert non_inferior_p(pairs, -low + 0.02) < 0.025 < non_inferior_p(pairs, -low - 0.02)
    with pytest.raises(ValueError, match="margin"):
        non_inferior_p(pairs, 0.0)


def test_bootstrap_against_every_possible_draw() -> None:
    # Two tasks of 3 and 2 pairs: all 3^3 * 2^2 equally likely draws, by hand.
    strata = [Paired(1, 1, 1, 0), Paired(0, 1, 0, 1)]
    every = sorted(sum(a) / 3 / 2 + sum(b) / 2 / 2 for a in product((0, 1, -1), repeat=3) for b in product((1, 0), repeat=2))
    for level in (0.5, 0.9):
        interval = paired_bootstrap(strata, level, draws=200_000, seed=1)
        at = [every[round(q * (len(every) - 1))] for q in ((1 - level) / 2, (1 + level) / 2)]
        assert (interval.low, interval.high) == pytest.approx(at, abs=1e-9)


def test_bootstrap_is_seeded_stratified_and_weighs_tasks_alike() -> None:
    strata = [Paired(40, 10, 0, 0), Paired(0, 0, 0, 5)]  # a task of 5 pairs counts as much as one of 50
    once, again, other = (paired_bootstrap(strata, draws=51, seed=s) for s in (3, 3, 5))
    assert once == again and once != other
    assert once.low < 0.1 < once.high  # the mean of 0.2 and 0.0; pooled it would be 10/55
    assert paired_bootstrap([Paired(5, 0, 5, 0)] * 2).high <= 0
    # Strata that differ only between each other have no variance within: the interval is a point.
    certain = paired_bootstrap([Paired(0, 10, 0, 0), Paired(0, 0, 10, 0)])
    assert (certain.low, certain.high) == (0.0, 0.0)


def test_difference_of_differences_against_every_draw() -> None:
    where, elsewhere = [Paired(0, 0, 2, 1)], [Paired(1, 1, 0, 0)]  # loses two of three there, gains one of two here
    every = sorted(sum(a) / 3 - sum(b) / 2 for a in product((-1, -1, 0), repeat=3) for b in product((1, 0), repeat=2))
    interval = contrast_bootstrap(where, elsewhere, 0.5, draws=200_000, seed=2)
    at = [every[round(q * (len(every) - 1))] for q in (0.25, 0.75)]
    assert (interval.low, interval.high) == pytest.approx(at, abs=1e-9)
    assert contrast_bootstrap([Paired(0, 5, 0, 0)], [Paired(0, 0, 5, 0)]).low == 2.0


def test_difference_of_differences_keeps_its_width_without_discordant_pairs() -> None:
    same = Paired(100, 0, 0, 0)
    assert contrast_bootstrap([same], [same]).high == 0.0
    bound = paired_difference(same).high  # z^2 / (n + z^2) = 0.037 on both sides
    found = contrast_difference(same, same)
    assert (found.low, found.high, found.method) == (pytest.approx(-sqrt(2) * bound), pytest.approx(sqrt(2) * bound), "mover")
    one, two = Paired(70, 2, 12, 16), Paired(80, 5, 3, 12)
    (there, back), (a, b) = (contrast_difference(*pair) for pair in ((one, two), (two, one))), (paired_difference(x) for x in (one, two))
    assert (there.low, there.high) == (pytest.approx(-back.high), pytest.approx(-back.low))
    assert there.low == pytest.approx(-0.12 - sqrt((-0.1 - a.low) ** 2 + (b.high - 0.02) ** 2))
    assert contrast_difference(Paired(0, 5, 0, 0), Paired(0, 0, 5, 0)).high == 2.0


def test_power_against_every_table() -> None:
    n, discordant, d = 9, 0.6, 0.4
    b_rate, c_rate = (discordant + d) / 2, (discordant - d) / 2
    power = sum(
        comb(n, b) * comb(n - b, c) * b_rate**b * c_rate**c * (1 - discordant) ** (n - b - c)
        for b in range(n + 1)
        for c in range(n + 1 - b)
        if mcnemar_exact(Paired(n - b - c, b, c, 0)) <= 0.05
    )
    assert mcnemar_power(n, discordant, d) == pytest.approx(power)
    assert mcnemar_power(n, discordant, -d) == pytest.approx(power)


def test_smallest_paired_difference() -> None:
    # Without other discordance d of n pairs differ, all one way, and six are needed (2 / 2^6 < 0.05): P(Binomial(n, d) >= 6) = 0.8.
    d = detectable_paired(200, 0.0)
    assert d is not None and binom.sf(5, 200, d) == pytest.approx(0.8, abs=1e-4)
    more = detectable_paired(200, 0.3)
    assert more is not None and more > d and mcnemar_power(200, 0.3, more) == pytest.approx(0.8, abs=1e-4)
    assert detectable_paired(5, 0.5) is None


def test_smallest_unpaired_difference() -> None:
    # Fleiss, Levin & Paik 2003: n = (z sqrt(2 m (1-m)) + z' sqrt(p (1-p) + q (1-q)))^2 / d^2; 0.7 against 0.5 needs 93 an arm.
    assert detectable_unpaired(0.5, 93, 93) == pytest.approx(0.2, abs=2e-3)
    assert detectable_unpaired(1.0, 1, 1) is None
    rng, p, n = np.random.default_rng(0), 0.9, 500
    d = detectable_unpaired(p, n, n)
    assert d is not None
    x, y = rng.binomial(n, p, 20_000) / n, rng.binomial(n, p - d, 20_000) / n
    m = (x + y) / 2
    assert np.mean(np.abs(x - y) / np.sqrt(2 * m * (1 - m) / n) > norm.ppf(0.975)) == pytest.approx(0.8, abs=0.02)


@pytest.mark.parametrize(("n", "discordant"), [(200, 0.0), (200, 0.1), (800, 0.05)])
def test_smallest_paired_margin(n: int, discordant: float) -> None:
    """Chance that the lower end of Tango's interval lies above -margin, over all counts that equal rates may give."""
    margin, chance = detectable_margin_paired(n, discordant), 0.0
    counts = [m for m in range(n + 1) if binom.pmf(m, n, discordant) > 1e-3]
    for m in counts:
        shown = [b for b in range(m + 1) if tango_score(Paired(n - m, b, m - b, 0), -margin) >= norm.ppf(0.975) - 1e-6]
        chance += float(binom.pmf(m, n, discordant) * sum(binom.pmf(b, m, 0.5) for b in shown))
    assert chance == pytest.approx(1.0 if discordant == 0 else 0.8, abs=0.06)


def test_smallest_unpaired_margin() -> None:
    rng, p, n = np.random.default_rng(0), 0.9, 500
    margin, (x, y) = detectable_margin_unpaired(p, n, n), rng.binomial(n, p, (2, 4000))
    shown = [unpaired_difference(int(k), n, int(k0), n).low > -margin for k, k0 in zip(x, y, strict=True)]
    assert np.mean(shown) == pytest.approx(0.8, abs=0.03)


def test_p_at_a_difference_agrees_with_the_interval() -> None:
    pairs = Paired(30, 2, 9, 9)
    interval = paired_difference(pairs)
    assert tango_p(pairs, interval.low) == pytest.approx(0.05) == tango_p(pairs, interval.high)
    z = turned_round(lambda level: paired_difference(pairs, level), pairs.difference, interval.low)
    assert 2 * norm.sf(z) == pytest.approx(0.05)


def test_squaring_and_adding_by_hand() -> None:
    # d 0.5 in (0.2, 0.6), 0.1 in (0, 0.5): 0.4 - sqrt(0.3^2 + 0.4^2) and 0.4 + sqrt(0.1^2 + 0.1^2)
    found = apart(0.5, Interval(0.2, 0.6, 0.95, ""), 0.1, Interval(0.0, 0.5, 0.95, ""), "x")
    assert (found.low, found.high) == pytest.approx((-0.1, 0.4 + 0.1 * sqrt(2)))


def test_training_seeds_by_hand() -> None:
    # 0.8, 0.9, 1.0: between = 0.1, t_2(0.975) = 4.302653; own variances 0.0016, 0.0009, 0 leave 0.01 - 0.0025/3.
    seeds = over_seeds([0.8, 0.9, 1.0], [0.0016, 0.0009, 0.0])
    assert (seeds.mean, seeds.between) == pytest.approx((0.9, 0.1))
    assert seeds.training == pytest.approx(sqrt(0.01 - 0.0025 / 3))
    assert (seeds.interval.low, seeds.interval.high) == pytest.approx((0.9 - 4.302653 * 0.1 / sqrt(3), 0.9 + 4.302653 * 0.1 / sqrt(3)))
    assert over_seeds([0.5, 0.51], [0.01, 0.01]).training == 0.0
    # t = (0.9 - 0.7) sqrt(3) / 0.1; on two degrees of freedom the two-sided p is 1 - t / sqrt(2 + t^2).
    t = (0.9 - 0.7) * sqrt(3) / 0.1
    assert (seeds.p(0.7), seeds.p(0.7, one_sided=True)) == pytest.approx((1 - t / sqrt(2 + t * t), (1 - t / sqrt(2 + t * t)) / 2))
    agreed = over_seeds([0.0, 0.0], [0.0, 0.0])
    assert (agreed.p(), agreed.p(-0.02), agreed.p(-0.02, one_sided=True), agreed.p(0.02, one_sided=True)) == (1.0, 0.0, 0.0, 1.0)
    with pytest.raises(ValueError, match="two training seeds"):
        over_seeds([0.5], [0.01])


def test_one_task_can_be_all_of_a_difference() -> None:
    """27 states of one task of sixteen, all lost: clear for these tasks (2 / 2^27), and one coin for tasks of their kind."""
    strata = [Paired(50, 0, 0, 0)] * 15 + [Paired(0, 0, 27, 23)]
    found = over_tasks(strata)
    assert (found.better, found.worse, found.count, found.p) == (0, 1, 16, 1.0)
    assert mcnemar_exact(sum(strata[1:], strata[0])) == pytest.approx(2 / 2**27)


@pytest.mark.parametrize("nets", [[], [0, 0], [3], [-5, -2, -1], [4, 4, -1, 0], [1] * 6, [7, -3, 2, 2, -1, 9, -4]])
def test_sign_flips_against_all_of_them(nets: list[int]) -> None:
    flips = [abs(sum(s * a for s, a in zip(signs, nets, strict=True))) for signs in product((1, -1), repeat=len(nets))]
    assert sign_flip_p(nets) == pytest.approx(sum(found >= abs(sum(nets)) for found in flips) / len(flips))


def test_six_tasks_are_the_fewest_that_sign_flips_can_call() -> None:
    assert sign_flip_p([1] * 5) == 2 / 2**5 > 0.05 > sign_flip_p([50] * 6) == 2 / 2**6
