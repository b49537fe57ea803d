"""A tile of numbers is added to the exact sums of x and x², at about the speed of memory.

64 lanes × 32 rows are a tile. A lane has a grid: an exponent T with 2^(T−spread) ≤ |x| < 2^T for each x ≠ 0 that it may
take. With the constant M = 1.5·2^(52+g) the sum x + M is x rounded to a multiple of 2^g, and where |x| ≤ 2^(51+g) its
bits, read as an integer, are those of M plus that multiple. So the bits are added up as 64-bit integers: 51 bits of x a
fold, 4095 rows before they could overflow. What a fold leaves, x − ((x + M) − M), is exact too and goes through a
second fold 52 binades below. float64 squares are h + l, h = x·x and l = fma(x, x, −h), two folds each; float32 squares
are exact in float64. While every |x| of a lane keeps within its grid nothing is left after the second fold. Where a
tile does not, its sums are taken back and the lanes' grids are moved; what no grid holds goes to integer arithmetic,
number by number, and what is not finite is counted and left out.

After Demmel and Hida (2004), Rump (2009), Demmel and Nguyen (2015); the integer view of x + M is what makes a fold
51 bits wide rather than 43.
"""

from typing import Any

import numpy as np
from numba import float64, types
from numba.extending import overload

from gammabeta.kernels.intrinsics import bits, fma, kernel, number, prefetch
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
from gammabeta.kernels.storage import get, given, keep, put

ROWS = 32
DEPTH = 4  # rows between loading a lane's sums and storing them: what a core stores a cycle is the limit
FLUSH = 4095 - ROWS

# What is known of a block's lanes, in one array: where it begins there, and behind that 64 numbers of each kind.
_MAGIC = np.int64(6 * LANES)  # of each fold the constant M, as bits; before them each fold's integer sums
_HIGH, _LOW = np.int64(12 * LANES), np.int64(13 * LANES)  # of a tile: the largest |x|, the smallest |x| ≠ 0 less one
_TOP = np.int64(14 * LANES)  # T
_CAP, _FLOOR = np.int64(15 * LANES), np.int64(16 * LANES)  # what `_HIGH` must be below, and `_LOW` not
_SUMMED = np.int64(17 * LANES)  # one number: of how many rows the sums are
_BLOCK = np.int64(17 * LANES + 8)

_HALF = np.uint64(1 << 51)
_NOTHING = np.uint64(0xFFFF_FFFF_FFFF_FFFF)
_ZERO = np.uint64(0)
_WORD = np.int64(0xFFFF_FFFF)
_LEAST, _MOST = -450, 500  # exponents of numbers whose squares' grids stay within float64
START, STRIDE = np.int64(0), np.int64(LANES)  # of a tile that lies in one piece
TILE, PART = np.int64(ROWS * LANES), np.int64(ROWS // 2 * LANES)  # values of one; those worth not to be gathered


def state(lanes: int, dtype: np.dtype) -> tuple[Any, ...]:
    """What `add_tile` knows of its blocks of 64 lanes, and its scratch; made here, since a kernel's own arrays cost
    a second of compiling.

    Returns: how many folds there are and how many binades they hold below 2^T; what is known of the blocks' lanes, and
    behind it room for a block's sums; room for a tile.
    """
    blocks = -(-lanes // LANES)
    folds, binades = (3, 28) if dtype == np.float32 else (6, 25)
    return folds, binades, np.zeros(blocks * _BLOCK + 6 * LANES, np.uint64), np.empty(TILE, dtype)


@kernel
def _fetch(x, offset, stride):
    """Ask for rows of a tile, which need not exist: 4 to 11.5 GB/s a thread in wide tables."""
    for row in range(DEPTH):
        for j in range(0, LANES, LINE // x.itemsize):
            prefetch(x, offset + row * stride + j)


@kernel
def _sum(known, lane, part):
    return get(known, lane + part * LANES)


@kernel
def _constant(known, lane, part):
    return number(get(known, lane + _MAGIC + part * LANES))


@kernel
def _fold_single(x, offset, stride, rows, ahead, known, block):
    """A tile of float32: one fold of x, two of x²."""
    for row in range(0, rows, DEPTH):
        at = offset + row * stride
        _fetch(x, at + ahead, stride)
        for j in range(LANES):
            lane = block + j
            greatest, least = get(known, lane + _HIGH), get(known, lane + _LOW)
            a0, a1, a2 = _sum(known, lane, 0), _sum(known, lane, 1), _sum(known, lane, 2)
            m0, m1, m2 = _constant(known, lane, 0), _constant(known, lane, 1), _constant(known, lane, 2)
            for k in range(DEPTH):
                v = float64(given(x, at + k * stride + j))
                magnitude = bits(v) & MAGNITUDE
                greatest = max(greatest, magnitude)
                least = min(least, magnitude - ONE)
                a0 += bits(v + m0)
                h = v * v
                t = h + m1
                a1 += bits(t)
                a2 += bits((h - (t - m1)) + m2)
            keep(known, lane + _HIGH, greatest)
            keep(known, lane + _LOW, least)
            keep(known, lane, a0)
            keep(known, lane + LANES, a1)
            keep(known, lane + 2 * LANES, a2)


@kernel
def _fold_double(x, offset, stride, rows, ahead, known, block):
    """A tile of float64: two folds of x, of h and of e, where x² = h + e."""
    for row in range(0, rows, DEPTH):
        at = offset + row * stride
        _fetch(x, at + ahead, stride)
        for j in range(LANES):
            lane = block + j
            greatest, least = get(known, lane + _HIGH), get(known, lane + _LOW)
            a0, a1, a2 = _sum(known, lane, 0), _sum(known, lane, 1), _sum(known, lane, 2)
            a3, a4, a5 = _sum(known, lane, 3), _sum(known, lane, 4), _sum(known, lane, 5)
            m0, m1, m2 = _constant(known, lane, 0), _constant(known, lane, 1), _constant(known, lane, 2)
            m3, m4, m5 = _constant(known, lane, 3), _constant(known, lane, 4), _constant(known, lane, 5)
            for k in range(DEPTH):
                v = given(x, at + k * stride + j)
                magnitude = bits(v) & MAGNITUDE
                greatest = max(greatest, magnitude)
                least = min(least, magnitude - ONE)
                t = v + m0
                a0 += bits(t)
                a3 += bits((v - (t - m0)) + m3)
                h = v * v
                t = h + m1
                a1 += bits(t)
                a2 += bits((h - (t - m1)) + m2)
                e = fma(v, v, -h)
                t = e + m4
                a4 += bits(t)
                a5 += bits((e - (t - m4)) + m5)
            keep(known, lane + _HIGH, greatest)
            keep(known, lane + _LOW, least)
            keep(known, lane, a0)
            keep(known, lane + LANES, a1)
            keep(known, lane + 2 * LANES, a2)
            keep(known, lane + 3 * LANES, a3)
            keep(known, lane + 4 * LANES, a4)
            keep(known, lane + 5 * LANES, a5)


def fold(x, offset, stride, rows, ahead, known, block):
    """Add rows of a tile, a multiple of `DEPTH` of them; find the largest |x| and the smallest |x| ≠ 0, less one, of
    each lane, as bits."""


@overload(fold)
def _fold(x, offset, stride, rows, ahead, known, block):
    def single(x, offset, stride, rows, ahead, known, block):
        _fold_single(x, offset, stride, rows, ahead, known, block)

    def double(x, offset, stride, rows, ahead, known, block):
        _fold_double(x, offset, stride, rows, ahead, known, block)

    return single if isinstance(x.dtype, types.Float) and x.dtype.bitwidth == 32 else double


@kernel
def copy(x, start, many, y, to):
    """y[to : to + many] = x[start : start + many], without the error messages for shapes, which take longer to compile
    than the rest."""
    for i in range(many):
        put(y, to + i, get(x, start + i))


@kernel
def fill(x, start, stop, value):
    """x[start:stop] = value, likewise."""
    for i in range(start, stop):
        put(x, i, value)


@kernel
def _magic(exponent):
    """1.5 · 2^(52 + exponent), as bits."""
    return (np.uint64(1023 + 52 + exponent) << POINT) | _HALF


@kernel
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


@kernel
def _put(part, out, feature, total, unit):
    """Add total · 2^unit to a feature's sum of x or of x²."""
    sum_limbs, square_limbs, touched = out
    if total != 0:
        if part == 0 or part == 3:
            add_shifted(sum_limbs, SUM_BASE, touched[0], feature, np.uint64(abs(total)), unit, total < 0)
        else:
            add_shifted(square_limbs, SQUARES_BASE, touched[1], feature, np.uint64(abs(total)), unit, total < 0)


@kernel
def finish(state, place, to, out):
    """Move a block's integer sums into the limbs of its lanes' features.

    Neighbours of one feature and grid go together, as two numbers: 64 of them are more than 64 bits hold.
    """
    folds, _, known, _ = state
    first, block = place * LANES, place * _BLOCK
    rows = get(known, block + _SUMMED)
    keep(known, block + _SUMMED, _ZERO)
    for part in range(folds):
        low = high = np.int64(0)
        for j in range(LANES):
            at = block + part * LANES + j
            total = np.int64(get(known, at) - rows * get(known, at + _MAGIC))
            keep(known, at, _ZERO)
            low += total & _WORD
            high += total >> 32
            top = get(known, block + _TOP + j)
            if j == LANES - 1 or to[first + j + 1] != to[first + j] or get(known, block + _TOP + j + 1) != top:
                unit = _unit(part, np.int64(top))
                high += low >> 32
                _put(part, out, to[first + j], low & _WORD, unit)
                _put(part, out, to[first + j], high, unit + 32)
                low = high = np.int64(0)


@kernel
def _within(known, block):
    """Whether each lane of a tile keeps within its grid."""
    outside = 0
    for lane in range(block, block + LANES):
        above = get(known, lane + _HIGH) >= get(known, lane + _CAP)
        outside |= above | (get(known, lane + _LOW) < get(known, lane + _FLOOR))
    return not outside


@kernel
def _finite_copy(x, offset, stride, rows, lanes, scratch, to, first, specials):
    """A tile's finite values, 0 elsewhere, with the others counted by feature."""
    for row in range(ROWS):
        for j in range(LANES):
            scratch[row * LANES + j] = 0
            if row < rows and j < lanes:
                v = x[offset + row * stride + j]
                if np.isfinite(v):
                    scratch[row * LANES + j] = v
                else:
                    specials[NAN if np.isnan(v) else PLUS_INF if v > 0 else MINUS_INF, to[first + j]] += 1


@kernel
def _unseen(known, block):
    """No |x| of a tile is known yet."""
    fill(known, block + _HIGH, block + _HIGH + LANES, _ZERO)
    fill(known, block + _LOW, block + _LOW + LANES, _NOTHING)


@kernel
def _extent(scratch, known, block):
    """`fold`'s largest and smallest |x|, alone."""
    _unseen(known, block)
    for row in range(ROWS):
        for j in range(LANES):
            high, low = block + _HIGH + j, block + _LOW + j
            magnitude = bits(float64(given(scratch, row * LANES + j))) & MAGNITUDE
            keep(known, high, max(get(known, high), magnitude))
            keep(known, low, min(get(known, low), magnitude - ONE))


@kernel
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


@kernel
def _exponents(high, low):
    """The binades of a lane's largest and smallest numbers: ⌊log₂|x|⌋."""
    return np.int64(high >> POINT) - 1023, np.int64((low + ONE) >> POINT) - 1023


@kernel
def _beyond(known, lane, binades):
    """Whether a lane holds what no grid does: numbers far apart or near the ends of float64, or not finite."""
    high = get(known, lane + _HIGH)
    above, below = _exponents(high, get(known, lane + _LOW))
    return (high != 0) & ((above - below > binades - 1) | (below < _LEAST) | (above > _MOST))


@kernel
def _any_beyond(known, block, binades):
    found = 0
    for lane in range(block, block + LANES):
        found |= _beyond(known, lane, binades)
    return found != 0


@kernel
def _fit(state, place, to, out):
    """Give each lane whose numbers leave its grid a new one, with two binades to spare above where there is room.

    Lanes that are all of one feature get the same one, if it can hold them all: `finish` takes them together.
    """
    folds, binades, known, _ = state
    first, block = place * LANES, place * _BLOCK
    if _within(known, block):
        return
    finish(state, place, to, out)
    most, least = _ZERO, _NOTHING
    for lane in range(block, block + LANES):
        most, least = max(most, get(known, lane + _HIGH)), min(least, get(known, lane + _LOW))
    above, below = _exponents(most, least)
    together = to[first] == to[first + 1] and most != 0 and above - below < binades
    for lane in range(block, block + LANES):
        high, low = get(known, lane + _HIGH), get(known, lane + _LOW)
        if together or high >= get(known, lane + _CAP) or low < get(known, lane + _FLOOR):
            if not together:
                above, below = _exponents(high, low)
            top = 1 if high == 0 and not together else above + 1 + min(2, binades - 1 - (above - below))
            keep(known, lane + _TOP, np.uint64(top))
            keep(known, lane + _CAP, np.uint64(top + 1023) << POINT)
            keep(known, lane + _FLOOR, (np.uint64(top - binades + 1023) << POINT) - ONE)
            for part in range(folds):
                keep(known, lane + _MAGIC + part * LANES, _magic(_unit(part, top)))


@kernel
def _add(x, offset, stride, rows, ahead, folds, known, block):
    """Add rows of a tile, a multiple of `DEPTH`, if they keep within the grids of their lanes; whether they do."""
    before = len(known) - 6 * LANES
    copy(known, block, folds * LANES, known, before)
    _unseen(known, block)
    fold(x, offset, stride, rows, ahead, known, block)
    within = _within(known, block)
    if within:
        keep(known, block + _SUMMED, get(known, block + _SUMMED) + np.uint64(rows))
    else:
        copy(known, before, folds * LANES, known, block)
    return within


@kernel
def add_tile(x, offset, stride, rows, lanes, ahead, state, place, to, specials, out):
    """Add a tile, or what there is of one: `rows` rows of `lanes` lanes, of the block at `place`.

    Its lane j is of feature to[64 · place + j]; the tile that comes next lies `ahead`.
    """
    folds, binades, known, scratch = state
    first, block = place * LANES, place * _BLOCK
    if get(known, block + _SUMMED) > FLUSH:
        finish(state, place, to, out)
    whole = rows % DEPTH == 0 and lanes == LANES
    if whole and _add(x, offset, stride, rows, ahead, folds, known, block):
        return
    if whole and not _any_beyond(known, block, binades):
        _fit(state, place, to, out)
        _add(x, offset, stride, rows, ahead, folds, known, block)
        return
    _finite_copy(x, offset, stride, rows, lanes, scratch, to, first, specials)
    _extent(scratch, known, block)
    for j in range(LANES):
        if _beyond(known, block + j, binades):
            _add_singly(scratch, j, to[first + j], out)
            keep(known, block + _HIGH + j, _ZERO)
            keep(known, block + _LOW + j, _NOTHING)
    _fit(state, place, to, out)
    _add(scratch, START, STRIDE, ROWS, START, folds, known, block)
