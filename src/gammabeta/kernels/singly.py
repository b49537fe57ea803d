"""The kernels of exact sums that add number by number: any float, any 64-bit integer, any weight.

Sums are limbs, int64 (height, lanes), as in `limbs`, digits not carried: each number adds less than 2³³ to a digit.
"""

import numpy as np
from numba import njit, types
from numba.extending import overload

from gammabeta.kernels.intrinsics import bits

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


@njit(cache=True)
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


@njit(cache=True)
def add_square(limbs, base, touched, lane, value, exponent):
    """Add (value · 2^exponent)²."""
    upper, lower = value >> _WORD, value & _LOW
    products, places = (upper * upper, upper * lower, lower * lower), (64, 33, 0)
    for k in range(3):
        add_shifted(limbs, base, touched, lane, products[k], 2 * exponent + places[k], POSITIVE)


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


@njit(nogil=True, cache=True)
def accumulate_integers(x, lanes, sum_limbs, square_limbs, touched):
    """Add a table of int64 or uint64, number by number. x: 1-d, row i being x[i·lanes : (i + 1)·lanes]."""
    for i in range(len(x)):
        size, exponent, negative = split(x[i])
        add_shifted(sum_limbs, SUM_BASE, touched[0], i % lanes, size, exponent, negative)
        add_square(square_limbs, SQUARES_BASE, touched[1], i % lanes, size, exponent)


@njit(nogil=True, cache=True)
def accumulate_weighted(x, weights, lanes, omit, weight_limbs, sum_limbs, square_limbs, specials, touched):
    """Add w, w·x and w·x² number by number, from products of 32-bit halves; where w = 0, x counts for nothing.

    x: 1-d, row i being x[i·lanes : (i + 1)·lanes], float64, int64 or uint64; weights: float64, as many, finite, ≥ 0;
    omit: whether the weight of a NaN is left out; touched: int64 (3, 2), for the weights' limbs first.
    """
    halves = np.zeros(6, np.uint64)
    places = (0, 32, 33, 65, 64, 96)
    for i in range(len(x)):
        lane, v = i % lanes, x[i]
        if weights[i] == 0:
            continue
        weight, weight_exponent, _ = split(weights[i])
        if not (omit and np.isnan(v)):
            add_shifted(weight_limbs, SUM_BASE, touched[0], lane, weight, weight_exponent, POSITIVE)
        if not np.isfinite(v):
            specials[NAN if np.isnan(v) else PLUS_INF if v > 0 else MINUS_INF, lane] += 1
            continue
        size, exponent, negative = split(v)
        upper, lower = size >> _WORD, size & _LOW
        halves[0], halves[1] = lower * lower & _LOW, lower * lower >> _WORD
        halves[2], halves[3] = upper * lower & _LOW, upper * lower >> _WORD
        halves[4], halves[5] = upper * upper & _LOW, upper * upper >> _WORD
        for half in range(2):
            factor = weight >> _WORD if half else weight & _LOW
            place = weight_exponent + 32 * half + exponent
            add_shifted(sum_limbs, SQUARES_BASE, touched[1], lane, factor * upper, place + 32, negative)
            add_shifted(sum_limbs, SQUARES_BASE, touched[1], lane, factor * lower, place, negative)
            for k in range(6):
                place = weight_exponent + 32 * half + 2 * exponent + places[k]
                add_shifted(square_limbs, CUBES_BASE, touched[2], lane, factor * halves[k], place, POSITIVE)
