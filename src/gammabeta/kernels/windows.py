"""Exact sums over a window that slides down a column: the new number is added, the old one taken away."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gammabeta.kernels import columns, finish, layout, limbs, threads
from gammabeta.kernels.intrinsics import MINUS_INF, NAN, PLUS_INF, add_shifted, kernel, multiply_high, split
from gammabeta.kernels.layout import Array
from gammabeta.kernels.limbs import Limbs

Floats = NDArray[np.float64]

BLOCK = 2**13  # windows at a time: their sums stay in a core's cache
_LOW = np.int64(2**32 - 1)


@kernel
def _count(v, sums, sum_base, squares, square_base, specials, touched, sign):
    """Add one number to the limbs, (height, 1), or take it away; those that are not finite are counted."""
    if not np.isfinite(v):
        specials[NAN if np.isnan(v) else PLUS_INF if v > 0 else MINUS_INF] += sign
        return
    value, exponent, negative = split(v)
    add_shifted(sums, sum_base, touched, 0, value, exponent, negative == (sign > 0))
    add_shifted(squares, square_base, touched, 0, value * value, 2 * exponent, sign < 0)
    add_shifted(squares, square_base, touched, 0, multiply_high(value, value), 2 * exponent + 64, sign < 0)


@kernel
def _carried(digits, column, out):
    """Write digits, (height, 1), in canonical form to a column of `out`, (height, windows)."""
    carry, last = np.int64(0), len(digits) - 1
    for i in range(last):
        digit = digits[i, 0] + carry
        out[i, column] = digit & _LOW
        carry = digit >> 32
    out[last, column] = digits[last, 0] + carry


@kernel
def _slide(x, window, step, first, state, sum_base, square_base, out_sums, out_squares, out_specials):
    """The sums of windows first, first + 1, … of x, 1-d: window j is x[j·step : j·step + window].

    state: what `_state` makes, and the windows before have left; out_sums, out_squares: int64 (height, windows);
    out_specials: int64 (3, windows).
    """
    sums, squares, specials, touched, reach = state
    for j in range(out_specials.shape[1]):
        start = (first + j) * step
        for i in range(reach[0], min(start, reach[1])):
            _count(x[i], sums, sum_base, squares, square_base, specials, touched, -1)
        for i in range(max(reach[1], start), start + window):
            _count(x[i], sums, sum_base, squares, square_base, specials, touched, 1)
        reach[0], reach[1] = start, start + window
        _carried(sums, j, out_sums)
        _carried(squares, j, out_squares)
        for k in range(3):
            out_specials[k, j] = specials[k]


def _state(height: int, square_height: int) -> tuple[NDArray[np.int64], ...]:
    """The sums of no rows: limbs of x and x², (height, 1), specials, which limbs are in use, first and last row."""
    limbs_ = np.zeros((height, 1), np.int64), np.zeros((square_height, 1), np.int64)
    return *limbs_, np.zeros(3, np.int64), np.zeros(2, np.int64), np.zeros(2, np.int64)


def sliding(x: Array, window: int, step: int, ddof: float, omit: bool) -> list[Floats]:
    """Count, mean, variance and deviation of every window of every column, (windows, f). x: (n, f), n ≥ window."""
    layout.check(x)
    windows, features = (len(x) - window) // step + 1, x.shape[1]
    found = [np.empty((windows, features)) for _ in range(4)]
    ranges = threads.ranges(windows, max(BLOCK, 4 * window // step))  # each sums up its first window anew

    def work(item: tuple[int, tuple[int, int]]) -> None:
        column, (first, last) = item
        own = x[first * step : (last - 1) * step + window, column]
        out = [part[first:last, column] for part in found]
        _range(own, window, step, ddof, omit, out)

    threads.run(work, [(j, between) for j in range(features) for between in ranges])
    return found


def _range(x: Array, window: int, step: int, ddof: float, omit: bool, found: list[Floats]) -> None:
    """The same of one column, written to four vectors (windows,)."""
    values = columns.whole(x) if columns.is_wide(x) else columns.doubles(x)
    low, high = columns.span(x)
    bases, heights = zip(columns.window(low, high), columns.window(2 * low, 2 * high + 64), strict=True)
    state, windows = _state(*heights), len(found[0])
    for first in range(0, windows, BLOCK):
        last = min(first + BLOCK, windows)
        sums, squares = (np.zeros((height, last - first), np.int64) for height in heights)
        specials = np.zeros((3, last - first), np.int64)
        _slide(values, window, step, first, state, *bases, sums, squares, specials)
        total, square = limbs.canonical(bases[0], sums), limbs.canonical(bases[1], squares)
        statistics = _rounded(window - specials[0] * omit, total, square, specials, ddof, omit)
        for out, part in zip(found, statistics, strict=True):
            out[first:last] = part


def _rounded(
    counts: NDArray[np.int64], total: Limbs, square: Limbs, specials: NDArray[np.int64], ddof: float, omit: bool
) -> tuple[Any, ...]:
    """Count, mean, variance and deviation, put right where there are NaN and infinities."""
    mean, var, std = finish.population(limbs.from_counts(counts), total, square, ddof)
    nans, plus, minus = specials > 0
    spoiled = nans & (not omit)
    mean[plus], mean[minus] = np.inf, -np.inf
    mean[plus & minus | spoiled] = np.nan
    var[plus | minus | spoiled] = std[plus | minus | spoiled] = np.nan
    return counts, mean, var, std
