"""Exact sums over a window that slides down a column: the new number is added, the old one taken away."""

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from gammabeta.kernels import columns, finish, layout, limbs, threads
from gammabeta.kernels.intrinsics import multiply_high
from gammabeta.kernels.layout import Array
from gammabeta.kernels.singly import MINUS_INF, NAN, PLUS_INF, add_shifted, split

Floats = NDArray[np.float64]

BLOCK = 2**13  # windows at a time, or as many as four windows have rows: sums stay in a core's cache
_LOW = np.int64(2**32 - 1)


@njit(cache=True)
def _count(v, sums, sum_base, squares, square_base, specials, touched, sign):
    """Add one number to the limbs, (height, 1), or take it away; those that are not finite are counted."""
    if not np.isfinite(v):
        specials[NAN if np.isnan(v) else PLUS_INF if v > 0 else MINUS_INF] += sign
        return
    value, exponent, negative = split(v)
    add_shifted(sums, sum_base, touched, 0, value, exponent, negative == (sign > 0))
    add_shifted(squares, square_base, touched, 0, value * value, 2 * exponent, sign < 0)
    add_shifted(squares, square_base, touched, 0, multiply_high(value, value), 2 * exponent + 64, sign < 0)


@njit(cache=True)
def _carried(digits, column, out):
    """Write digits, (height, 1), in canonical form to a column of `out`, (height, windows)."""
    carry, last = np.int64(0), len(digits) - 1
    for i in range(last):
        digit = digits[i, 0] + carry
        out[i, column] = digit & _LOW
        carry = digit >> 32
    out[last, column] = digits[last, 0] + carry


@njit(nogil=True, cache=True)
def _slide(x, window, step, sums, sum_base, squares, square_base, out_sums, out_squares, out_specials):
    """The sums of each window of x, 1-d: window j is x[j·step : j·step + window].

    sums, squares: int64 (height, 1), zeros, and the bases of their first rows; out_sums, out_squares: int64 (height,
    windows); out_specials: int64 (3, windows).
    """
    specials, touched = np.zeros(3, np.int64), np.zeros(2, np.int64)
    start = stop = 0
    for j in range(out_specials.shape[1]):
        first = j * step
        for i in range(start, min(first, stop)):
            _count(x[i], sums, sum_base, squares, square_base, specials, touched, -1)
        for i in range(max(stop, first), first + window):
            _count(x[i], sums, sum_base, squares, square_base, specials, touched, 1)
        start, stop = first, first + window
        _carried(sums, j, out_sums)
        _carried(squares, j, out_squares)
        for k in range(3):
            out_specials[k, j] = specials[k]


def sliding(x: Array, window: int, step: int, ddof: float, omit: bool) -> list[Floats]:
    """Count, mean, variance and deviation of every window of every column, (windows, f). x: (n, f), n ≥ window."""
    layout.check(x)
    windows, features = (len(x) - window) // step + 1, x.shape[1]
    found = [np.empty((windows, features)) for _ in range(4)]
    block = max(BLOCK, 4 * window // step)
    items = [(j, at) for j in range(features) for at in range(0, windows, block)]

    def work(item: tuple[int, int]) -> None:
        column, first = item
        last = min(first + block, windows)
        own = x[first * step : (last - 1) * step + window, column]
        for out, values in zip(found, _block(own, window, step, last - first, ddof, omit), strict=True):
            out[first:last, column] = values

    threads.run(work, items)
    return found


def _block(x: Array, window: int, step: int, windows: int, ddof: float, omit: bool) -> tuple[Any, ...]:
    """The same of some windows of one column."""
    values = columns.whole(x) if columns.is_wide(x) else columns.doubles(x)
    low, high = columns.span(x)
    (sum_base, height), (square_base, high_height) = columns.window(low, high), columns.window(2 * low, 2 * high + 64)
    sums, squares = np.zeros((height, windows), np.int64), np.zeros((high_height, windows), np.int64)
    specials = np.zeros((3, windows), np.int64)
    state = np.zeros((height, 1), np.int64), sum_base, np.zeros((high_height, 1), np.int64), square_base
    _slide(values, window, step, *state, sums, squares, specials)
    nans, plus, minus = specials > 0
    counts = window - specials[0] * omit
    weight, total, square = limbs.from_counts(counts), limbs.canonical(sum_base, sums), (square_base, squares)
    mean, var, std = finish.population(weight, total, limbs.canonical(*square), ddof)
    mean[plus], mean[minus] = np.inf, -np.inf
    mean[plus & minus | nans & (not omit)] = np.nan
    odd = plus | minus | nans & (not omit)
    var[odd] = std[odd] = np.nan
    return counts, mean, var, std
