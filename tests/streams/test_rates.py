"""Wilson intervals are those of scipy and statsmodels, and rank few counts under many."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest
from statsmodels.stats.proportion import proportion_confint

from streams.rates import rate_of


@given(counts=st.integers(1, 5_000).flatmap(lambda total: st.tuples(st.integers(0, total), st.just(total))))
def test_intervals_are_those_of_scipy_and_statsmodels(counts: tuple[int, int]) -> None:
    found = rate_of(*counts)
    interval = binomtest(*counts).proportion_ci(method="wilson")
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high), abs=1e-6)
    assert (found.low, found.high) == pytest.approx(proportion_confint(*counts, method="wilson"), abs=1e-6)


def test_one_of_one_never_outranks_forty_of_a_hundred() -> None:
    assert rate_of(1, 1).low < rate_of(40, 100).low


def test_nothing_counted_says_nothing() -> None:
    assert rate_of(0, 0) == (0, 0, None, 0.0, 1.0)
