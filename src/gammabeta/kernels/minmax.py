"""The least and the greatest value of every feature, of an array of any layout and type."""

from collections.abc import Iterable
from functools import reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gammabeta import axes
from gammabeta.kernels import binding, layout, thread_pool
from gammabeta.kernels.dtypes import Array

Range = tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]
"""Per feature the least and the greatest value, +inf and −inf where there is none, and how many are NaN."""

_ROWS = 32  # of a tile
_TABLE, _RUNS = binding.by_type("minmax_table"), binding.by_type("minmax_runs")


def extent(x: Array, axis: axes.Axis) -> Range:
    """The range of every feature over `axis`."""
    found: Range = layout.reduced(x, axis, _REDUCTION)
    return found


def added(parts: Iterable[Range], features: int) -> Range:
    """The range of parts of the same features; of no values if there are none."""
    waiting = iter(parts)
    first = next(waiting, None)
    if first is None:
        return np.full(features, np.inf), np.full(features, -np.inf), np.zeros(features, np.int64)
    return reduce(_joined, waiting, first)


def _joined(a: Range, b: Range) -> Range:
    return np.minimum(a[0], b[0]), np.maximum(a[1], b[1]), a[2] + b[2]


def concatenated(parts: list[Range]) -> Range:
    """The ranges of parts of different features, one after another."""
    low, high, missing = (np.concatenate(column) for column in zip(*parts, strict=True))
    return low, high, missing


def _table(x: Array) -> Range:
    """The range of a contiguous table (n, f); 64-bit integers to the nearest float64."""
    n, features = x.shape
    if x.dtype.kind != "f":
        return x.min(axis=0).astype(np.float64), x.max(axis=0).astype(np.float64), np.zeros(features, np.int64)
    several = layout.lanes(n, features, _ROWS)
    flat = x.reshape(-1)
    whole = n // several * several * features
    parts = [_lanes(flat[:whole], several * features, features)]
    if whole < len(flat):
        parts.append(_lanes(flat[whole:], features, features))
    return added(parts, features)


def _lanes(flat: Array, lanes: int, features: int) -> Range:
    low, high, missing = _empty(lanes, flat.dtype)
    _TABLE[flat.dtype.char](flat, low, high, missing)
    shape = -1, features
    minima, maxima = low.reshape(shape).min(axis=0), high.reshape(shape).max(axis=0)
    return _double(minima), _double(maxima), missing.reshape(shape).sum(axis=0, dtype=np.int64)


class RangeAccumulator:
    """The range so far of features that lie in runs."""

    def __init__(self, features: int, dtype: np.dtype[Any]) -> None:
        low, high, _ = _empty(features, dtype)
        self.arrays = low, high, np.zeros(features, np.int64)
        """Minimum, maximum and number of NaN of each feature, (features,): kernels write to them."""

    @property
    def range(self) -> Range:
        """The range in float64; arrays of the caller's own."""
        low, high, missing = self.arrays
        return _double(low), _double(high), missing


def _runs(given: layout.Runs) -> Range:
    """The range of features that lie in runs."""
    found = RangeAccumulator(len(given.lengths), given.memory.dtype)

    def some(between: tuple[int, int]) -> None:
        _RUNS[given.memory.dtype.char](*given, *between, *found.arrays)

    thread_pool.run(some, layout.shares(given, layout.SPLIT))
    return found.range


def _empty(n: int, dtype: np.dtype[Any]) -> tuple[Array, Array, Array]:
    """The range of no values, n times; what counts NaN is as wide as the values: so it vectorizes."""
    missing = np.zeros(n, np.int32 if dtype == np.float32 else np.int64)
    return np.full(n, np.inf, dtype), np.full(n, -np.inf, dtype), missing


def _double(x: Array) -> Array:
    return x.astype(np.float64) + 0.0  # −0.0 + 0.0 = 0.0


_REDUCTION = layout.Reduction(_table, _runs, added, concatenated)
