"""Exact sums over a window that slides down a column: the new number is added, the old one taken away."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gammabeta.kernels import binding, layout, limbs, one_column, rounding, thread_pool
from gammabeta.kernels.dtypes import Array
from gammabeta.kernels.limbs import Limbs

Floats = NDArray[np.float64]

BLOCK = 2**13  # windows at a time: their sums stay in a core's cache


_SLIDE = binding.by_type("rolling_slide", "dlL")


def _state(height: int, square_height: int) -> tuple[NDArray[np.int64], ...]:
    """The sums of no rows: limbs of x and x², specials, first and last row."""
    return tuple(np.zeros(size, np.int64) for size in (height, square_height, 3, 2))


def statistics(x: Array, window: int, step: int, ddof: float, omit: bool) -> list[Floats]:
    """Count, mean, variance and deviation of every window of every column, (windows, f). x: (n, f), n ≥ window."""
    layout.check(x)
    windows, features = (len(x) - window) // step + 1, x.shape[1]
    found = [np.empty((windows, features)) for _ in range(4)]
    ranges = thread_pool.ranges(windows, max(BLOCK, 4 * window // step))  # each sums up its first window anew

    def work(item: tuple[int, tuple[int, int]]) -> None:
        column, (first, last) = item
        own = x[first * step : (last - 1) * step + window, column]
        out = [part[first:last, column] for part in found]
        _range(own, window, step, ddof, omit, out)

    thread_pool.run(work, [(j, between) for j in range(features) for between in ranges])
    return found


def _range(x: Array, window: int, step: int, ddof: float, omit: bool, found: list[Floats]) -> None:
    """The same of one column, written to four vectors (windows,)."""
    values = one_column.whole(x) if one_column.is_wide(x) else one_column.doubles(x)
    low, high = one_column.span(x)
    bases, heights = zip(one_column.window(low, high), one_column.window(2 * low, 2 * high + 64), strict=True)
    slide = _SLIDE[binding.letter(values.dtype)]
    own_sums, own_squares, own_specials, reach = _state(*heights)
    state, windows = (own_sums, bases[0], own_squares, bases[1], own_specials, reach), len(found[0])
    for first in range(0, windows, BLOCK):
        last = min(first + BLOCK, windows)
        sums, squares = (np.zeros((height, last - first), np.int64) for height in heights)
        specials = np.zeros((3, last - first), np.int64)
        slide(values, window, step, first, *state, sums, squares, specials)
        total, square = limbs.canonical(bases[0], sums), limbs.canonical(bases[1], squares)
        statistics = _rounded(window - specials[0] * omit, total, square, specials, ddof, omit)
        for out, part in zip(found, statistics, strict=True):
            out[first:last] = part


def _rounded(
    counts: NDArray[np.int64], total: Limbs, square: Limbs, specials: NDArray[np.int64], ddof: float, omit: bool
) -> tuple[Any, ...]:
    """Count, mean, variance and deviation, put right where there are NaN and infinities."""
    mean, var, std = rounding.population(limbs.from_counts(counts), total, square, ddof)
    nans, plus, minus = specials > 0
    spoiled = nans & (not omit)
    mean[plus], mean[minus] = np.inf, -np.inf
    mean[plus & minus | spoiled] = np.nan
    var[plus | minus | spoiled] = std[plus | minus | spoiled] = np.nan
    return counts, mean, var, std
