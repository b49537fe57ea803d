"""Moments that grow: the sum of each array's own, to the bit."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from exact_cases import AXES, batches
from gammabeta import DataError, Moments
from gammabeta.kernels import add_tile, limbs, thread_pool
from gammabeta.kernels import moments as kernel
from gammabeta.statistics.accumulator import MomentsAccumulator

ENDS = [0, 0, 0, 1, -1, -1, 2**32 - 1, 2**32, -(2**32), 2**61, -(2**61)]
DIGITS = st.sampled_from(ENDS) | st.integers(-(2**61), 2**61)


@settings(deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.integers(1, 6),
    st.tuples(st.integers(1, 5), st.integers(1, 40), st.integers(1, 40), st.integers(1, 40)),
    st.sampled_from([np.float32, np.float64, np.float16, np.int16]),
    st.sampled_from([0.0, 1.0, 300.0]),
)
def test_running_is_the_sum(seed, count, shape, dtype, scale):
    total, parts = MomentsAccumulator(), []
    kind = dtype if np.dtype(dtype).kind == "f" and dtype != np.float16 else np.float32
    for x in batches(seed, count, shape, kind, scale):
        with np.errstate(over="ignore", invalid="ignore"):
            x = x if kind is dtype else np.nan_to_num(np.clip(x, -1000, 1000)).astype(dtype)
        total.add(x, AXES)
        parts.append(Moments.of(x, AXES))
        truth = sum(parts[1:], parts[0])
        n, (mean, var, _) = total.count, total.with_ddof(1)
        assert (n == truth.count).all() and (mean == truth.mean).all()
        np.testing.assert_array_equal(var, truth.with_ddof(1).var)
    assert total.moments() == truth


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("many", [1, 3, 8, 9, 33])
@pytest.mark.parametrize("length", [31, 32, 49, 63, 196, 256, 257, 784, 1024, 2047, 2048, 2304, 3137, 5000])
def test_runs_of_all_lengths(length, many, dtype):
    """Along, across and gathered; beside them what is no part of the runs and would show."""
    whole = np.random.default_rng(length).integers(-(2**20), 2**20, (many, 3, length + 2))
    whole[:, :, [0, -1]] = 2**22
    whole[0, 1, 5] = 0
    x = whole.astype(dtype)[:, :, 1:-1]
    found, n = Moments.of(x, (0, 2)), many * length
    for i in range(3):
        values = whole[:, i, 1:-1]
        total, squares = int(values.sum()), int((values**2).sum())
        assert found.count[i] == n and found.mean[i] == float(Fraction(total, n))
        assert found.var[i] == float(Fraction(n * squares - total**2, n**2))


def test_layouts_mix():
    """(n, c, h, w) in runs, the same with its channels last, and moments from elsewhere."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(4, 8, 30, 30)).astype(np.float32)
    last = np.ascontiguousarray(np.moveaxis(x, 1, 3))
    total = MomentsAccumulator()
    total.add(x, AXES)
    total.add(np.moveaxis(last, 3, 1), AXES)
    total.join(Moments.of(x[:1], AXES))
    truth = Moments.of(x, AXES)
    truth += truth + Moments.of(x[:1], AXES)
    assert total.moments() == truth
    assert (total.count == truth.count).all()
    for found, known in zip(total.with_ddof(0), (truth.mean, truth.var, truth.std), strict=True):
        np.testing.assert_array_equal(found, known)


@pytest.mark.parametrize("many", [1, 2])
def test_digits_are_carried(many):
    """Sums that grow past a digit, up and down, however often: the last row in use keeps the signs."""
    x = np.full((1, 64, 64, 64), -(2.0**40), np.float64)
    x[:, ::2] *= -1
    total = MomentsAccumulator()
    with thread_pool.limit(many):
        for _ in range(300):
            total.add(x, AXES)
    one = Moments.of(x, AXES)
    truth = one
    for bit in f"{300:b}"[1:]:
        truth = truth + truth + one if bit == "1" else truth + truth
    assert total.moments() == truth and (total.with_ddof(0).mean == one.mean).all()


def test_more_values_than_limbs_take_at_once(monkeypatch):
    monkeypatch.setattr(kernel, "ROWS", 2**7)
    x = np.random.default_rng(1).normal(size=(9, 3, 70, 80))
    total = MomentsAccumulator()
    total.add(x, AXES)
    found = Moments.of(x, AXES)
    monkeypatch.undo()
    assert total.moments() == found == Moments.of(x, AXES)


def test_what_is_not_finite():
    x = np.zeros((2, 4, 40, 40), np.float32)
    x[1, 2, 3, 4] = np.inf
    total = MomentsAccumulator()
    total.add(x[:1], AXES)
    assert total.finite
    total.add(x, AXES)
    assert not total.finite and total.moments().infinities.tolist() == [0, 0, 1, 0]
    total.join(Moments.of(x[:1], AXES))
    assert not total.finite
    x[0, 3, 0, 0] = np.nan
    with pytest.raises(DataError, match=r"no NaN.*feature \(3,\)"):
        total.add(x, AXES)


@given(st.lists(st.lists(DIGITS, min_size=3, max_size=3), min_size=1, max_size=5), st.integers(0, 2))
def test_carry_keeps_the_number(rows, first):
    """Digits of any size: the same numbers, in digits of 32 bits, their signs in the last row in use."""
    digits, touched = np.zeros((10, 3), np.int64), np.array([first, first + len(rows)])
    digits[first : first + len(rows)] = rows
    known = [sum(int(d) << (32 * i) for i, d in enumerate(column)) for column in digits.T]
    add_tile.carry(digits, touched, 0, 3)
    stop = int(touched[1])
    assert [sum(int(d) << (32 * i) for i, d in enumerate(column)) for column in digits.T] == known
    assert touched[0] == first and (digits[:first] == 0).all() and (digits[stop:] == 0).all()
    assert (digits[first : stop - 1] >= 0).all() and (digits[first : stop - 1] < 2**32).all()
    assert (abs(digits[stop - 1]) <= 2**31).all()


@settings(max_examples=1000)
@given(st.lists(st.lists(DIGITS, min_size=2, max_size=2), min_size=1, max_size=5), st.integers(0, 2))
@example([[0, 0], [0, -1]], 0)
def test_settled_is_canonical(rows, first):
    digits, touched = np.zeros((10, 2), np.int64), np.array([first, first + len(rows)])
    digits[first : first + len(rows)] = rows
    base, known = limbs.canonical(0, digits)
    add_tile.settle(digits, touched)
    start, stop = touched.tolist()
    if start == stop:
        assert not digits.any() and base == 0 and not known.any()
    else:
        assert start == base and (digits[start:stop] == known).all()
        digits[start:stop] = 0
        assert not digits.any()
