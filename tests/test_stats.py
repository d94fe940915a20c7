"""Intervals, against tables of Student's t and against scipy's own bootstrap."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.stats import MeanInterval, least_difference, mean_interval


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


@given(st.lists(st.floats(0, 1), min_size=2, max_size=19))
def test_the_interval_lies_in_its_bounds_around_the_mean(values: list[float]) -> None:
    found = mean_interval(values, bounds=(0, 1))
    assert found.low is not None and found.high is not None and found.mean is not None
    assert 0 <= found.low <= found.mean + 1e-12 and found.mean - 1e-12 <= found.high <= 1


def test_least_difference_by_hand() -> None:
    assert least_difference(0.01, 3) == pytest.approx(4.302652729911275 * math.sqrt(2 / 3) * 0.01)
