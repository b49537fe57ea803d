"""A batch as blocks that the kernels of batch norm take, split over threads; and the kernels over them.

An array is a block (a, f, b) as in `layout`: with b > 1 features are runs of contiguous values (`runs`), else lanes of
a table (`rows`). Any other layout is copied once.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gammabeta.kernels import layout, memory, rows, runs, threads
from gammabeta.kernels.layout import Array
from gammabeta.kernels.storage import mapping, stored

Floats = NDArray[np.float64]
Axes = tuple[int, ...]

_SPLIT = 2**17  # values worth a thread's while: 20 µs
_TABLE = 2**19  # the same of a table, whose parts each take some 40 µs of Python
_PIECES = 4  # of a thread's share: another library's threads, idle but awake, may keep a processor from it


class Batch(NamedTuple):
    """The statistics of a batch per feature, each (f,)."""

    mean: Floats
    rest: Floats
    """What rounding took from the mean: mean + rest has twice a float64's digits."""
    var: Floats
    """Biased."""
    values: int


class New(NamedTuple):
    """A result, and its memory as the kernels take it."""

    array: Array
    flat: Array


class Block:
    """x as contiguous memory (runs, features, width), and the kernels over it."""

    def __init__(self, x: Array, away: Axes) -> None:
        x = x if x.dtype.isnative else x.astype(x.dtype.newbyteorder("="))
        grouped = layout.groups(x, away)
        try:
            block = layout.block(x, grouped, copy=False)
        except ValueError:
            block = None
        if block is None or not block.flags.c_contiguous:
            x = np.ascontiguousarray(x)
            grouped = layout.groups(x, away)
            block = np.ascontiguousarray(layout.block(x, grouped))
        self.dtype = x.dtype
        self.order = [i for group in grouped for i in group]
        self.lengths = [x.shape[i] for i in self.order]
        self.runs, self.features, self.width = block.shape
        self.count = self.runs * self.width
        self.flat = layout.readable(stored(block.reshape(-1)))

    @property
    def shape(self) -> tuple[int, int, int]:
        """As the kernels of runs take it."""
        return self.features, self.width, self.runs

    def new(self) -> New:
        """An array like x, with x's layout in memory."""
        place = memory.empty(self.flat.size, self.dtype)
        return New(place.reshape(self.lengths).transpose(np.argsort(self.order)), stored(place))

    def beside(self, other: Array | None) -> Any:
        """The memory of another array of x's shape, in x's layout; None for None."""
        if other is None:
            return None
        moved = np.ascontiguousarray(other.transpose(self.order), self.dtype)
        return layout.readable(stored(moved.reshape(-1)))

    @property
    def by_feature(self) -> bool:
        """Whether each thread does whole features: its second look at one then finds it in the cache."""
        return self.width > 1 and (self.features >= 2 * threads.count() or self.flat.size < 2 * _SPLIT)

    def split_features(self, work: Callable[[int, int], None]) -> None:
        """Run the work over ranges of features."""
        threads.run(lambda r: work(*r), threads.ranges(self.features, _SPLIT // self.count, pieces=_PIECES))

    def split_runs(self, work: Callable[[int, int], Any]) -> list[Any]:
        """Run the work over ranges of runs."""
        least = _SPLIT // (self.features * self.width)
        return threads.run(lambda r: work(*r), threads.ranges(self.runs, least, pieces=_PIECES))

    def split_tables(self, work: Callable[[slice, int, int], Any]) -> list[Any]:
        """Run the work over parts of the table that this block is: its place in memory, lanes and rows.

        Several rows of a narrow table lie side by side as one, so that its lanes are 64 or more.
        """
        several = layout.lanes(self.runs, self.features, int(rows.LANES) // 4)
        lanes, whole = several * self.features, self.runs // several
        parts = [
            (slice(first * lanes, last * lanes), lanes, last - first)
            for first, last in threads.ranges(whole, _TABLE // lanes, pieces=_PIECES)
        ]
        if left := self.runs % several:
            parts.append((slice(whole * lanes, None), self.features, left))
        if self.flat.size < 2 * _TABLE:
            return [work(*part) for part in parts]
        return threads.run(lambda part: work(*part), parts)

    def moments(self) -> Batch:
        """The statistics."""

        def of_runs(first: int, last: int) -> Floats:
            part = np.empty((4, self.features))
            runs.moments(self.flat, self.features, self.width, first, last, *part[1:])
            part[0] = (last - first) * self.width
            return part[:, None]

        def of_table(place: slice, lanes: int, height: int) -> Floats:
            state, joined = _state(lanes, np.zeros(lanes, mapping(self.flat))), _joining(lanes)
            rows.moments(self.flat[place], lanes, 0, height, 0, _groups(lanes), state, joined)
            high, low, squares = _lanes(joined, lanes).reshape(3, -1, self.features)
            return np.stack([np.full(high.shape, float(height)), high, low, squares])

        parts = self.split_runs(of_runs) if self.width > 1 else self.split_tables(of_table)
        return _joined(np.concatenate(parts, axis=1))

    def apply(
        self, y: Array, mean: Floats, rest: Floats, scale: Floats, shift: Floats, added: Any, least: float | None
    ) -> None:
        """Write max(((x − mean) − rest) · scale + shift + added, least)."""

        def to_table(place: slice, lanes: int, height: int) -> None:
            beside = None if added is None else added[place]
            rows.apply(self.flat[place], beside, y[place], lanes, 0, height, *self._laid(lanes, *parameters), least)

        if self.width > 1:
            shape = self.features, self.width
            self.split_runs(lambda *r: runs.apply(self.flat, added, y, *shape, *r, mean, rest, scale, shift, least))
            return
        center, rest = self._center(mean, rest)
        parameters = center, scale, _less(shift, rest, scale)
        self.split_tables(to_table)

    def products(self, dy: Array, batch: Batch) -> Floats:
        """Σdy and Σdy · (x − mean), (2, features)."""

        def of_runs(first: int, last: int) -> Floats:
            part = np.empty((2, self.features))
            runs.products(self.flat, dy, self.features, self.width, first, last, batch.mean, batch.rest, *part)
            return part

        def of_table(place: slice, lanes: int, height: int) -> Floats:
            state, joined = _state(lanes, *self._laid(lanes, center)), _joining(lanes)
            rows.products(self.flat[place], dy[place], lanes, 0, height, 0, _groups(lanes), state, joined)
            return _lanes(joined, lanes)[:2].reshape(2, -1, self.features).sum(axis=1)

        if self.width > 1:
            return np.sum(self.split_runs(of_runs), axis=0)
        center, rest = self._center(batch.mean, batch.rest)
        total, product = np.sum(self.split_tables(of_table), axis=0)
        return np.stack([total, product - rest * total])

    def slope(self, dy: Array, dx: Array, mean: Floats, rest: Floats, a: Floats, b: Floats, c: Floats) -> None:
        """Write dy · a + (((x − mean) − rest) · b + c)."""

        def of_table(place: slice, lanes: int, height: int) -> None:
            rows.slope(self.flat[place], dy[place], dx[place], lanes, 0, height, *self._laid(lanes, *parameters))

        if self.width > 1:
            shape = self.features, self.width
            self.split_runs(lambda *r: runs.slope(self.flat, dy, dx, *shape, *r, mean, rest, a, b, c))
            return
        center, rest = self._center(mean, rest)
        parameters = center, a, b, _less(c, rest, b)
        self.split_tables(of_table)

    def _center(self, mean: Floats, rest: Floats) -> tuple[Array, Floats]:
        """The mean in the type that x is mapped in, and what rests of it."""
        with np.errstate(over="ignore", invalid="ignore"):
            center = mean.astype(mapping(self.flat))
            return center, (mean - center) + rest

    def _laid(self, lanes: int, *parameters: Array) -> list[Array]:
        """Parameters, (f,), for every lane of a table, in the type that x is mapped in."""
        with np.errstate(over="ignore"):
            return [np.tile(p.astype(mapping(self.flat)), lanes // self.features) for p in parameters]


def _less(shift: Floats, rest: Floats, scale: Floats) -> Floats:
    """shift − rest · scale; where nothing rests with no look at scale, which may be infinite."""
    with np.errstate(invalid="ignore", over="ignore"):
        return np.where(rest != 0, shift - rest * scale, shift)


def _groups(lanes: int) -> int:
    """How many groups of 64 lanes."""
    return -(-lanes // int(rows.LANES))


def _state(lanes: int, center: Array) -> Array:
    """The state that sums of a table begin with, flat: the center of each lane, and zeros."""
    state = np.zeros((_groups(lanes), int(rows.STATE // rows.LANES), int(rows.LANES)), center.dtype)
    padded = np.zeros(_groups(lanes) * int(rows.LANES), center.dtype)
    padded[:lanes] = center
    state[:, 0] = padded.reshape(-1, int(rows.LANES))
    return state.reshape(-1)


def _joining(lanes: int) -> Floats:
    """Where a table's blocks are joined: zeros."""
    return np.zeros(_groups(lanes) * int(rows.JOINED))


def _lanes(joined: Floats, lanes: int) -> Floats:
    """The three quantities of each lane, (3, lanes)."""
    return joined.reshape(-1, 3, int(rows.LANES)).transpose(1, 0, 2).reshape(3, -1)[:, :lanes]


def _joined(parts: Floats) -> Batch:
    """The statistics of parts together. parts: count, mean, rest and Σ(x − mean)² of each, (4, parts ≥ 1, features)."""
    count, mean, rest, squares = parts
    total = count.sum(axis=0)
    with np.errstate(over="ignore", invalid="ignore"):
        high = (count * mean).sum(axis=0) / total
        apart = (mean - high) + rest
        low = (count * apart).sum(axis=0) / total
        var = (squares + count * (apart - low) ** 2).sum(axis=0) / total
    return Batch(high, low, var, int(total[0]))
