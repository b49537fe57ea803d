"""States of parts of the data become the state of all: exactly, as if one layer had seen everything."""

from fractions import Fraction

import numpy as np
import pytest

import gammabeta as gb
from gammabeta.errors import StateError
from gammabeta.norm.state import BatchNormState


def state(x, convention, gamma=None):
    """What a layer has that measured x."""
    found = gb.Moments.of(x, axis=0)
    return BatchNormState(gamma, None, found.mean, found.var * len(x) / (len(x) - convention.unbiased), 1, convention)


@pytest.mark.parametrize("convention", [gb.TORCH, gb.KERAS])
def test_clients_together_are_all_data(convention):
    """The statistics given are rounded once each: the pooled ones are within a few roundings of all data's."""
    random = np.random.default_rng(0)
    parts = [random.normal(1e4 * k, 1 + k, (10 + 7 * k, 5)) for k in range(4)]
    states = [state(x, convention, np.full(5, float(k))) for k, x in enumerate(parts)]
    counts = [len(x) for x in parts]
    pooled, want = BatchNormState.pooled(states, counts), state(np.concatenate(parts), convention)
    np.testing.assert_allclose(pooled.mean, want.mean, rtol=4 * 2.0**-53)
    np.testing.assert_allclose(pooled.var, want.var, rtol=8 * 2.0**-53)
    np.testing.assert_array_equal(pooled.gamma, sum(k * n for k, n in enumerate(counts)) / sum(counts))
    assert pooled.beta is None and pooled.batches == 4 and pooled.convention == convention
    # In any order, and in no more than one rounding in any grouping of one.
    again = BatchNormState.pooled(states[::-1], counts[::-1])
    np.testing.assert_array_equal(again.var, pooled.var)
    alone = BatchNormState.pooled(states[:1], [3])
    np.testing.assert_array_equal(alone.var, states[0].var)


def test_it_is_rounded_once():
    random = np.random.default_rng(1)
    means, variances, counts = random.normal(1e8, 1, 3), random.uniform(1e-8, 1, 3), [3, 5, 9]
    parts = list(zip(counts, means, variances, strict=True))
    states = [BatchNormState(None, None, np.array(m), np.array(v), 0, gb.KERAS) for _, m, v in parts]
    mean = sum(n * Fraction(m) for n, m, _ in parts) / 17
    var = sum(n * (Fraction(v) + (Fraction(m) - mean) ** 2) for n, m, v in parts) / 17
    pooled = BatchNormState.pooled(states, counts)
    assert (pooled.mean, pooled.var) == (float(mean), float(var)) and pooled.mean.shape == ()


@pytest.mark.parametrize("convention", [gb.TORCH, gb.KERAS])
def test_it_is_the_sum_of_moments(convention):
    random, ddof, counts = np.random.default_rng(2), int(convention.unbiased), [2**53, 7, 1]
    states = [
        BatchNormState(random.normal(size=4), None, random.normal(1e6, 1, 4), random.uniform(0, 2, 4), k, convention)
        for k in range(3)
    ]
    pooled = BatchNormState.pooled(states, counts)
    for i in range(4):
        parts = [(n, Fraction(s.mean[i]), Fraction(s.var[i])) for n, s in zip(counts, states, strict=True)]
        mean = sum(n * m for n, m, _ in parts) / sum(counts)
        scatter = sum((n - ddof) * v + n * (m - mean) ** 2 for n, m, v in parts)  # one value says nothing of var
        assert pooled.mean[i] == float(mean)
        assert pooled.var[i] == float(scatter / (sum(counts) - ddof))
        assert pooled.gamma[i] == float(
            sum(n * Fraction(s.gamma[i]) for n, s in zip(counts, states, strict=True)) / sum(counts)
        )
    assert pooled.mean.flags.writeable and pooled.var.flags.writeable


@pytest.mark.parametrize(
    ("counts", "change", "message"),
    [
        ([3], {}, "as many counts, got 2 and 1"),
        ([3, 0], {}, "counts must be integers, 1 or more"),
        ([3, 2.5], {}, "counts must be integers"),
        ([3, 2**53 + 1], {}, "counts must be integers, 1 or more and up to 2\\^53"),
        ([3, 3], {"mean": np.zeros(4), "var": np.ones(4)}, "mean of state 1 has another shape"),
        ([3, 3], {"gamma": np.ones(5)}, "gamma of state 1 has another shape"),
        ([3, 3], {"mean": np.full(5, np.nan)}, "mean of state 1 is not"),
        ([3, 3], {"convention": gb.KERAS}, "states must follow one convention"),
    ],
)
def test_what_does_not_fit_is_refused(counts, change, message):
    whole = {"gamma": None, "beta": None, "mean": np.zeros(5), "var": np.ones(5), "batches": 1, "convention": gb.TORCH}
    with pytest.raises(StateError, match=message):
        BatchNormState.pooled([BatchNormState(**whole), BatchNormState(**{**whole, **change})], counts)


def test_nothing_and_a_single_value_are_refused():
    with pytest.raises(StateError, match="one state or more"):
        BatchNormState.pooled([], [])
    one = BatchNormState(None, None, np.zeros(2), np.ones(2), 1, gb.TORCH)
    with pytest.raises(StateError, match="must be of 2 values or more, got 1"):
        BatchNormState.pooled([one], [1])
