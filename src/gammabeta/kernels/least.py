"""The least and the greatest value of every feature, of an array of any layout and type."""

from functools import reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gammabeta import axes
from gammabeta.kernels import layout, threads
from gammabeta.kernels.intrinsics import kernel, prefetch
from gammabeta.kernels.layout import Array
from gammabeta.kernels.storage import get, given, keep

Range = tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]
"""Per feature the least and the greatest value, +inf and −inf where there is none, and how many are NaN."""

ROWS = 32
DEPTH = 4  # rows between loading what is known of a lane and storing it


@kernel
def _extend(x, at, stride, rows, width, low, high, missing, lane):
    """Lower `low`, raise `high` and count NaN over rows of x, `width` lanes each; comparisons with NaN are false."""
    for j in range(width):
        least, most, none = get(low, lane + j), get(high, lane + j), get(missing, lane + j)
        for k in range(rows):
            v = given(x, at + k * stride + j)
            least = v if v < least else least
            most = v if v > most else most
            none += v != v
        keep(low, lane + j, least)
        keep(high, lane + j, most)
        keep(missing, lane + j, none)


@kernel
def _extent(x, lanes, low, high, missing):
    """The extent of a table, lane by lane. low, high: x's type."""
    rows = len(x) // lanes
    for top in range(0, rows, ROWS):
        bottom = min(top + ROWS, rows)
        for lane in range(0, lanes, layout.LANES):
            width = min(layout.LANES, lanes - lane)
            for row in range(top, bottom, DEPTH):
                at = row * lanes + lane
                for k in range(DEPTH):
                    for line in range(0, width, layout.LINE // x.itemsize):
                        prefetch(x, at + (ROWS + k) * lanes + line)
                if bottom - row >= DEPTH:
                    _extend(x, at, lanes, DEPTH, width, low, high, missing, lane)
                else:
                    _extend(x, at, lanes, bottom - row, width, low, high, missing, lane)


@kernel
def extent_of_runs(x, starts, lengths, many, step, begin, end, low, high, missing, least, most, none):
    """The same of the features begin to end, in runs as `layout.Runs` has them. low, …: room for 64 lanes."""
    part = DEPTH * layout.LANES
    for feature in range(begin, end):
        for j in range(layout.LANES):
            low[j], high[j], missing[j] = least[feature], most[feature], 0
        for run in range(many):
            at = starts[feature] + run * step
            stop = at + lengths[feature]
            while at < stop:
                if stop - at >= part:
                    _extend(x, at, layout.LANES, DEPTH, layout.LANES, low, high, missing, 0)
                    at += part
                else:
                    width = min(layout.LANES, stop - at)
                    _extend(x, at, layout.LANES, 1, width, low, high, missing, 0)
                    at += width
        for j in range(layout.LANES):
            least[feature], most[feature] = min(least[feature], low[j]), max(most[feature], high[j])
            none[feature] += missing[j]


def extent(x: Array, axis: axes.Axis) -> Range:
    """The range of every feature over `axis`."""
    found: Range = layout.reduced(x, axis, _REDUCTION)
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
    low, high, missing = _empty(lanes, flat.dtype)
    _extent(flat, lanes, low, high, missing)
    shape = -1, features
    least, most = low.reshape(shape).min(axis=0), high.reshape(shape).max(axis=0)
    return _double(least), _double(most), missing.reshape(shape).sum(axis=0, dtype=np.int64)


class Found:
    """The range so far of features that lie in runs."""

    def __init__(self, features: int, dtype: np.dtype[Any]) -> None:
        low, high, _ = _empty(features, dtype)
        self.arrays = low, high, np.zeros(features, np.int64)
        """What `extent_of_runs` widens."""

    def room(self) -> tuple[Array, Array, Array]:
        """What it works in, for a thread."""
        return _empty(layout.LANES, self.arrays[0].dtype)

    @property
    def range(self) -> Range:
        """The range."""
        low, high, missing = self.arrays
        return _double(low), _double(high), missing


def _runs(given: layout.Runs) -> Range:
    """The range of features that lie in runs."""
    found = Found(len(given.lengths), given.memory.dtype)

    def some(between: tuple[int, int]) -> None:
        extent_of_runs(*given, *between, *found.room(), *found.arrays)

    threads.run(some, layout.shares(given, layout.SPLIT))
    return found.range


def _empty(n: int, dtype: np.dtype[Any]) -> tuple[Array, Array, Array]:
    """The range of no values, n times; what counts NaN is as wide as the values: so it vectorizes."""
    missing = np.zeros(n, np.int32 if dtype == np.float32 else np.int64)
    return np.full(n, np.inf, dtype), np.full(n, -np.inf, dtype), missing


def _double(x: Array) -> Array:
    return x.astype(np.float64) + 0.0  # −0.0 + 0.0 = 0.0


_REDUCTION = layout.Reduction(_table, _runs, added, concatenated)
