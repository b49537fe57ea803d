"""Helpers for sums of one column, (n,): its dtype in kernels, its pieces, and the exponents of its numbers."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from gammabeta.kernels import groupby as kernel
from gammabeta.kernels import layout, limbs, thread_pool
from gammabeta.kernels.dtypes import Array

PIECE = 2**15  # rows converted at a time: they stay in a core's cache
_NO_FIELD = 2047  # of an infinity: above every number's


def pieces(start: int, stop: int, step: int = PIECE) -> Iterator[slice]:
    """The rows start…stop in slices of `step`."""
    return (slice(at, min(at + step, stop)) for at in range(start, stop, step))


def doubles(x: Array) -> Array:
    """x in float64, contiguous."""
    return np.ascontiguousarray(x, np.float64)


def whole(x: Array) -> Array:
    """x in int64 or uint64, contiguous."""
    return np.ascontiguousarray(x, x.dtype.newbyteorder("="))


def is_wide(x: Array) -> bool:
    """Whether x holds integers that float64 does not."""
    wide = x.dtype.kind in "iu" and x.dtype.itemsize == 8 and x.size
    return bool(wide and (x.max() > layout.LARGEST_EXACT or x.min() < -layout.LARGEST_EXACT))


def span(x: Array) -> tuple[int, int]:
    """The exponents of the units of the least and the greatest number of x, (n,), that is neither 0 nor infinite."""
    if is_wide(x):
        return 0, 0  # integers are in units of 1

    def part(between: tuple[int, int]) -> NDArray[np.uint64]:
        fields = np.array([_NO_FIELD, 0], np.uint64)
        for rows in pieces(*between):
            kernel.span(doubles(x[rows]), fields)
        return fields

    found = thread_pool.run(part, thread_pool.ranges(len(x), layout.COSTLY)) or [np.array([_NO_FIELD, 0], np.uint64)]
    low, high = min(int(fields[0]) for fields in found), max(int(fields[1]) for fields in found)
    return (max(low, 1) - 1075, max(high, 1) - 1075) if low < _NO_FIELD else (0, 0)


def window(low: int, high: int) -> tuple[int, int]:
    """Base and height of limbs for 64-bit integers in units from 2^low to 2^high, and for folds 5 binades above."""
    base = low // limbs.BITS
    return base, (high + 5 - limbs.BITS * base) // limbs.BITS + 3
