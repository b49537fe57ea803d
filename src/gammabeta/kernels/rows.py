"""Batch norm of tables: rows of lanes, each a column, as the channels of (n, h, w, c) and the positions of (n, …) are.

The statistics are those of `runs`, block of rows by block of rows, for lanes whose sums stay in the L1 cache.

What belongs to 64 lanes lies together in one flat array, `state`, at constant places: with an array for each quantity
the compiler would have to check at run time which of them overlap, and would give up vectorizing (3 to 4 times slower).
It is of the type that values are mapped in; what blocks are joined in, `joined`, is float64.
"""

from math import isfinite

import numpy as np
from numba import njit

from gammabeta.kernels.intrinsics import allocating, fma, prefetch
from gammabeta.kernels.storage import get, like, parameter, put, read, take

LANES = np.int64(64)
PANEL = np.int64(8)  # groups of lanes: of their state the statistics go round 12 kB
STATE = np.int64(192)  # a group's quantities in `state`: three
CENTER, SUM, PRODUCT = np.arange(0, 192, 64)
JOINED = np.int64(192)  # a group's quantities in `joined`: three
HIGH, LOW, SQUARES = np.arange(0, 192, 64)
# What the statistics read last is still in the cache: the second sweep begins there. Going up row by row takes five
# times as long, since processors fetch ahead in one direction; blocks of this many values are long enough for them.
TURN = np.int64(2**17)
_LEAST, _MOST = np.int64(16), np.int64(256)  # rows of a block
_AHEAD = 16  # rows fetched ahead: four rows at a time are no pattern that processors foresee, at a third of the speed
_PART, _ROWS = np.int64(512), np.int64(8)  # lanes of a wide table whose parameters stay in the L1 cache, for so long


@njit(nogil=True, cache=True, forceinline=True)
def _ask(x, at, size):
    """Fetch values ahead, which need not exist."""
    for j in range(0, size, 64 // x.itemsize):
        prefetch(x, at + j)


@njit(nogil=True, cache=True, forceinline=True)
def _add(x, at, lanes, height, size, state, g):
    """Add d = x − center of some rows of a group of lanes, and d².

    Inlined with a height of four it takes half the time, since the sums are read and written once.
    """
    for j in range(size):
        center, total, squares = get(state, g + CENTER + j), get(state, g + SUM + j), get(state, g + PRODUCT + j)
        for k in range(height):
            d = read(x, at + k * lanes + j) - center
            total += d
            squares = fma(d, d, squares)
        put(state, g + SUM + j, total)
        put(state, g + PRODUCT + j, squares)


@allocating
def _add_block(x, lanes, top, bottom, left, right, state):
    """`_add` of rows top to bottom of the groups left to right."""
    for row in range(top, bottom, 4):
        for group in range(left, right):
            at, width = row * lanes + group * LANES, min(LANES, lanes - group * LANES)
            if row + 4 <= bottom and width == LANES:
                for k in range(_AHEAD, _AHEAD + 4):
                    _ask(x, at + k * lanes, LANES)
                _add(x, at, lanes, 4, LANES, state, group * STATE)
            else:
                _add(x, at, lanes, min(np.int64(4), bottom - row), width, state, group * STATE)


@allocating
def _center(x, state, joined, g, h, size, first):
    """The center becomes the mean so far, that of the first block's sum if it is the first; the sums begin anew."""
    for j in range(LANES):
        if first:
            put(joined, h + HIGH + j, take(state, g + SUM + j) / size)
        mean = get(joined, h + HIGH + j)
        put(state, g + CENTER + j, like(x, mean if isfinite(mean) else 0.0))
        put(state, g + SUM + j, 0.0)
        put(state, g + PRODUCT + j, 0.0)


@allocating
def _join(state, joined, g, h, count, size):
    """A block of `size` rows joins the `count` before it."""
    part, both = size / (count + size), count * size / (count + size)
    for j in range(LANES):
        center, here = np.float64(get(state, g + CENTER + j)), np.float64(get(state, g + SUM + j)) / size
        before = (get(joined, h + HIGH + j) - center) + get(joined, h + LOW + j) if count else here
        within = np.float64(get(state, g + PRODUCT + j)) - size * here * here
        apart = here - before
        mean = before + apart * part
        high = center + mean
        put(joined, h + HIGH + j, high)
        put(joined, h + LOW + j, (center - high) + mean)
        within = (0.0 if within < 0.0 else within) + apart * apart * both
        put(joined, h + SQUARES + j, get(joined, h + SQUARES + j) + within)


@allocating
def moments(x, lanes, first, last, start, stop, state, joined):
    """The statistics of the groups of lanes start to stop over rows first to last. state, joined: zeros.

    Of `joined` the mean is HIGH + LOW, Σ(x − mean)² is SQUARES.
    """
    for left in range(start, stop, PANEL):
        right, count, top = min(left + PANEL, stop), np.int64(0), first
        while top < last:
            bottom = min(top + min(_MOST, max(_LEAST, count)), last)
            size = float(bottom - top)
            if count == 0:
                _add_block(x, lanes, top, bottom, left, right, state)
            for group in range(left, right):
                _center(x, state, joined, group * STATE, group * JOINED, size, count == 0)
            _add_block(x, lanes, top, bottom, left, right, state)
            for group in range(left, right):
                _join(state, joined, group * STATE, group * JOINED, float(count), size)
            count += bottom - top
            top = bottom


@njit(nogil=True, cache=True, forceinline=True)
def _apply(x, added, y, at, size, first, center, scale, shift, least):
    """max((x − center) · scale + shift + added, least) over a part of a row, which begins at lane `first`."""
    for j in range(size):
        i, lane = at + j, first + j
        v = fma(read(x, i) - parameter(center, lane), parameter(scale, lane), parameter(shift, lane))
        if added is not None:
            v = v + read(added, i)
        if least is not None:
            v = like(x, least) if v < least else v
        put(y, i, v)


@allocating
def apply(x, added, y, lanes, first, last, center, scale, shift, least):
    """Rows first to last, block by block from the last. center, scale, shift: (lanes,)."""
    tall = max(_LEAST, TURN // lanes)
    for block in range((last - first - 1) // tall, -1, -1):
        bottom = min(first + (block + 1) * tall, last)
        for top in range(first + block * tall, bottom, _ROWS):
            for left in range(0, lanes, _PART):
                size = min(_PART, lanes - left)
                for row in range(top, min(top + _ROWS, bottom)):
                    at = row * lanes + left
                    if lanes > _PART:
                        _ask(x, at + 2 * lanes, size)
                        _ask(y, at + 2 * lanes, size)
                    _apply(x, added, y, at, size, left, center, scale, shift, least)


@njit(nogil=True, cache=True, forceinline=True)
def _products(x, dy, at, lanes, height, size, state, g):
    """Add dy and dy · (x − center) of some rows of a group of lanes."""
    for j in range(size):
        center, total, product = get(state, g + CENTER + j), get(state, g + SUM + j), get(state, g + PRODUCT + j)
        for k in range(height):
            i = at + k * lanes + j
            slope = read(dy, i)
            total += slope
            product = fma(slope, read(x, i) - center, product)
        put(state, g + SUM + j, total)
        put(state, g + PRODUCT + j, product)


@allocating
def _take(state, joined, g, h):
    """Move the sums of a block to `joined`."""
    for j in range(LANES):
        for quantity in range(2):
            at = g + SUM + quantity * LANES + j
            place = h + quantity * LANES + j
            put(joined, place, get(joined, place) + get(state, at))
            put(state, at, 0.0)


@allocating
def products(x, dy, lanes, first, last, start, stop, state, joined):
    """Rows first to last of the groups start to stop. state: center, zeros; joined becomes Σdy, Σdy · (x − center)."""
    for left in range(start, stop, PANEL):
        right = min(left + PANEL, stop)
        for top in range(first, last, _MOST):
            bottom = min(top + _MOST, last)
            for row in range(top, bottom, 4):
                for group in range(left, right):
                    at, width = row * lanes + group * LANES, min(LANES, lanes - group * LANES)
                    if row + 4 <= bottom and width == LANES:
                        for k in range(_AHEAD, _AHEAD + 4):
                            _ask(x, at + k * lanes, LANES)
                            _ask(dy, at + k * lanes, LANES)
                        _products(x, dy, at, lanes, 4, LANES, state, group * STATE)
                    else:
                        height = min(np.int64(4), bottom - row)
                        _products(x, dy, at, lanes, height, width, state, group * STATE)
            for group in range(left, right):
                _take(state, joined, group * STATE, group * JOINED)


@njit(nogil=True, cache=True, forceinline=True)
def _slope(x, dy, dx, at, size, first, center, a, b, c):
    """dy · a + ((x − center) · b + c) over a part of a row, which begins at lane `first`."""
    for j in range(size):
        i, lane = at + j, first + j
        inner = fma(read(x, i) - parameter(center, lane), parameter(b, lane), parameter(c, lane))
        put(dx, i, fma(read(dy, i), parameter(a, lane), inner))


@allocating
def slope(x, dy, dx, lanes, first, last, center, a, b, c):
    """Rows first to last, block by block from the last. center, a, b, c: (lanes,)."""
    tall = max(_LEAST, TURN // lanes)
    for block in range((last - first - 1) // tall, -1, -1):
        bottom = min(first + (block + 1) * tall, last)
        for top in range(first + block * tall, bottom, _ROWS):
            for left in range(0, lanes, _PART):
                size = min(_PART, lanes - left)
                for row in range(top, min(top + _ROWS, bottom)):
                    at = row * lanes + left
                    if lanes > _PART:
                        _ask(x, at + 2 * lanes, size)
                        _ask(dy, at + 2 * lanes, size)
                    _slope(x, dy, dx, at, size, left, center, a, b, c)
