"""A tile of float32 of one feature goes into its exact sums in fewer operations than `tile` takes for lanes of several.

All lanes share one K. A lane's a begins as M = 2^(2K), and x² is added to it by fma: t = a + x² rounded to a multiple
of 2^(2K−52), of which fma(x, x, a − t) is left, exactly, and added up in r; x is added up in s. While a stays below
2^(2K+1), and |x| ≥ 2^(K−25) for each x ≠ 0, the sums r and s of a tile's rows are exact. Where it does not turn out so,
nothing has been lost: what the attempt shows gives another K, or the tile is left to `tile`.
"""

from typing import Any

import numpy as np
from numba import float64, uint32

from gammabeta.kernels.folds import DEPTH, GROUP, magic
from gammabeta.kernels.intrinsics import bits, fma, kernel, number, prefetch
from gammabeta.kernels.layout import LANES, LINE
from gammabeta.kernels.singly import ONE, POINT, SQUARES_BASE, SUM_BASE, add_shifted
from gammabeta.kernels.storage import get, given, keep, word_of

SPREAD = 25  # binades from the least |x| ≠ 0 to 2^K
UNITS = (-52, -96, -48)  # of a − M, r and s: the exponents of what each is a multiple of, less 2K, 2K and K

_ATTEMPTS = 3
_LEAST = -101  # the K below which a float32 may be subnormal
_MAGNITUDE, _NOTHING, _ONE = np.uint32(0x7FFF_FFFF), np.uint32(0xFFFF_FFFF), np.uint32(1)
_WORD = np.int64(0xFFFF_FFFF)
_FEW, _MANY = np.int64(16), 16
_R, _S = np.int64(LANES), np.int64(2 * LANES)


def state() -> tuple[Any, ...]:
    """What `add` works in: a, r and s of 64 lanes; the least |x| of a few; and in one array K, the sums of a, r and s
    over tiles, each as two numbers, how many tiles went by since an attempt failed, and how many shall. Each has
    cache lines to itself, if threads work side by side."""
    return np.empty(3 * LANES), np.empty(4 * _FEW, np.uint32), np.zeros(4 * 9, np.int64)


@kernel
def _fold(x, offset, jump, rows, ahead, start, lanes, smallest):
    """Take a tile's a, r and s by lane, a from `start` on; the least |x| ≠ 0, less one, as bits of float32."""
    for j in range(LANES):
        keep(lanes, j, start)
        keep(lanes, j + _R, 0.0)
        keep(lanes, j + _S, 0.0)
    for j in range(_FEW):
        keep(smallest, j, _NOTHING)
    for group in range(rows // DEPTH):
        at = offset + group * jump
        for j in range(0, GROUP, LINE // x.itemsize):
            prefetch(x, at + ahead + j)
        for j in range(_FEW):
            low = get(smallest, j)
            for k in range(_MANY):
                low = min(low, uint32((word_of(given(x, at + k * _FEW + j)) & _MAGNITUDE) - _ONE))
            keep(smallest, j, low)
        for j in range(LANES):
            a, r, s = get(lanes, j), get(lanes, j + _R), get(lanes, j + _S)
            for k in range(DEPTH):
                v = float64(given(x, at + k * LANES + j))
                s += v
                t = fma(v, v, a)
                r += fma(v, v, a - t)
                a = t
            keep(lanes, j, a)
            keep(lanes, j + _R, r)
            keep(lanes, j + _S, s)
    least = _NOTHING
    for j in range(_FEW):
        least = min(least, get(smallest, j))
    return least


@kernel
def _total(lanes, first, power):
    """The sum of 64 lanes, multiples of 2^power and at most 2^(51 + power) in size, in that unit."""
    constant = magic(power)
    total = np.uint64(0)
    for j in range(first, first + LANES):
        total += bits(get(lanes, j) + number(constant)) - constant
    return np.int64(total)


@kernel
def _add(sums, part, total):
    """Add to one of the three sums; a total of 64 lanes is below 2^58."""
    sums[1 + 2 * part] += total & _WORD
    sums[2 + 2 * part] += total >> 32


@kernel
def flush(own, feature, out):
    """Move what has been added so far into a feature's limbs."""
    _, _, sums = own
    sum_limbs, square_limbs, touched = out
    for part in range(6):
        total, power = sums[1 + part], UNITS[part // 2] + 32 * (part % 2)
        if total != 0:
            size, negative = np.uint64(abs(total)), total < 0
            if part < 4:
                add_shifted(square_limbs, SQUARES_BASE, touched[1], feature, size, power + 2 * sums[0], negative)
            else:
                add_shifted(sum_limbs, SUM_BASE, touched[0], feature, size, power + sums[0], negative)
            sums[1 + part] = 0


@kernel
def _another(k, rise, least):
    """The K that an attempt with K = k asks for, which showed a rise of a of so much and such a least |x|; or k.

    A binade more than the rise asks, if the least |x| allows that.
    """
    highest = np.int64(uint32(least + _ONE) >> np.uint32(23)) - 127 + SPREAD
    if highest < _LEAST or not np.isfinite(rise):
        return k
    if rise == 0:
        return highest
    lowest = (np.int64(bits(rise) >> POINT) - 1023 + 2) >> 1
    return min(lowest + 1, highest) if lowest <= highest else k


@kernel
def add(x, offset, jump, rows, ahead, own, feature, out):
    """Add a tile of `rows` rows of 64 values, at most 32, a multiple of `DEPTH`; whether that could be done.

    From `DEPTH` rows to the next it is `jump`; the tile that comes next lies `ahead`.
    """
    lanes, smallest, sums = own
    if sums[7] < sums[8]:
        sums[7] += 1
        return False
    for _ in range(_ATTEMPTS):
        k = sums[0]
        start = np.uint64(1023 + 2 * k) << POINT
        least = _fold(x, offset, jump, rows, ahead, number(start), lanes, smallest)
        most, total = start, np.uint64(0)
        for j in range(LANES):
            a = bits(get(lanes, j))
            most = max(most, a)
            total += a - start
        if most - start < ONE << POINT and least >= uint32((np.int64(k - SPREAD + 127) << 23) - 1):
            _add(sums, 0, np.int64(total))
            _add(sums, 1, _total(lanes, _R, UNITS[1] + 2 * k))
            _add(sums, 2, _total(lanes, _S, UNITS[2] + k))
            sums[7] = sums[8] = 0
            return True
        other = _another(k, number(most) - number(start), least)
        if other == k:
            break
        flush(own, feature, out)
        sums[0] = other
    sums[7], sums[8] = 0, min(2 * sums[8] + 1, 15)
    return False
