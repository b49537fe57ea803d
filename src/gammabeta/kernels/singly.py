"""The kernels of exact sums that add number by number: any float, any 64-bit integer, any weight.

Sums are limbs, int64 (height, lanes), as in `limbs`, digits not carried: each number adds less than 2³³ to a digit.
"""

import numpy as np
from numba import types
from numba.extending import overload

from gammabeta.kernels.intrinsics import bits, kernel, multiply_high

# Constants of NumPy's types rather than Python's: Numba compiles a function once for each Python constant it is given.
SUM_BASE, SUM_HEIGHT = np.int64(-34), 70  # limbs for x: from 2^−1088 to beyond every float and 64-bit integer
SQUARES_BASE, SQUARES_HEIGHT = np.int64(-68), 138  # for x² and w·x: from 2^−2176
CUBES_BASE, CUBES_HEIGHT = np.int64(-102), 206  # for w·x²: from 2^−3264

NAN, PLUS_INF, MINUS_INF = 0, 1, 2

MAGNITUDE = np.uint64(0x7FFF_FFFF_FFFF_FFFF)
POINT = np.uint64(52)
ONE = np.uint64(1)
POSITIVE = np.bool_(False)
_FRACTION = np.uint64(2**52 - 1)
_LOW = np.uint64(0xFFFF_FFFF)
_WORD = np.uint64(32)


@kernel
def add_shifted(limbs, base, touched, lane, value, exponent, negative):
    """Add ±value · 2^exponent, value an unsigned 64-bit integer, to a lane of limbs; note which rows that touched."""
    position = exponent - 32 * base
    at = position >> 5
    shift = np.uint64(position & 31)
    first = (value & _LOW) << shift
    second = (value >> _WORD) << shift
    d0 = np.int64(first & _LOW)
    d1 = np.int64(first >> _WORD) + np.int64(second & _LOW)
    d2 = np.int64(second >> _WORD)
    if negative:
        d0, d1, d2 = -d0, -d1, -d2
    limbs[at, lane] += d0
    limbs[at + 1, lane] += d1
    limbs[at + 2, lane] += d2
    touched[0] = min(touched[0], at)
    touched[1] = max(touched[1], at + 3)


@kernel
def add_square(limbs, base, touched, lane, value, exponent):
    """Add (value · 2^exponent)²."""
    add_shifted(limbs, base, touched, lane, value * value, 2 * exponent, POSITIVE)
    add_shifted(limbs, base, touched, lane, multiply_high(value, value), 2 * exponent + 64, POSITIVE)


def split(v):
    """A finite number as an unsigned integer, an exponent of 2 and whether it is negative."""


@overload(split)
def _split(v):
    def integer(v):
        return (np.uint64(0) - np.uint64(v) if v < 0 else np.uint64(v)), 0, v < 0

    def floating(v):
        b = bits(v)
        field = np.int64((b & MAGNITUDE) >> POINT)
        significand = b & _FRACTION
        if field > 0:
            significand |= ONE << POINT
        return significand, max(field, 1) - 1075, v < 0

    return integer if isinstance(v, types.Integer) else floating


@kernel
def accumulate_integers(x, lanes, sum_limbs, square_limbs, touched):
    """Add a table of int64 or uint64, number by number. x: 1-d, row i being x[i·lanes : (i + 1)·lanes]."""
    for i in range(len(x)):
        size, exponent, negative = split(x[i])
        add_shifted(sum_limbs, SUM_BASE, touched[0], i % lanes, size, exponent, negative)
        add_square(square_limbs, SQUARES_BASE, touched[1], i % lanes, size, exponent)


@kernel
def add_weighted(v, w, lane, omit, weights, weight_base, sums, sum_base, squares, square_base, specials, touched):
    """Add w, w·v and w·v² to a lane of limbs with these bases; where w = 0, v counts for nothing.

    v: float64, int64 or uint64; w: float64, finite, ≥ 0; omit: whether the weight of a NaN is left out.
    """
    if w == 0:
        return
    weight, place, _ = split(w)
    if not (omit and np.isnan(v)):
        add_shifted(weights, weight_base, touched[0], lane, weight, place, POSITIVE)
    if not np.isfinite(v):
        specials[NAN if np.isnan(v) else PLUS_INF if v > 0 else MINUS_INF, lane] += 1
        return
    size, exponent, negative = split(v)
    place += exponent
    add_shifted(sums, sum_base, touched[1], lane, size * weight, place, negative)
    add_shifted(sums, sum_base, touched[1], lane, multiply_high(size, weight), place + 64, negative)
    place += exponent
    lower, upper = size * size, multiply_high(size, size)
    middle = multiply_high(lower, weight) + upper * weight
    carry = np.uint64(middle < upper * weight)
    highest = multiply_high(upper, weight) + carry
    add_shifted(squares, square_base, touched[2], lane, lower * weight, place, POSITIVE)
    add_shifted(squares, square_base, touched[2], lane, middle, place + 64, POSITIVE)
    add_shifted(squares, square_base, touched[2], lane, highest, place + 128, POSITIVE)


@kernel
def accumulate_weighted(x, weights, lanes, omit, weight_limbs, sum_limbs, square_limbs, specials, touched):
    """Add w, w·x and w·x² number by number, whole.

    x: 1-d, row i being x[i·lanes : (i + 1)·lanes], float64, int64 or uint64; weights: float64, as many, finite, ≥ 0;
    omit: whether the weight of a NaN is left out; touched: int64 (3, 2), for the weights' limbs first.
    """
    for i in range(len(x)):
        add_weighted(
            x[i],
            weights[i],
            i % lanes,
            omit,
            weight_limbs,
            SUM_BASE,
            sum_limbs,
            SQUARES_BASE,
            square_limbs,
            CUBES_BASE,
            specials,
            touched,
        )
