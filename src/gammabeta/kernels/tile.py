"""A tile of numbers is added to the exact sums of x and x², at about the speed of memory.

64 lanes × 32 rows are a tile. A lane has a grid: an exponent T with
2^(T−spread) ≤ |x| < 2^T for each x ≠ 0 that it may take. With the constant M = 1.5·2^(52+g) the sum x + M is x rounded
to a multiple of 2^g, and where |x| ≤ 2^(51+g) its bits, read as an integer, are those of M plus that multiple. So the
bits are added up as 64-bit integers: 51 bits of x a fold, 4095 rows before they could overflow. What a fold leaves,
x − ((x + M) − M), is exact too and goes through a second fold 52 binades below. float64 squares are h + l, h = x·x and
l = fma(x, x, −h), two folds each; float32 squares are exact in float64. While every |x| of a lane keeps within its grid
nothing is left after the second fold. A tile that does not is copied, its non-finite values counted and taken away; the
lanes' grids are moved, and what no grid holds goes to integer arithmetic, number by number.

After Demmel and Hida (2004), Rump (2009), Demmel and Nguyen (2015); the integer view of x + M is what makes a fold
51 bits wide rather than 43.
"""

from typing import Any

import numpy as np
from numba import float64, njit, types
from numba.extending import overload

from gammabeta.kernels.intrinsics import bits, fma, number, prefetch
from gammabeta.kernels.layout import LANES, LINE
from gammabeta.kernels.singly import (
    MAGNITUDE,
    MINUS_INF,
    NAN,
    ONE,
    PLUS_INF,
    POINT,
    SQUARES_BASE,
    SUM_BASE,
    add_shifted,
    add_square,
    split,
)

ROWS = 32
DEPTH = 4  # rows between loading a lane's sums and storing them: what a core stores a cycle is the limit
FLUSH = 4095 - ROWS

_HALF = np.uint64(1 << 51)
_NOTHING = np.uint64(0xFFFF_FFFF_FFFF_FFFF)
_ZERO = np.uint64(0)
_LOW = np.int64(0xFFFF_FFFF)
_LEAST, _MOST = -450, 500  # exponents of numbers whose squares' grids stay within float64
START, STRIDE = np.int64(0), np.int64(LANES)  # of a tile that lies in one piece


def state(lanes: int, dtype: np.dtype) -> tuple[Any, ...]:
    """What `add_tile` knows of its blocks of 64 lanes, and its scratch; made here, since a kernel's own arrays cost
    a second of compiling.

    Returns: how many folds there are and how many binades they hold below 2^T; the constants M, (blocks, 384), and the
    integer sums, of each fold and lane; of each lane T and the bounds of |x|, as bits, (blocks, 192); the rows summed,
    (blocks,); room for the high, the low and the saved sums of a tile; room for a tile.
    """
    blocks = -(-lanes // LANES)
    folds, binades = (3, 28) if dtype == np.float32 else (6, 25)
    grid, sums = np.zeros((blocks, 3 * LANES), np.uint64), np.zeros((blocks, 6 * LANES), np.uint64)
    spare = np.empty(8 * LANES, np.uint64), np.empty(ROWS * LANES, dtype)
    return folds, binades, np.zeros((blocks, 6 * LANES)), sums, grid, np.zeros(blocks, np.int64), *spare


@njit(cache=True)
def _rows(x, offset, stride):
    """The next rows of a tile; those one tile below are fetched meanwhile: 4 to 11.5 GB/s a thread in wide tables."""
    for k in range(DEPTH):
        for j in range(0, LANES, LINE // x.itemsize):
            prefetch(x, offset + (ROWS + k) * stride + j)
    return (
        x[offset : offset + LANES],
        x[offset + stride : offset + stride + LANES],
        x[offset + 2 * stride : offset + 2 * stride + LANES],
        x[offset + 3 * stride : offset + 3 * stride + LANES],
    )


@njit(cache=True)
def _fold_single(x, offset, stride, magic, sums, high, low):
    """A tile of float32: one fold of x, two of x²."""
    m0, m1, m2 = magic[0:64], magic[64:128], magic[128:192]
    s0, s1, s2 = sums[0:64], sums[64:128], sums[128:192]
    for row in range(0, ROWS, DEPTH):
        rows = _rows(x, offset + row * stride, stride)
        for j in range(LANES):
            greatest, least, a0, a1, a2 = high[j], low[j], s0[j], s1[j], s2[j]
            for k in range(DEPTH):
                v = float64(rows[k][j])
                magnitude = bits(v) & MAGNITUDE
                greatest = max(greatest, magnitude)
                least = min(least, magnitude - ONE)
                a0 += bits(v + m0[j])
                h = v * v
                t = h + m1[j]
                a1 += bits(t)
                a2 += bits((h - (t - m1[j])) + m2[j])
            high[j], low[j], s0[j], s1[j], s2[j] = greatest, least, a0, a1, a2


@njit(cache=True)
def _fold_double(x, offset, stride, magic, sums, high, low):
    """A tile of float64: two folds of x, of h and of e, where x² = h + e."""
    m0, m1, m2 = magic[0:64], magic[64:128], magic[128:192]
    m3, m4, m5 = magic[192:256], magic[256:320], magic[320:384]
    s0, s1, s2 = sums[0:64], sums[64:128], sums[128:192]
    s3, s4, s5 = sums[192:256], sums[256:320], sums[320:384]
    for row in range(0, ROWS, DEPTH):
        rows = _rows(x, offset + row * stride, stride)
        for j in range(LANES):
            greatest, least = high[j], low[j]
            a0, a1, a2, a3, a4, a5 = s0[j], s1[j], s2[j], s3[j], s4[j], s5[j]
            for k in range(DEPTH):
                v = rows[k][j]
                magnitude = bits(v) & MAGNITUDE
                greatest = max(greatest, magnitude)
                least = min(least, magnitude - ONE)
                t = v + m0[j]
                a0 += bits(t)
                a3 += bits((v - (t - m0[j])) + m3[j])
                h = v * v
                t = h + m1[j]
                a1 += bits(t)
                a2 += bits((h - (t - m1[j])) + m2[j])
                e = fma(v, v, -h)
                t = e + m4[j]
                a4 += bits(t)
                a5 += bits((e - (t - m4[j])) + m5[j])
            high[j], low[j] = greatest, least
            s0[j], s1[j], s2[j], s3[j], s4[j], s5[j] = a0, a1, a2, a3, a4, a5


def fold(x, offset, stride, magic, sums, high, low):
    """Add a tile, and find the largest |x| and the smallest |x| ≠ 0, less one, of each lane, as bits."""


@overload(fold)
def _fold(x, offset, stride, magic, sums, high, low):
    if isinstance(x.dtype, types.Float) and x.dtype.bitwidth == 32:
        return lambda x, offset, stride, magic, sums, high, low: _fold_single(x, offset, stride, magic, sums, high, low)
    return lambda x, offset, stride, magic, sums, high, low: _fold_double(x, offset, stride, magic, sums, high, low)


@njit(cache=True)
def fill(a, value):
    """a[:] = value, without the error messages for shapes, which take longer to compile than the rest."""
    for i in range(len(a)):
        a[i] = value


@njit(cache=True)
def copy(a, b):
    """b[: len(a)] = a, likewise."""
    for i in range(len(a)):
        b[i] = a[i]


@njit(cache=True)
def _magic(exponent):
    """1.5 · 2^(52 + exponent)."""
    return number((np.uint64(1023 + 52 + exponent) << POINT) | _HALF)


@njit(cache=True)
def _unit(part, top):
    """The exponent of the unit of each fold, in a lane whose numbers are below 2^top: x, h, h, x, l, l."""
    if part == 0:
        return top - 51
    if part == 1:
        return 2 * top - 51
    if part == 2:
        return 2 * top - 103
    if part == 3:
        return top - 103
    if part == 4:
        return 2 * top - 105
    return 2 * top - 157


@njit(cache=True)
def _put(part, out, feature, total, unit):
    """Add total · 2^unit to a feature's sum of x or of x²."""
    sum_limbs, square_limbs, touched = out
    if total != 0:
        if part == 0 or part == 3:
            add_shifted(sum_limbs, SUM_BASE, touched[0], feature, np.uint64(abs(total)), unit, total < 0)
        else:
            add_shifted(square_limbs, SQUARES_BASE, touched[1], feature, np.uint64(abs(total)), unit, total < 0)


@njit(cache=True)
def flush(folds, to, grid, magic, sums, rows, out):
    """Move a block's integer sums of `rows` rows into the limbs of its lanes' features.

    Neighbours of one feature and grid go together, as two numbers: 64 of them are more than 64 bits hold.
    """
    for part in range(folds):
        low = high = np.int64(0)
        for j in range(LANES):
            at = part * LANES + j
            total = np.int64(sums[at] - np.uint64(rows) * bits(magic[at]))
            sums[at] = 0
            low += total & _LOW
            high += total >> 32
            if j == LANES - 1 or to[j + 1] != to[j] or grid[j + 1] != grid[j]:
                unit = _unit(part, np.int64(grid[j]))
                high += low >> 32
                _put(part, out, to[j], low & _LOW, unit)
                _put(part, out, to[j], high, unit + 32)
                low = high = np.int64(0)


@njit(cache=True)
def _within(high, low, grid):
    """Whether each lane of a tile keeps within its grid."""
    cap, floor = grid[64:128], grid[128:192]
    outside = 0
    for j in range(LANES):
        outside |= (high[j] >= cap[j]) | (low[j] < floor[j])
    return not outside


@njit(cache=True)
def _finite_copy(x, offset, stride, rows, lanes, scratch, to, specials):
    """A tile's finite values, 0 elsewhere, with the others counted by feature."""
    for row in range(ROWS):
        for j in range(LANES):
            scratch[row * LANES + j] = 0
            if row < rows and j < lanes:
                v = x[offset + row * stride + j]
                if np.isfinite(v):
                    scratch[row * LANES + j] = v
                else:
                    specials[NAN if np.isnan(v) else PLUS_INF if v > 0 else MINUS_INF, to[j]] += 1


@njit(cache=True)
def _extent(scratch, high, low):
    """`fold`'s high and low, alone."""
    fill(high, _ZERO)
    fill(low, _NOTHING)
    for row in range(ROWS):
        for j in range(LANES):
            magnitude = bits(float64(scratch[row * LANES + j])) & MAGNITUDE
            high[j] = max(high[j], magnitude)
            low[j] = min(low[j], magnitude - ONE)


@njit(cache=True)
def _add_singly(scratch, lane, feature, out):
    """Add one lane of a tile number by number, and leave zeros."""
    sum_limbs, square_limbs, touched = out
    for row in range(ROWS):
        v = float64(scratch[row * LANES + lane])
        if v != 0:
            value, exponent, negative = split(v)
            add_shifted(sum_limbs, SUM_BASE, touched[0], feature, value, exponent, negative)
            add_square(square_limbs, SQUARES_BASE, touched[1], feature, value, exponent)
            scratch[row * LANES + lane] = 0


@njit(cache=True)
def _exponents(high, low):
    """The binades of a lane's largest and smallest numbers: ⌊log₂|x|⌋."""
    return np.int64(high >> POINT) - 1023, np.int64((low + ONE) >> POINT) - 1023


@njit(cache=True)
def _regrid(folds, binades, high, low, to, grid, magic):
    """Give each lane whose numbers leave its grid a new one, with two binades to spare above where there is room.

    Lanes that are all of one feature get the same one, if it can hold them all: `flush` takes them together.
    """
    most, least = _ZERO, _NOTHING
    for j in range(LANES):
        most, least = max(most, high[j]), min(least, low[j])
    above, below = _exponents(most, least)
    together = to[0] == to[1] and most != 0 and above - below < binades
    for j in range(LANES):
        if together or high[j] >= grid[64 + j] or low[j] < grid[128 + j]:
            if not together:
                above, below = _exponents(high[j], low[j])
            top = 1 if high[j] == 0 and not together else above + 1 + min(2, binades - 1 - (above - below))
            grid[j] = np.uint64(top)
            grid[64 + j] = np.uint64(top + 1023) << POINT
            grid[128 + j] = (np.uint64(top - binades + 1023) << POINT) - ONE
            for part in range(folds):
                magic[part * LANES + j] = _magic(_unit(part, top))


@njit(cache=True)
def _beyond(high, low, binades):
    """Whether a lane holds what no grid does: numbers far apart or near the ends of float64, or not finite."""
    above, below = _exponents(high, low)
    return (high != 0) & ((above - below > binades - 1) | (below < _LEAST) | (above > _MOST))


@njit(cache=True)
def _any_beyond(high, low, binades):
    found = 0
    for j in range(LANES):
        found |= _beyond(high[j], low[j], binades)
    return found != 0


@njit(cache=True)
def add_tile(x, offset, stride, rows, lanes, block, known, to, specials, out):
    """Add a tile, or what there is of one: `rows` rows of `lanes` lanes, a block's; lane j is of feature to[j]."""
    folds, binades, constants, totals, grids, pending, room, scratch = known
    high, low, before = room[0:64], room[64:128], room[128:512]
    grid, magic, sums = grids[block], constants[block], totals[block]
    if pending[block] > FLUSH:
        flush(folds, to, grid, magic, sums, pending[block], out)
        pending[block] = 0
    whole = rows == ROWS and lanes == LANES
    if whole:
        copy(sums, before)
        fill(high, _ZERO)
        fill(low, _NOTHING)
        fold(x, offset, stride, magic, sums, high, low)
        if _within(high, low, grid):
            pending[block] += ROWS
            return
        copy(before, sums)
    if not whole or _any_beyond(high, low, binades):
        _finite_copy(x, offset, stride, rows, lanes, scratch, to, specials)
        _extent(scratch, high, low)
        for j in range(LANES):
            if _beyond(high[j], low[j], binades):
                _add_singly(scratch, j, to[j], out)
                high[j], low[j] = _ZERO, _NOTHING
        x, offset, stride = scratch, START, STRIDE
    if not _within(high, low, grid):
        flush(folds, to, grid, magic, sums, pending[block], out)
        _regrid(folds, binades, high, low, to, grid, magic)
        pending[block] = 0
    fold(x, offset, stride, magic, sums, high, low)
    pending[block] += ROWS
