"""Moments of summaries: count, mean and variance, exactly as they are given."""

from fractions import Fraction

import numpy as np
import pytest

import gammabeta as gb

RANDOM = np.random.default_rng(5)


def exact(x):
    return [Fraction(float(v)) for v in np.ravel(x)]


@pytest.mark.parametrize("size", [1e-300, 1e-8, 1.0, 1e8, 1e150])
def test_what_is_given_comes_back_to_the_bit(size):
    count = RANDOM.uniform(0.1, 9, (2, 3))
    mean, var = RANDOM.normal(size=(2, 3)) * size, RANDOM.uniform(0, 1, (2, 3)) * size
    m = gb.Moments.from_statistics(count, mean, var)
    np.testing.assert_array_equal(m.count, count)
    np.testing.assert_array_equal(m.mean, mean)
    np.testing.assert_array_equal(m.var, var)
    assert m.shape == (2, 3)
    assert gb.Moments.from_json(m.to_json()) == m
    assert m + m - m == m


def test_sums_are_those_of_fractions():
    count, mean, var = RANDOM.uniform(0, 9, 5), RANDOM.normal(size=5), RANDOM.uniform(0, 9, 5)
    n, centers, spreads = exact(count), exact(mean), exact(var)
    whole = sum(n)
    middle = sum(w * c for w, c in zip(n, centers, strict=True)) / whole
    spread = sum(w * (v + (c - middle) ** 2) for w, c, v in zip(n, centers, spreads, strict=True)) / whole
    together = gb.Moments.from_statistics(count, mean, var).total()
    assert (float(together.mean), float(together.var)) == (float(middle), float(spread))


def test_a_samples_variance():
    m = gb.Moments.from_statistics(3, 2.0, 7.0, ddof=1)
    assert m.with_ddof(1).var == 7
    assert m == gb.Moments.from_statistics([3], [2], [14 / 4], ddof=-1)[0]
    assert gb.Moments.from_statistics(1, 2.0, 0.0, ddof=1) == gb.Moments.of([2.0])


def test_extremes_and_features_without_values():
    great, least = np.finfo(float).max, 5e-324
    m = gb.Moments.from_statistics(
        [3, 0, 2.5, least, 2**53], [great, np.nan, -least, great, 0], [great, 7, least, 0, 1]
    )
    np.testing.assert_array_equal(m.mean, [great, np.nan, -least, great, 0])
    np.testing.assert_array_equal(m.var, [great, np.nan, least, 0, 1])
    assert gb.Moments.from_statistics(np.zeros(0), 0, 0).shape == (0,)


@pytest.mark.parametrize(
    ("given", "error", "match"),
    [
        ((-1, 0, 0), gb.DataError, "count must be finite and 0 or more"),
        ((np.nan, 0, 0), gb.DataError, "count must be finite and 0 or more"),
        ((1, 0, -1), gb.DataError, "var 0 or more"),
        ((1, np.inf, 0), gb.DataError, "mean and var must be finite"),
        (("a", 0, 0), gb.KindError, "real numbers"),
        (([1, 2], [1, 2, 3], 0), gb.DataError, "broadcast"),
    ],
)
def test_what_no_data_has(given, error, match):
    with pytest.raises(error, match=match):
        gb.Moments.from_statistics(*given)
    with pytest.raises(gb.DataError, match="count must be above ddof=1"):
        gb.Moments.from_statistics(1, 0, 1, ddof=1)
