"""The kernels of exact sums that add number by number: any float, any 64-bit integer, any weight.

Sums are limbs, int64 (height, lanes), as in `limbs`: the kernels (`core/exact/add_scalar.hpp`) know these heights.
"""

from typing import Any

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


def accumulate_integers(x: Array, *out: Any) -> None:
    """Add a table of int64 or uint64, number by number, and bring the limbs into canonical form.

    x: contiguous. out: limbs of Σx and Σx², (70, lanes) and (138, lanes); specials, int64 (3, lanes); touched, int64
    (2, 2), the first and the last-plus-one row of limbs in use.
    """
    _INTEGERS[x.dtype.kind](x, *out)


def accumulate_weighted(x: Array, weights: Array, omit: bool, *out: Any) -> None:
    """Add w, w·x and w·x² number by number, likewise.

    x: float64, int64 or uint64; weights: float64, as many, finite, ≥ 0; omit: whether the weight of a NaN is left out.
    out: limbs, (70, lanes), (138, lanes) and (206, lanes), specials and touched, (3, 2).
    """
    _WEIGHTED[x.dtype.kind](x, weights, omit, *out)
