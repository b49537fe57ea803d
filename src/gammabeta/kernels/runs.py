"""Batch norm of blocks (a, f, b): a feature is a runs of b contiguous values, as the channels of (n, c, h, w) are.

A feature is read once for its statistics, in blocks that stay in a core's cache: each is summed, then the squares of
its differences from its own mean are, and the block joins the others by Chan's formula. Values are taken relative to
the first block's mean, so that no sum grows large beside its differences. All sums are float64, in 64 lanes.

Chan, Golub and LeVeque (1979), *Updating formulae and a pairwise algorithm for computing sample variances*.
"""

from math import isfinite, sqrt

import numpy as np
from numba import njit

from gammabeta.kernels.storage import like, put, take

LANES = np.int64(64)
_FOUR = np.int64(256)  # lanes of four: their sums are read and written once, which halves the time
BLOCK = np.int64(2**14)
_FIRST = np.int64(0)


@njit(nogil=True, cache=True)
def _sum(x, at, size, center, lanes):
    """Add x − center to the lanes."""
    fours = at + size // _FOUR * _FOUR
    for start in range(at, fours, _FOUR):
        for j in range(start, start + LANES):
            first = (take(x, j) - center) + (take(x, j + LANES) - center)
            second = (take(x, j + 2 * LANES) - center) + (take(x, j + 3 * LANES) - center)
            put(lanes, j - start, take(lanes, j - start) + (first + second))
    whole = at + size // LANES * LANES
    for start in range(fours, whole, LANES):
        for j in range(LANES):
            put(lanes, j, take(lanes, j) + (take(x, start + j) - center))
    for j in range(at + size - whole):
        put(lanes, j, take(lanes, j) + (take(x, whole + j) - center))


@njit(nogil=True, cache=True)
def _squares(x, at, size, center, mean, lanes):
    """Add ((x − center) − mean)² to the lanes."""
    fours = at + size // _FOUR * _FOUR
    for start in range(at, fours, _FOUR):
        for j in range(start, start + LANES):
            p, q = (take(x, j) - center) - mean, (take(x, j + LANES) - center) - mean
            r, s = (take(x, j + 2 * LANES) - center) - mean, (take(x, j + 3 * LANES) - center) - mean
            put(lanes, j - start, take(lanes, j - start) + ((p * p + q * q) + (r * r + s * s)))
    whole = at + size // LANES * LANES
    for start in range(fours, whole, LANES):
        for j in range(LANES):
            d = (take(x, start + j) - center) - mean
            put(lanes, j, take(lanes, j) + d * d)
    for j in range(at + size - whole):
        d = (take(x, whole + j) - center) - mean
        put(lanes, j, take(lanes, j) + d * d)


@njit(nogil=True, cache=True)
def _products(x, dy, at, size, mean, rest, lanes):
    """Add dy to the first 64 lanes, dy · (x − mean) to the second."""
    whole = at + size // LANES * LANES
    for start in range(at, whole, LANES):
        for j in range(LANES):
            slope = take(dy, start + j)
            put(lanes, j, take(lanes, j) + slope)
            d = (take(x, start + j) - mean) - rest
            put(lanes, LANES + j, take(lanes, LANES + j) + slope * d)
    for j in range(at + size - whole):
        slope = take(dy, whole + j)
        put(lanes, j, take(lanes, j) + slope)
        put(lanes, LANES + j, take(lanes, LANES + j) + slope * ((take(x, whole + j) - mean) - rest))


@njit(nogil=True, cache=True)
def _clear(lanes):
    for j in range(len(lanes)):
        lanes[j] = 0.0


@njit(nogil=True, cache=True)
def _across(lanes, first):
    total = 0.0
    for j in range(first, first + LANES):
        total += lanes[j]
    return total


@njit(nogil=True, cache=True)
def _moments(x, features, width, feature, first, last, lanes):
    """The mean as a sum of two floats, and Σ(x − mean)², of the runs first to last of a feature."""
    center, mean, squares, count = 0.0, 0.0, 0.0, 0.0
    several, piece = max(1, BLOCK // width), min(width, BLOCK)
    for start in range(first, last, several):
        stop = min(start + several, last)
        for offset in range(0, width, piece):
            length = min(piece, width - offset)
            size = float((stop - start) * length)
            if count == 0:
                _clear(lanes)
                for run in range(start, stop):
                    at = (run * features + feature) * width + offset
                    _sum(x, at, length, 0.0, lanes)
                center = _across(lanes, _FIRST) / size
                if not isfinite(center):
                    center = 0.0
            _clear(lanes)
            for run in range(start, stop):
                at = (run * features + feature) * width + offset
                _sum(x, at, length, center, lanes)
            here = _across(lanes, _FIRST) / size
            _clear(lanes)
            for run in range(start, stop):
                at = (run * features + feature) * width + offset
                _squares(x, at, length, center, here, lanes)
            total = count + size
            apart = here - mean
            mean += apart * (size / total)
            squares += _across(lanes, _FIRST) + apart * apart * (count * size / total)
            count = total
    high = center + mean
    return high, (center - high) + mean, squares


@njit(nogil=True, cache=True)
def _apply(x, y, at, size, mean, rest, scale, shift):
    """((x − mean) − rest) · scale + shift."""
    m, s, t = like(x, mean), like(x, scale), like(x, shift)
    r = like(x, (mean - m) + rest)
    for j in range(at, at + size):
        put(y, j, ((take(x, j) - m) - r) * s + t)


@njit(nogil=True, cache=True)
def forward(x, y, features, width, runs, first, last, gamma, beta, eps, mean, rest, var):
    """Features first to last, each while it is in the cache. x, y: (runs, features, width); the rest: (features,)."""
    lanes = np.empty(LANES)
    for feature in range(first, last):
        high, low, squares = _moments(x, features, width, feature, _FIRST, runs, lanes)
        mean[feature], rest[feature], var[feature] = high, low, squares / (runs * width)
        scale = gamma[feature] / sqrt(var[feature] + eps)
        for run in range(runs - 1, -1, -1):
            at = (run * features + feature) * width
            _apply(x, y, at, width, high, low, scale, beta[feature])


@njit(nogil=True, cache=True)
def moments(x, features, width, first, last, mean, rest, squares):
    """The statistics of the runs first to last of every feature."""
    lanes = np.empty(LANES)
    for feature in range(features):
        mean[feature], rest[feature], squares[feature] = _moments(x, features, width, feature, first, last, lanes)


@njit(nogil=True, cache=True)
def apply(x, y, features, width, first, last, mean, rest, scale, shift):
    """((x − mean) − rest) · scale + shift over the runs first to last of every feature."""
    for run in range(first, last):
        for i in range(features):
            _apply(x, y, (run * features + i) * width, width, mean[i], rest[i], scale[i], shift[i])


@njit(nogil=True, cache=True)
def _slope(x, dy, dx, at, size, mean, rest, a, b, c):
    """dy · a + ((x − mean) · b + c)."""
    m, p, q, s = like(x, mean), like(x, a), like(x, b), like(x, c)
    r = like(x, (mean - m) + rest)
    for j in range(at, at + size):
        put(dx, j, take(dy, j) * p + (((take(x, j) - m) - r) * q + s))


@njit(nogil=True, cache=True)
def backward(x, dy, dx, features, width, runs, first, last, gamma, eps, mean, rest, var, dgamma, dbeta):
    """Features first to last, each while it is in the cache."""
    lanes = np.empty(2 * LANES)
    count = float(runs * width)
    for feature in range(first, last):
        m, r = mean[feature], rest[feature]
        _clear(lanes)
        for run in range(runs):
            at = (run * features + feature) * width
            _products(x, dy, at, width, m, r, lanes)
        inverse = 1 / sqrt(var[feature] + eps)
        total, product = _across(lanes, _FIRST), _across(lanes, LANES) * inverse
        dbeta[feature], dgamma[feature] = total, product
        a = gamma[feature] * inverse
        b, c = -a * inverse * product / count, -a * total / count
        for run in range(runs - 1, -1, -1):
            at = (run * features + feature) * width
            _slope(x, dy, dx, at, width, m, r, a, b, c)


@njit(nogil=True, cache=True)
def products(x, dy, features, width, first, last, mean, rest, sums, total):
    """Σdy and Σdy · (x − mean) over the runs first to last of every feature."""
    lanes = np.empty(2 * LANES)
    for feature in range(features):
        _clear(lanes)
        for run in range(first, last):
            _products(x, dy, (run * features + feature) * width, width, mean[feature], rest[feature], lanes)
        sums[feature], total[feature] = _across(lanes, _FIRST), _across(lanes, LANES)


@njit(nogil=True, cache=True)
def slope(x, dy, dx, features, width, first, last, mean, rest, a, b, c):
    """dy · a + (((x − mean) − rest) · b + c) over the runs first to last of every feature."""
    for run in range(first, last):
        for i in range(features):
            _slope(x, dy, dx, (run * features + i) * width, width, mean[i], rest[i], a[i], b[i], c[i])
