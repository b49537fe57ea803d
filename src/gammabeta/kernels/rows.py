"""Batch norm of tables: rows of lanes, each a column, as the channels of (n, h, w, c) and the positions of (n, …) are.

The statistics are those of `runs`: block by block, the sum, then the squares of differences, joined by Chan's formula,
relative to the first block's mean, in float64. A block is so many rows of a panel of lanes as stay in a core's cache.

What belongs to 64 lanes lies together in one flat array, `state`, at constant places: with an array for each quantity
the compiler would have to check at run time which of them overlap, and would give up vectorizing (3 to 4 times slower).
"""

from math import isfinite

import numpy as np
from numba import njit

from gammabeta.kernels.storage import get, put, take

LANES = np.int64(64)
PANEL = np.int64(8)  # groups of lanes whose state, 20 kB, stays in the L1 cache
BLOCK = np.int64(2**14)
# What the statistics read last is still in the cache: the second sweep begins there. Going up row by row takes five
# times as long, since processors fetch ahead in one direction; blocks of this many values are long enough for them.
TURN = np.int64(2**17)
CENTER, MEAN, SQUARES, HERE, SUMS = np.arange(0, 320, 64)
STATE = np.int64(320)
_LEAST = np.int64(16)


@njit(nogil=True, cache=True)
def _sum(x, at, size, state, g):
    """Add x − center of a group of lanes to `here`."""
    for j in range(size):
        put(state, g + HERE + j, take(state, g + HERE + j) + (take(x, at + j) - take(state, g + CENTER + j)))


@njit(nogil=True, cache=True)
def _squares(x, at, size, state, g):
    """Add ((x − center) − here)² of a group of lanes to `sums`."""
    for j in range(size):
        d = (take(x, at + j) - take(state, g + CENTER + j)) - take(state, g + HERE + j)
        put(state, g + SUMS + j, take(state, g + SUMS + j) + d * d)


@njit(nogil=True, cache=True)
def _sum_four(x, at, lanes, state, g):
    """`_sum` of four rows: half the time, since the sums are read and written once."""
    b, c, d = at + lanes, at + 2 * lanes, at + 3 * lanes
    for j in range(LANES):
        m = take(state, g + CENTER + j)
        first = (take(x, at + j) - m) + (take(x, b + j) - m)
        second = (take(x, c + j) - m) + (take(x, d + j) - m)
        put(state, g + HERE + j, take(state, g + HERE + j) + (first + second))


@njit(nogil=True, cache=True)
def _squares_four(x, at, lanes, state, g):
    """`_squares` of four rows."""
    b, c, d = at + lanes, at + 2 * lanes, at + 3 * lanes
    for j in range(LANES):
        m, h = take(state, g + CENTER + j), take(state, g + HERE + j)
        p, q = (take(x, at + j) - m) - h, (take(x, b + j) - m) - h
        r, s = (take(x, c + j) - m) - h, (take(x, d + j) - m) - h
        put(state, g + SUMS + j, take(state, g + SUMS + j) + ((p * p + q * q) + (r * r + s * s)))


@njit(nogil=True, cache=True)
def _center(state, g, size):
    """The first block's mean becomes the center."""
    for j in range(g, g + LANES):
        mean = take(state, j + HERE) / size
        put(state, j + CENTER, mean if isfinite(mean) else 0.0)
        put(state, j + HERE, 0.0)


@njit(nogil=True, cache=True)
def _join(state, g, count, size):
    """A block of `size` rows joins the `count` before it."""
    part, both = size / (count + size), count * size / (count + size)
    for j in range(g, g + LANES):
        apart = take(state, j + HERE) - take(state, j + MEAN)
        put(state, j + MEAN, take(state, j + MEAN) + apart * part)
        put(state, j + SQUARES, take(state, j + SQUARES) + (take(state, j + SUMS) + apart * apart * both))
        put(state, j + HERE, 0.0)
        put(state, j + SUMS, 0.0)


@njit(nogil=True, cache=True)
def _divide(state, g, size):
    for j in range(g, g + LANES):
        put(state, j + HERE, take(state, j + HERE) / size)


@njit(nogil=True, cache=True)
def moments(x, lanes, first, last, start, stop, state):
    """The statistics of the groups of lanes start to stop over rows first to last. state: zeros, `STATE` a group.

    The mean is CENTER + MEAN, Σ(x − mean)² is SQUARES.
    """
    for left in range(start, stop, PANEL):
        right, count = min(left + PANEL, stop), 0.0
        height = max(_LEAST, BLOCK // ((right - left) * LANES))
        for top in range(first, last, height):
            bottom = min(top + height, last)
            size = float(bottom - top)
            for again in range(2 if count == 0 else 1):
                for row in range(top, bottom, 4):
                    for group in range(left, right):
                        at, width = row * lanes + group * LANES, min(LANES, lanes - group * LANES)
                        if row + 4 <= bottom and width == LANES:
                            _sum_four(x, at, lanes, state, group * STATE)
                        else:
                            for one in range(min(4, bottom - row)):
                                _sum(x, at + one * lanes, width, state, group * STATE)
                if count == 0 and again == 0:
                    for group in range(left, right):
                        _center(state, group * STATE, size)
            for group in range(left, right):
                _divide(state, group * STATE, size)
            for row in range(top, bottom, 4):
                for group in range(left, right):
                    at, width = row * lanes + group * LANES, min(LANES, lanes - group * LANES)
                    if row + 4 <= bottom and width == LANES:
                        _squares_four(x, at, lanes, state, group * STATE)
                    else:
                        for one in range(min(4, bottom - row)):
                            _squares(x, at + one * lanes, width, state, group * STATE)
            for group in range(left, right):
                _join(state, group * STATE, count, size)
            count += size


@njit(nogil=True, cache=True)
def _apply(x, y, at, size, state, g):
    """((x − mean) − rest) · scale + shift."""
    for j in range(size):
        d = (take(x, at + j) - get(state, g + j)) - get(state, g + 64 + j)
        put(y, at + j, d * get(state, g + 128 + j) + get(state, g + 192 + j))


@njit(nogil=True, cache=True)
def apply(x, y, lanes, first, last, start, stop, state):
    """Rows first to last of the groups start to stop, block by block from the last. state: mean, rest, scale, shift."""
    height = max(_LEAST, TURN // lanes)
    for block in range((last - first - 1) // height, -1, -1):
        for row in range(first + block * height, min(first + (block + 1) * height, last)):
            for group in range(start, stop):
                at = row * lanes + group * LANES
                if (group + 1) * LANES <= lanes:
                    _apply(x, y, at, LANES, state, group * STATE)
                else:
                    _apply(x, y, at, lanes - group * LANES, state, group * STATE)


@njit(nogil=True, cache=True)
def _products(x, dy, at, size, state, g):
    """Add dy and dy · ((x − mean) − rest)."""
    for j in range(size):
        slope = take(dy, at + j)
        d = (take(x, at + j) - take(state, g + j)) - take(state, g + 64 + j)
        put(state, g + 192 + j, take(state, g + 192 + j) + slope)
        put(state, g + 256 + j, take(state, g + 256 + j) + slope * d)


@njit(nogil=True, cache=True)
def products(x, dy, lanes, first, last, start, stop, state):
    """Rows first to last of the groups start to stop. state: mean, rest, nothing; then Σdy and Σdy · (x − mean)."""
    for row in range(first, last):
        for group in range(start, stop):
            at = row * lanes + group * LANES
            if (group + 1) * LANES <= lanes:
                _products(x, dy, at, LANES, state, group * STATE)
            else:
                _products(x, dy, at, lanes - group * LANES, state, group * STATE)


@njit(nogil=True, cache=True)
def _slope(x, dy, dx, at, size, state, g):
    """dy · a + (((x − mean) − rest) · b + c)."""
    for j in range(size):
        d = (take(x, at + j) - get(state, g + j)) - get(state, g + 64 + j)
        d = d * get(state, g + 192 + j) + get(state, g + 256 + j)
        put(dx, at + j, take(dy, at + j) * get(state, g + 128 + j) + d)


@njit(nogil=True, cache=True)
def slope(x, dy, dx, lanes, first, last, start, stop, state):
    """Rows first to last of the groups start to stop, block by block from the last. state: mean, rest, a, b and c."""
    height = max(_LEAST, TURN // lanes)
    for block in range((last - first - 1) // height, -1, -1):
        for row in range(first + block * height, min(first + (block + 1) * height, last)):
            for group in range(start, stop):
                at = row * lanes + group * LANES
                if (group + 1) * LANES <= lanes:
                    _slope(x, dy, dx, at, LANES, state, group * STATE)
                else:
                    _slope(x, dy, dx, at, lanes - group * LANES, state, group * STATE)
