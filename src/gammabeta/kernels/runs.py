"""Batch norm of blocks (a, f, b): a feature is a runs of b contiguous values, as the channels of (n, c, h, w) are.

A feature is read once for its statistics. Of a block of values the sums of d = x − center and of d² are taken, the
center being the mean of all blocks before it, and the block joins these by Chan's formula. Nothing cancels: with the
distance `apart` of the block's mean, Σd² = Σ(x − the block's mean)² + size · apart², of which the join keeps the first
term and size · count / (size + count) · apart², at least half of the second, since a block has at most as many values
as all before it. The first block is read twice, for its own mean.

d is a float64, and for 16-bit values a float32, of which a lane adds up at most 256 before float64 takes over.

Chan, Golub and LeVeque (1979), *Updating formulae and a pairwise algorithm for computing sample variances*.
"""

from math import isfinite, sqrt

import numpy as np
from numba import njit

from gammabeta.kernels.intrinsics import allocating, fma, prefetch
from gammabeta.kernels.storage import get, like, put, read, zeros

LANES = np.int64(64)
_FOUR = np.int64(256)  # lanes of four: their sums are read and written once, which halves the time
BLOCK = np.int64(2**14)
_FIRST = np.int64(2**9)
_START = np.int64(0)
_AHEAD = np.int64(1024)  # values of the next run fetched ahead, before the processor foresees the others


@njit(nogil=True, cache=True, forceinline=True)
def _ask(x, at, size):
    """Fetch values ahead, which need not exist."""
    for j in range(0, size, 64 // x.itemsize):
        prefetch(x, at + j)


@njit(nogil=True, cache=True, forceinline=True)
def _add(x, at, size, center, lanes):
    """Add d = x − center to the first 64 lanes, d² to the second."""
    fours = at + size // _FOUR * _FOUR
    for start in range(at, fours, _FOUR):
        for j in range(start, start + LANES):
            i = j - start
            p, q = read(x, j) - center, read(x, j + LANES) - center
            r, s = read(x, j + 2 * LANES) - center, read(x, j + 3 * LANES) - center
            put(lanes, i, get(lanes, i) + ((p + q) + (r + s)))
            put(lanes, i + LANES, fma(p, p, fma(q, q, fma(r, r, fma(s, s, get(lanes, i + LANES))))))
    whole = at + size // LANES * LANES
    for start in range(fours, whole, LANES):
        for i in range(LANES):
            d = read(x, start + i) - center
            put(lanes, i, get(lanes, i) + d)
            put(lanes, i + LANES, fma(d, d, get(lanes, i + LANES)))
    for i in range(at + size - whole):
        d = read(x, whole + i) - center
        put(lanes, i, get(lanes, i) + d)
        put(lanes, i + LANES, fma(d, d, get(lanes, i + LANES)))


@njit(nogil=True, cache=True, forceinline=True)
def _add_products(x, dy, at, size, center, lanes):
    """Add dy to the first 64 lanes, dy · (x − center) to the second."""
    fours = at + size // _FOUR * _FOUR
    for start in range(at, fours, _FOUR):
        for j in range(start, start + LANES):
            i = j - start
            p, q, r, s = read(dy, j), read(dy, j + LANES), read(dy, j + 2 * LANES), read(dy, j + 3 * LANES)
            put(lanes, i, get(lanes, i) + ((p + q) + (r + s)))
            low = fma(
                r, read(x, j + 2 * LANES) - center, fma(s, read(x, j + 3 * LANES) - center, get(lanes, i + LANES))
            )
            put(lanes, i + LANES, fma(p, read(x, j) - center, fma(q, read(x, j + LANES) - center, low)))
    whole = at + size // LANES * LANES
    for start in range(fours, whole, LANES):
        for i in range(LANES):
            p = read(dy, start + i)
            put(lanes, i, get(lanes, i) + p)
            put(lanes, i + LANES, fma(p, read(x, start + i) - center, get(lanes, i + LANES)))
    for i in range(at + size - whole):
        p = read(dy, whole + i)
        put(lanes, i, get(lanes, i) + p)
        put(lanes, i + LANES, fma(p, read(x, whole + i) - center, get(lanes, i + LANES)))


@allocating
def _taken(lanes, first):
    """The sum of 64 lanes, which begin anew."""
    total = 0.0
    for j in range(first, first + LANES):
        total += get(lanes, j)
        put(lanes, j, 0.0)
    return total


@allocating
def _moments(x, features, width, feature, first, last, lanes):
    """The mean as a sum of two floats, and Σ(x − mean)², of the runs first to last of a feature."""
    high, low, squares, count = 0.0, 0.0, 0.0, 0.0
    start, offset = first, _START
    while start < last:
        # A block: several whole runs, or a part of one.
        most = min(BLOCK, max(_FIRST, np.int64(count)))
        several = max(np.int64(1), most // width)
        stop, length = min(start + several, last), min(width - offset, max(most, LANES))
        size = float((stop - start) * length)
        if count == 0:
            for run in range(start, stop):
                _add(x, (run * features + feature) * width + offset, length, like(x, 0.0), lanes)
            high, _ = _taken(lanes, _START) / size, _taken(lanes, LANES)
        center = like(x, high if isfinite(high) else 0.0)
        for run in range(start, stop):
            at = (run * features + feature) * width + offset
            _ask(x, at + features * width, min(length, _AHEAD))
            _add(x, at, length, center, lanes)
        here, squared = _taken(lanes, _START) / size, _taken(lanes, LANES)
        before = (high - center) + low if count else here
        apart, total = here - before, count + size
        mean = before + apart * (size / total)
        high = center + mean
        low = (center - high) + mean
        within = squared - size * here * here
        squares += (0.0 if within < 0.0 else within) + apart * apart * (count * size / total)
        count = total
        offset += length
        if offset == width:
            start, offset = stop, _START
    return high, low, squares


@allocating
def _products(x, dy, features, width, feature, first, last, mean, rest, lanes):
    """Σdy and Σdy · (x − mean) over the runs first to last of a feature."""
    center = like(x, mean)
    total, product = 0.0, 0.0
    several, piece = max(np.int64(1), BLOCK // width), min(width, BLOCK)
    for start in range(first, last, several):
        for offset in range(0, width, piece):
            for run in range(start, min(start + several, last)):
                at = (run * features + feature) * width + offset
                _ask(x, at + features * width, min(width, _AHEAD))
                _ask(dy, at + features * width, min(width, _AHEAD))
                _add_products(x, dy, at, min(piece, width - offset), center, lanes)
            total += _taken(lanes, _START)
            product += _taken(lanes, LANES)
    return total, product - ((mean - center) + rest) * total


@allocating
def less(shift, rest, scale):
    """shift − rest · scale; where nothing rests with no look at scale, which may be infinite."""
    return shift - rest * scale if rest != 0.0 else shift


@njit(nogil=True, cache=True, forceinline=True)
def _apply(x, added, y, at, size, mean, rest, scale, shift, least):
    """max(((x − mean) − rest) · scale + shift + added, least); `added` and `least` may be None."""
    center, s = like(x, mean), like(x, scale)
    t = like(x, less(shift, (mean - center) + rest, scale))
    for j in range(at, at + size):
        v = fma(read(x, j) - center, s, t)
        if added is not None:
            v = v + read(added, j)
        if least is not None:
            v = like(x, least) if v < least else v
        put(y, j, v)


@allocating
def forward(x, added, y, features, width, runs, first, last, gamma, beta, eps, least, mean, rest, var):
    """Features first to last, each while it is in the cache. x, y: (runs, features, width); the rest: (features,)."""
    lanes = zeros(x, 2 * LANES)
    for feature in range(first, last):
        high, low, squares = _moments(x, features, width, feature, _START, runs, lanes)
        mean[feature], rest[feature], var[feature] = high, low, squares / (runs * width)
        scale = gamma[feature] / sqrt(var[feature] + eps)
        for run in range(runs - 1, -1, -1):
            at = (run * features + feature) * width
            _apply(x, added, y, at, width, high, low, scale, beta[feature], least)


@allocating
def moments(x, features, width, first, last, mean, rest, squares):
    """The statistics of the runs first to last of every feature."""
    lanes = zeros(x, 2 * LANES)
    for feature in range(features):
        mean[feature], rest[feature], squares[feature] = _moments(x, features, width, feature, first, last, lanes)


@allocating
def apply(x, added, y, features, width, first, last, mean, rest, scale, shift, least):
    """max(((x − mean) − rest) · scale + shift + added, least) over the runs first to last of every feature."""
    for run in range(last - 1, first - 1, -1):
        for i in range(features):
            at = (run * features + i) * width
            _apply(x, added, y, at, width, mean[i], rest[i], scale[i], shift[i], least)


@njit(nogil=True, cache=True, forceinline=True)
def _slope(x, dy, dx, at, size, mean, rest, a, b, c):
    """dy · a + (((x − mean) − rest) · b + c)."""
    center, p, q = like(x, mean), like(x, a), like(x, b)
    t = like(x, less(c, (mean - center) + rest, b))
    for j in range(at, at + size):
        put(dx, j, fma(read(dy, j), p, fma(read(x, j) - center, q, t)))


@allocating
def backward(x, dy, dx, features, width, runs, first, last, gamma, eps, mean, rest, var, dgamma, dbeta):
    """Features first to last, each while it is in the cache."""
    lanes = zeros(x, 2 * LANES)
    count = float(runs * width)
    for feature in range(first, last):
        m, r = mean[feature], rest[feature]
        total, product = _products(x, dy, features, width, feature, _START, runs, m, r, lanes)
        inverse = 1 / sqrt(var[feature] + eps)
        product *= inverse
        dbeta[feature], dgamma[feature] = total, product
        a = gamma[feature] * inverse
        b, c = -a * inverse * product / count, -a * total / count
        for run in range(runs - 1, -1, -1):
            _slope(x, dy, dx, (run * features + feature) * width, width, m, r, a, b, c)


@allocating
def products(x, dy, features, width, first, last, mean, rest, sums, total):
    """Σdy and Σdy · (x − mean) over the runs first to last of every feature."""
    lanes = zeros(x, 2 * LANES)
    for i in range(features):
        sums[i], total[i] = _products(x, dy, features, width, i, first, last, mean[i], rest[i], lanes)


@allocating
def slope(x, dy, dx, features, width, first, last, mean, rest, a, b, c):
    """dy · a + (((x − mean) − rest) · b + c) over the runs first to last of every feature."""
    for run in range(last - 1, first - 1, -1):
        for i in range(features):
            _slope(x, dy, dx, (run * features + i) * width, width, mean[i], rest[i], a[i], b[i], c[i])
