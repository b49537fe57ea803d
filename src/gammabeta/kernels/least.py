"""The least and the greatest value of every feature, of an array of any layout and type."""

from functools import reduce

import numpy as np
from numba import njit
from numpy.typing import NDArray

from gammabeta import axes
from gammabeta.kernels import layout
from gammabeta.kernels.intrinsics import prefetch
from gammabeta.kernels.layout import Array

Range = tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]
"""Per feature the least and the greatest value, +inf and −inf where there is none, and how many are NaN."""

ROWS = 32


@njit(nogil=True, cache=True)
def _extent(x, lanes, low, high, missing):
    """Lower `low`, raise `high` and count NaN, lane by lane; comparisons with NaN are false. low, high: x's type."""
    for start in range(0, len(x), lanes * ROWS):
        end = min(start + lanes * ROWS, len(x))
        for at in range(0, lanes, layout.LANES):
            width = min(layout.LANES, lanes - at)
            least, most, none = low[at : at + width], high[at : at + width], missing[at : at + width]
            for row in range(start, end, lanes):
                values = x[row + at : row + at + width]
                for line in range(0, width, layout.LINE // x.itemsize):
                    prefetch(x, row + at + line + lanes * ROWS)
                for j in range(width):
                    v = values[j]
                    least[j] = v if v < least[j] else least[j]
                    most[j] = v if v > most[j] else most[j]
                    none[j] += v != v


def extent(x: Array, axis: axes.Axis) -> Range:
    """The range of every feature over `axis`."""
    found: Range = layout.reduced(x, axis, layout.Reduction(_table, added, concatenated))
    return found


def added(parts: list[Range], features: int) -> Range:
    if parts:
        return reduce(_joined, parts)
    return np.full(features, np.inf), np.full(features, -np.inf), np.zeros(features, np.int64)


def _joined(a: Range, b: Range) -> Range:
    return np.minimum(a[0], b[0]), np.maximum(a[1], b[1]), a[2] + b[2]


def concatenated(parts: list[Range]) -> Range:
    low, high, missing = (np.concatenate(column) for column in zip(*parts, strict=True))
    return low, high, missing


def _table(x: Array) -> Range:
    """The range of a contiguous table (n, f); 64-bit integers to the nearest float64."""
    n, features = x.shape
    if x.dtype.kind != "f":
        return x.min(axis=0).astype(np.float64), x.max(axis=0).astype(np.float64), np.zeros(features, np.int64)
    several = layout.lanes(n, features, ROWS)
    flat = layout.readable(x.reshape(-1))
    whole = n // several * several * features
    parts = [_lanes(flat[:whole], several * features, features)]
    if whole < len(flat):
        parts.append(_lanes(flat[whole:], features, features))
    return added(parts, features)


def _lanes(flat: Array, lanes: int, features: int) -> Range:
    low, high = np.full(lanes, np.inf, flat.dtype), np.full(lanes, -np.inf, flat.dtype)
    missing = np.zeros(lanes, np.int32 if flat.dtype == np.float32 else np.int64)  # as wide as the values: vectorizes
    _extent(flat, lanes, low, high, missing)
    shape = -1, features
    least, most = low.reshape(shape).min(axis=0) + 0.0, high.reshape(shape).max(axis=0) + 0.0  # −0.0 + 0.0 = 0.0
    return least.astype(np.float64), most.astype(np.float64), missing.reshape(shape).sum(axis=0, dtype=np.int64)
