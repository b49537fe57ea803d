"""Rows of numbers go through folds: sums of x and x² by lane, as integers.

With the constant M = 1.5·2^(52+g) the sum x + M is x rounded to a multiple of 2^g, and where |x| ≤ 2^(51+g) its bits,
read as an integer, are those of M plus that multiple. So the bits are added up as 64-bit integers: 51 bits of x a fold,
4095 rows before they could overflow. What a fold leaves, x − ((x + M) − M), is exact too and goes through a second fold
51 binades below, whose constant is M′: as M + M′ is a float64, x + ((M + M′) − (x + M)) is what is left, plus M′.
float64 squares are h + l, h = x·x and l = fma(x, x, −h), two folds each. float32 squares are exact in float64, and
float32 leave nothing to a second fold: four are added to M before its bits are read.

After Demmel and Hida (2004), Rump (2009), Demmel and Nguyen (2015); the integer view of x + M is what makes a fold
51 bits wide rather than 43.
"""

from typing import Any

import numpy as np
from numba import float64, types, uint32
from numba.extending import overload

from gammabeta.kernels.intrinsics import bits, fma, kernel, number, prefetch
from gammabeta.kernels.layout import LANES, LINE
from gammabeta.kernels.singly import MAGNITUDE, ONE, POINT
from gammabeta.kernels.storage import get, given, keep, put, single, word_of

ROWS = 32
DEPTH = 4  # rows between loading a lane's sums and storing them: what a core stores a cycle is the limit
SINGLE, DOUBLE = (3, 26), (6, 25)  # folds of float32 and of float64, and binades that they hold below 2^T
BELOW = 51  # binades from a first fold to its second

START, STRIDE = np.int64(0), np.int64(LANES)  # of a tile that lies in one piece
GROUP, TILE = np.int64(DEPTH * LANES), np.int64(ROWS * LANES)  # values of `DEPTH` rows, and of all
DEEP = ROWS // DEPTH  # groups of a tile

# What is known of a block's lanes, in one array: where it begins there, and behind that 64 numbers of each kind.
MAGIC = np.int64(6 * LANES)  # of each fold what `constant` gives; before them each fold's integer sums
HIGH, LOW = np.int64(12 * LANES), np.int64(13 * LANES)  # of a tile: the largest |x|, the smallest |x| ≠ 0 less one
TOP = np.int64(14 * LANES)  # T
CAP, FLOOR = np.int64(15 * LANES), np.int64(16 * LANES)  # what `HIGH` must be below, and `LOW` not
SUMMED = np.int64(17 * LANES)  # one number: of how many rows the sums are
BLOCK = np.int64(17 * LANES + 8)
BEFORE = np.int64(6 * LANES)  # from the end: room for a block's sums

_HALF = np.uint64(1 << 51)
_MAGNITUDE, _NOTHING, _ONE = np.uint32(0x7FFF_FFFF), np.uint32(0), np.uint32(1)


def state(lanes: int, dtype: np.dtype) -> tuple[Any, ...]:
    """What `add_tile` knows of its blocks of 64 lanes, and its scratch; made here, since a kernel's own arrays cost
    a second of compiling.

    Returns: how many folds there are and how many binades they hold below 2^T; what is known of the blocks' lanes, and
    behind it room for a block's sums; room for a tile, and for its lanes' sizes as bits of float32.
    """
    blocks = -(-lanes // LANES)
    folds, binades = SINGLE if dtype == np.float32 else DOUBLE
    known = np.zeros(blocks * BLOCK + BEFORE, np.uint64)
    return folds, binades, known, np.empty(TILE, dtype), np.empty(2 * LANES, np.uint32)


@kernel
def _fetch(x, offset, stride):
    """Ask for rows of a tile, which need not exist: those of a wide table lie far apart."""
    for row in range(DEPTH):
        for j in range(0, LANES, LINE // x.itemsize):
            prefetch(x, offset + row * stride + j)


@kernel
def _sum(known, lane, part):
    return get(known, lane + part * LANES)


@kernel
def _constant(known, lane, part):
    return number(get(known, lane + MAGIC + part * LANES))


@kernel
def _keep(known, lane, a0, a1, a2):
    """Store a lane's first three sums."""
    keep(known, lane, a0)
    keep(known, lane + LANES, a1)
    keep(known, lane + 2 * LANES, a2)


@kernel
def _sizes(x, at, stride, sizes):
    """`fold`'s largest and smallest |x| of `DEPTH` rows, as bits of float32: twice as many fit a vector."""
    for j in range(LANES):
        greatest, least = get(sizes, j), get(sizes, j + LANES)
        for k in range(DEPTH):
            magnitude = uint32(word_of(given(x, at + k * stride + j)) & _MAGNITUDE)
            greatest = max(greatest, magnitude)
            least = min(least, uint32(magnitude - _ONE))
        keep(sizes, j, greatest)
        keep(sizes, j + LANES, least)


@kernel
def _fold_single(x, offset, stride, jump, rows, ahead, known, block, sizes):
    """A tile of float32: one fold of x, `DEPTH` at a time, two of x²."""
    for j in range(LANES):
        keep(sizes, j, _NOTHING)
        keep(sizes, j + LANES, ~_NOTHING)
    for row in range(0, rows, DEPTH):
        at = offset + row // DEPTH * jump
        _fetch(x, at + ahead, stride)
        _sizes(x, at, stride, sizes)
        for j in range(LANES):
            lane = block + j
            a0, a1, a2 = _sum(known, lane, 0), _sum(known, lane, 1), _sum(known, lane, 2)
            t0, m1, both = _constant(known, lane, 0), _constant(known, lane, 1), _constant(known, lane, 2)
            for k in range(DEPTH):
                v = float64(given(x, at + k * stride + j))
                t0 += v
                t = fma(v, v, m1)
                a1 += bits(t)
                a2 += bits(fma(v, v, both - t))
            _keep(known, lane, a0 + bits(t0), a1, a2)
    for j in range(LANES):
        keep(known, block + HIGH + j, bits(float64(single(get(sizes, j)))))
        keep(known, block + LOW + j, bits(float64(single(uint32(get(sizes, j + LANES) + _ONE)))) - ONE)


@kernel
def _fold_double(x, offset, stride, jump, rows, ahead, known, block, sizes):
    """A tile of float64: two folds of x, of h and of l, where x² = h + l."""
    for row in range(0, rows, DEPTH):
        at = offset + row // DEPTH * jump
        _fetch(x, at + ahead, stride)
        for j in range(LANES):
            lane = block + j
            greatest, least = get(known, lane + HIGH), get(known, lane + LOW)
            a0, a1, a2 = _sum(known, lane, 0), _sum(known, lane, 1), _sum(known, lane, 2)
            a3, a4, a5 = _sum(known, lane, 3), _sum(known, lane, 4), _sum(known, lane, 5)
            m0, m1, both1 = _constant(known, lane, 0), _constant(known, lane, 1), _constant(known, lane, 2)
            both0, m4, both4 = _constant(known, lane, 3), _constant(known, lane, 4), _constant(known, lane, 5)
            for k in range(DEPTH):
                v = given(x, at + k * stride + j)
                magnitude = bits(v) & MAGNITUDE
                greatest = max(greatest, magnitude)
                least = min(least, magnitude - ONE)
                t = v + m0
                a0 += bits(t)
                a3 += bits(v + (both0 - t))
                h = v * v
                t = h + m1
                a1 += bits(t)
                a2 += bits(h + (both1 - t))
                e = fma(v, v, -h)
                t = e + m4
                a4 += bits(t)
                a5 += bits(e + (both4 - t))
            keep(known, lane + HIGH, greatest)
            keep(known, lane + LOW, least)
            _keep(known, lane, a0, a1, a2)
            keep(known, lane + 3 * LANES, a3)
            keep(known, lane + 4 * LANES, a4)
            keep(known, lane + 5 * LANES, a5)


def fold(x, offset, stride, jump, rows, ahead, known, block, sizes):
    """Add rows of a tile, a multiple of `DEPTH` of them; find the largest |x| and the smallest |x| ≠ 0, less one, of
    each lane, as bits."""


@overload(fold)
def _fold(x, offset, stride, jump, rows, ahead, known, block, sizes):
    def single(x, offset, stride, jump, rows, ahead, known, block, sizes):
        _fold_single(x, offset, stride, jump, rows, ahead, known, block, sizes)

    def double(x, offset, stride, jump, rows, ahead, known, block, sizes):
        _fold_double(x, offset, stride, jump, rows, ahead, known, block, sizes)

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
def many(part, folds, rows):
    """How often a fold's bits were added in so many rows: those of float32 themselves once in `DEPTH`."""
    return rows // np.uint64(DEPTH) if part == 0 and folds == 3 else rows


@kernel
def magic(exponent):
    """1.5 · 2^(52 + exponent), as bits."""
    return (np.uint64(1023 + 52 + exponent) << POINT) | _HALF


@kernel
def constant(part, top):
    """What a fold adds, as bits: a first one M, a second one M + M′."""
    below = unit(part, top)
    if part == 0 or part == 1 or part == 4:
        return magic(below)
    return bits(number(magic(below + BELOW)) + number(magic(below)))


@kernel
def unit(part, top):
    """The exponent of the unit of each fold, in a lane whose numbers are below 2^top: x, h, h, x, l, l."""
    if part == 0:
        return top - 49
    if part == 1:
        return 2 * top - 51
    if part == 2:
        return 2 * top - 51 - BELOW
    if part == 3:
        return top - 49 - BELOW
    if part == 4:
        return 2 * top - 105
    return 2 * top - 105 - BELOW
