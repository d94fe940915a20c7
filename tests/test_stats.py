"""Intervals and tests, against scipy, tables and cases by hand; false alarms, by simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from common.best import Against, against_best
from common.stats import (
    Estimate,
    MeanInterval,
    SignedRank,
    combine_p,
    evidence_interval,
    holm,
    least_difference,
    mcnemar,
    mcnemar_over_seeds,
    mean_interval,
    median_interval,
    paired_t,
    seeds_needed,
    superiority,
    t_tests,
    wilcoxon,
)


def test_a_t_interval_by_hand() -> None:
    found = mean_interval([1.0, 2.0, 3.0])
    half = 4.302652729911275 / math.sqrt(3)  # t(0.975, 2), sd 1
    assert (found.n, found.mean, found.sd, found.method) == (3, 2.0, 1.0, "t")
    assert found.low == pytest.approx(2 - half)
    assert found.high == pytest.approx(2 + half)
    assert mean_interval([1.0, 2.0, 3.0], level=0.9).high == pytest.approx(2 + 2.919985580355516 / math.sqrt(3))


def test_what_too_few_values_cannot_tell_is_none() -> None:
    assert mean_interval([]) == mean_interval([math.nan]) == MeanInterval(0)
    assert mean_interval([0.5, math.nan]) == MeanInterval(1, 0.5)


@pytest.mark.parametrize("n", [2, 3, 30])
def test_equal_values_have_an_interval_without_width(n: int) -> None:
    assert mean_interval([0.1] * n) == MeanInterval(n, 0.1, 0.0, 0.1, 0.1, "constant")


def test_few_equal_values_are_no_evidence() -> None:
    rounded = [0.98 - 0.975, 0.97 - 0.965, 0.96 - 0.955, 0.95 - 0.945, 0.94 - 0.935, 0.93 - 0.925]  # all 0.005
    assert evidence_interval(rounded[:5]) == MeanInterval(5, 0.005, 0.0)
    assert evidence_interval([*rounded[:5], math.nan]).low is None
    assert evidence_interval(rounded) == MeanInterval(6, 0.005, 0.0, 0.005, 0.005, "constant")  # sign test: 0.031
    assert evidence_interval(rounded, level=0.98).low is None
    assert evidence_interval([1.0, 2.0, 3.0]) == mean_interval([1.0, 2.0, 3.0])


def test_many_values_are_bootstrapped_the_same_way_each_time() -> None:
    x = np.random.default_rng(5).exponential(size=40)
    found = mean_interval(x)
    assert found == mean_interval(x) and found.method == "bca"
    assert mean_interval(x[:19]).method == "t" and mean_interval(x[:20]).method == "bca"
    normal = 1.96 * x.std(ddof=1) / math.sqrt(40)
    assert found.low == pytest.approx(x.mean() - normal, abs=0.12)
    assert found.high - x.mean() > x.mean() - found.low  # skewed to the right, as the data are


def test_one_outlier_among_equals_still_gives_numbers() -> None:
    found = mean_interval([0.9] * 29 + [0.8])
    assert found.low is not None and found.high is not None
    assert 0.8 < found.low < found.high <= 0.9


def test_t_holds_the_mean_as_often_as_it_says_where_resampling_cannot() -> None:
    draws = np.random.default_rng(11).normal(size=(2000, 3))
    intervals = [mean_interval(row) for row in draws]
    held = np.mean([it.low <= 0 <= it.high for it in intervals])  # type: ignore[operator]
    within_range = np.mean((draws.min(axis=1) <= 0) & (draws.max(axis=1) >= 0))
    assert held == pytest.approx(0.95, abs=0.02)
    assert within_range == pytest.approx(0.75, abs=0.03)  # the most that any resampled mean could hold


@given(st.lists(st.floats(0, 1, allow_subnormal=False), min_size=2, max_size=19))
def test_the_interval_lies_in_its_bounds_around_the_mean(values: list[float]) -> None:
    found = mean_interval(values, bounds=(0, 1))
    assert found.low is not None and found.high is not None and found.mean is not None
    assert 0 <= found.low <= found.mean + 1e-12 and found.mean - 1e-12 <= found.high <= 1


def test_least_difference_by_hand() -> None:
    assert least_difference(0.01, 3) == pytest.approx(4.302652729911275 * math.sqrt(2 / 3) * 0.01)


# Paired tests


def test_paired_t_is_scipys() -> None:
    for n in (2, 5, 40):
        a, b = np.random.default_rng(n).normal(size=(2, n))
        assert paired_t(a - b) == pytest.approx(float(stats.ttest_rel(a, b).pvalue), rel=1e-12)
    assert paired_t([1.0, 2.0, math.nan, 3.0]) == pytest.approx(0.0741799002274, abs=1e-12)  # t = 2 sqrt(3), 2 df


@pytest.mark.filterwarnings("error")
def test_equal_and_constant_differences_are_not_infinite_evidence() -> None:
    assert paired_t([0.0] * 10) == 1.0 and wilcoxon([0.0] * 10) == SignedRank(1.0, 1.0)
    assert paired_t([]) is None and paired_t([0.1]) is None
    noisy = [0.98 - 0.975, 0.97 - 0.965, 0.96 - 0.955, 0.95 - 0.945, 0.94 - 0.935]  # equal but for rounding
    assert len(set(noisy)) > 1 and paired_t(noisy) == 2.0**-4


def test_wilcoxon_is_exact_and_says_the_least_it_can_give() -> None:
    assert wilcoxon([1.0, 2.0, 3.0, 4.0, 5.0]) == SignedRank(0.0625, 0.0625)
    # ranks 1 2 3 4 with - on 1: sums of 1 or less in 2 of 16 ways, two-sided 4/16; the 0 does not count
    assert wilcoxon([-0.1, 0.2, 0.3, 0.4, 0.0]) == SignedRank(0.25, 0.125)
    # tied: |d| = 1 1 1, ranks 2 2 2, one negative: W- of 2 or less in 4 of 8 ways
    assert wilcoxon([1.0, 1.0, -1.0]).p == 1.0
    x = np.random.default_rng(0).normal(0.3, size=20)
    assert wilcoxon(x).p == pytest.approx(float(stats.wilcoxon(x, method="exact").pvalue), rel=1e-12)


def test_superiority_counts_ties_half_with_clopper_and_pearsons_interval() -> None:
    found = superiority([1, 2, 3, 1, 1, 1, 1, -1, -2, -3])
    exact = stats.binomtest(7, 10).proportion_ci(method="exact")
    assert (found.n, found.value) == (10, 0.7)
    assert (found.low, found.high) == pytest.approx((exact.low, exact.high), rel=1e-9)
    assert superiority([0, 0, 0, 1]).value == 0.625 and superiority([1, 1]).high == 1.0
    assert superiority([-1, -1]).low == 0.0 and superiority([math.nan]).n == 0


def test_superiority_holds_the_truth_with_ties() -> None:
    draws = np.random.default_rng(2).choice([-1, 0, 1], p=[0.1, 0.5, 0.4], size=(2000, 12))  # truly 0.65
    held = [it.low <= 0.65 <= it.high for it in map(superiority, draws)]  # type: ignore[operator]
    assert 0.95 <= np.mean(held) < 1


def test_the_median_interval_is_the_sign_tests() -> None:
    # of 10 values, the 2nd and 9th: 1 - 2 (1 + 10) / 1024
    found = median_interval([10, 1, 9, 2, 8, 3, 7, 4, 6, 5])
    assert (found.value, found.low, found.high, found.level) == (5.5, 2, 9, pytest.approx(1 - 22 / 1024))
    assert median_interval([1, 2, 9]) == Estimate(3, 2.0, 1.0, 9.0, 0.75)
    assert median_interval(range(5)).level == 0.9375 and median_interval(range(6)).level == 0.96875
    assert median_interval([4.0]) == Estimate(1, 4.0) and median_interval([]) == Estimate(0)


def test_the_median_interval_holds_the_median_as_often_as_it_says() -> None:
    draws = np.random.default_rng(3).exponential(size=(3000, 10))
    held = np.mean([it.low <= math.log(2) <= it.high for it in map(median_interval, draws)])  # type: ignore[operator]
    assert held == pytest.approx(1 - 22 / 1024, abs=0.01)


def test_mcnemar_is_the_binomial_test() -> None:
    for b, c in ((10, 2), (0, 5), (7, 7), (120, 90)):
        assert mcnemar(b, c) == pytest.approx(stats.binomtest(b, b + c, alternative="greater").pvalue, rel=1e-9)
        favored, p = mcnemar_over_seeds([(b, c)])
        assert p == pytest.approx(stats.binomtest(b, b + c).pvalue, rel=1e-9) and favored == (b > c)
    assert mcnemar(0, 0) == 1.0 and mcnemar(5, 0) == 0.03125 and mcnemar_over_seeds([(0, 0)]) == (False, 1.0)


def test_a_seed_that_the_other_wins_is_no_evidence() -> None:
    favored, p = mcnemar_over_seeds([(300, 200), (310, 205), (100, 400)])
    assert favored and p == pytest.approx(2 * mcnemar(300, 200) * 3 / 2)
    assert mcnemar_over_seeds([(200, 300), (205, 310), (400, 100)]) == (False, p)
    for split in ([(300, 200), (200, 300)], [(300, 200), (100, 400), (310, 205), (200, 300)]):
        assert mcnemar_over_seeds(split)[1] == 1.0, "no more than half of the seeds are of one mind"


def test_combined_p_values_hold_where_tests_overlap_and_sums_of_counts_do_not() -> None:
    assert combine_p([0.01]) == 0.01 and combine_p([0.5, 0.01, 0.02]) == pytest.approx(0.02 * 3 / 2)
    assert combine_p([0.01, 0.9]) == 0.9 and combine_p([0.04, 0.03, 0.02, 0.9]) == pytest.approx(0.04 * 4 / 3)
    rng = np.random.default_rng(4)
    flat = added = 0
    for _ in range(1000):  # the same examples tested ten times over, the extreme of overlapping test sets
        b = int(rng.binomial(60, 0.5))
        flat += mcnemar_over_seeds([(b, 60 - b)] * 10)[1] < 0.05
        added += mcnemar_over_seeds([(10 * b, 10 * (60 - b))])[1] < 0.05
    assert flat / 1000 <= 0.05 and added / 1000 > 0.3


def test_holm_by_hand_and_by_statsmodels() -> None:
    assert holm([0.01, math.nan, 0.04, 0.03]) == pytest.approx([0.03, math.nan, 0.06, 0.06], nan_ok=True)
    assert holm([]).size == 0 and holm([0.9, 0.8]).tolist() == [1.0, 1.0]
    from statsmodels.stats.multitest import multipletests

    ps = np.random.default_rng(6).uniform(size=30) ** 3
    assert holm(ps) == pytest.approx(list(multipletests(ps, method="holm")[1]))


def test_seeds_needed_is_a_power_table() -> None:
    assert seeds_needed(1.0, 0.5) == 34  # Cohen (1988), table 2.4: d = 0.5, power 0.8, paired
    assert seeds_needed(1.0, 1.0) == 10 and seeds_needed(1.0, 0.5, power=0.9) == 44
    assert seeds_needed(0.0, 0.1) == 2 and seeds_needed(1.0, 1000.0) == 2
    with pytest.raises(ValueError):
        seeds_needed(1.0, 0.0)
    rng, n = np.random.default_rng(7), seeds_needed(0.2, 0.15)
    seen = [paired_t(row) < 0.05 for row in rng.normal(0.15, 0.2, size=(3000, n))]  # type: ignore[operator]
    assert 0.78 <= np.mean(seen) <= 0.86


# Which rows are told apart from the best


def accuracies(rng: np.random.Generator, kind: str, seeds: int, rows: int) -> NDArray[np.float64]:
    """Return scores without any true difference between rows; a seed's split moves all of them together."""
    level = 0.97 + 0.002 * rng.normal(size=(seeds, 1))
    if kind == "coarse":  # a test set of 360 examples, as digits has
        return rng.binomial(360, level, size=(seeds, rows)) / 360
    if kind == "uneven":
        return level + 0.001 * np.geomspace(0.2, 5, rows) * rng.normal(size=(seeds, rows))
    return level + 0.001 * rng.normal(size=(seeds, rows))


@pytest.mark.parametrize(
    ("kind", "seeds", "rows", "groups"),
    [("normal", 5, 6, 1), ("normal", 10, 4, 4), ("coarse", 5, 3, 1), ("coarse", 10, 12, 1), ("uneven", 5, 6, 2)],
)
def test_of_1000_tables_without_a_difference_at_most_5_percent_claim_one(
    kind: str, seeds: int, rows: int, groups: int
) -> None:
    rng = np.random.default_rng(8)
    claimed = naive = 0
    for _ in range(1000):
        tables = [accuracies(rng, kind, seeds, rows) for _ in range(groups)]
        found = against_best(tables)
        claimed += any(row.verdict == "told apart" for group in found for row in group)
        best = tables[0].mean(axis=0).argmax()
        others = np.delete(tables[0], best, axis=1)
        naive += bool((t_tests((tables[0][:, [best]] - others).round(12)) < 0.05).any())
    assert claimed / 1000 <= 0.05 + 2 * math.sqrt(0.05 * 0.95 / 1000)
    assert naive / 1000 > 0.1  # what testing the luckiest against each other row would claim


def test_of_1000_reports_without_a_difference_at_most_5_percent_claim_one() -> None:
    rng, claimed = np.random.default_rng(9), 0
    for _ in range(1000):  # 4 configurations, in each 3 scores that go together and 3 times with spikes
        scores = rng.normal(size=(10, 4, 1)) + 0.3 * rng.normal(size=(10, 4, 3))
        times = np.log(1 + 0.05 * rng.exponential(size=(10, 4, 3)) ** 3)
        again = np.log(1 + 0.05 * rng.exponential(size=(10, 4, 3)) ** 3)
        changes = np.concatenate([scores, times - again], axis=2).reshape(10, -1)
        claimed += bool((holm(t_tests(changes)) < 0.05).any())
    assert claimed / 1000 <= 0.05 + 2 * math.sqrt(0.05 * 0.95 / 1000)


def test_a_true_difference_is_found_and_equal_rows_count_once() -> None:
    rng = np.random.default_rng(10)
    scores = accuracies(rng, "normal", 10, 3)
    scores[:, 2] -= 0.01
    (found,) = against_best([scores])
    assert {row.verdict for row in found[:2]} == {"best", "not told apart"} and found[2].verdict == "told apart"
    (thrice,) = against_best([np.repeat(scores, 3, axis=1)])
    assert [row.p for row in thrice[::3]] == [row.p for row in found]
    assert thrice[8] == found[2] and [row.verdict for row in thrice].count("best") == 1


def test_rows_with_few_seeds_are_not_tested() -> None:
    scores = accuracies(np.random.default_rng(12), "normal", 6, 3)
    scores[2:, 2] = np.nan
    scores[:2, 2] = 1.0  # the highest mean, of two seeds
    (found,) = against_best([scores])
    assert found[2] == Against() and "best" in {row.verdict for row in found[:2]}
    assert against_best([scores[:4]]) == [[Against()] * 3] and against_best([scores[:, :1]]) == [[Against()]]
    scores[:, 2] = [np.nan, *scores[1:, 0] - np.linspace(0.4, 0.5, 5)]
    assert against_best([scores])[0][2].verdict == "told apart"
