"""Every number here is checkable by hand or printed in the paper named beside it."""

from __future__ import annotations

import pytest
from scipy.stats import binom

from dtr.stats import Paired, clopper_pearson, mcnemar_exact, paired, paired_difference, wilson


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
