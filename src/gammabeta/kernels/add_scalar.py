"""The kernels of exact sums that add number by number: any float, any 64-bit integer, any weight.

Sums are limbs, int64 (height, lanes), as in `limbs`: the kernels (`core/exact/add_scalar.hpp`) know these heights.
"""

from gammabeta.kernels import binding
from gammabeta.kernels.dtypes import Array

SUM_BASE, SUM_HEIGHT = -34, 70  # limbs for x: from 2^−1088 to beyond every float and 64-bit integer
SQUARES_BASE, SQUARES_HEIGHT = -68, 138  # for x² and w·x: from 2^−2176
CUBES_BASE, CUBES_HEIGHT = -102, 206  # for w·x²: from 2^−3264

NAN, PLUS_INF, MINUS_INF = 0, 1, 2

_INTEGERS = {"i": binding.function("exact_integers_l"), "u": binding.function("exact_integers_L")}
_WEIGHTED = {
    "f": binding.function("exact_weighted_d"),
    "i": binding.function("exact_weighted_l"),
    "u": binding.function("exact_weighted_L"),
}


def accumulate_integers(x: Array, total: Array, squares: Array, specials: Array, touched: Array) -> None:
    """Add the integers of a table to the sums of their columns, and bring the limbs into canonical form.

    All arrays are contiguous; those after x are the caller's and are written to.

    x: int64 or uint64 (n, lanes). total, squares: limbs of Σx and Σx², int64 (70, lanes) and (138, lanes). specials:
    int64 (3, lanes), not changed. touched: int64 (2, 2), the first and the last-plus-one row of limbs in use.
    """
    _INTEGERS[x.dtype.kind](x, total, squares, specials, touched)


def accumulate_weighted(
    x: Array,
    weights: Array,
    omit: bool,
    weight: Array,
    total: Array,
    squares: Array,
    specials: Array,
    touched: Array,
) -> None:
    """Add w, w·x and w·x² of each number of a table to the sums of their columns, in canonical form.

    All arrays are contiguous; those after omit are the caller's and are written to.

    x: float64, int64 or uint64 (n, lanes). weights: float64 (n, lanes), finite and ≥ 0. omit: whether the weight of a
    NaN is left out. weight, total, squares: limbs of Σw, Σw·x and Σw·x², int64 (70, lanes), (138, lanes) and (206,
    lanes). specials: int64 (3, lanes), how many x are NaN, +inf and −inf. touched: int64 (3, 2), the first and the
    last-plus-one row of limbs in use.
    """
    _WEIGHTED[x.dtype.kind](x, weights, omit, weight, total, squares, specials, touched)
