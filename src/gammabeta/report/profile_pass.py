"""Two passes over each column: exact statistics and a sample, then a histogram and central moments.

A file that keeps its columns apart is read some columns at a time. What fits in `HELD_BYTES` is kept from the first
look for the second; only longer columns are read again.
"""

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import groupby
from math import nan
from operator import itemgetter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gammabeta.affine import constant
from gammabeta.data.core.options import ProgressFn
from gammabeta.data.core.source import Block, Chunk, Column, Restart, Source
from gammabeta.data.io.prefetch import prefetch
from gammabeta.data.passes.measure import Both, added, both_of, in_order
from gammabeta.errors import DataError
from gammabeta.kernels import histogram, thread_pool
from gammabeta.report.profile import NO_GRID, Grid, Profile, grid_for
from gammabeta.report.sampling import Sample

HELD_BYTES = 192 << 20
AHEAD = 4  # pieces that are read while a group has its second look
WHOLE = 2.0**53
NEARLY_ALL = 0.9  # of the values must be able to differ, for them to be counted

Group = tuple[str, ...]


def profiles(
    source: Source,
    chosen: Callable[[], Sequence[Column]],
    progress: ProgressFn,
    against: Mapping[str, Profile] | None = None,
) -> list[Profile]:
    """The profiles of a file's columns.

    Args:
        chosen: says which columns; asked again where text turns out to be of other types than it seemed.
        against: another file's profiles, under whose grids and ranges to look.

    Raises:
        DataError: the file has no rows.
    """
    while True:
        columns = chosen()
        try:
            with source.unchanged():
                found = [profile for part in _groups(source, columns, progress, against or {}) for profile in part]
        except Restart:
            continue
        if not found or not found[0].rows:
            raise DataError(f"at least one row is needed to report on, {str(source.path)!r} has none")
        place = {profile.name: profile for profile in found}
        return [place[column.name] for column in columns]


def _groups(
    source: Source, columns: Sequence[Column], progress: ProgressFn, against: Mapping[str, Profile]
) -> Iterator[list[Profile]]:
    known = {column.name: column for column in columns}
    for group, stream in groupby(
        prefetch(source.pieces(list(known)), AHEAD, in_caller_thread=source.in_caller_thread), key=itemgetter(0)
    ):
        first = First(group)
        for _, piece in stream:
            first.add(piece)
            progress(piece.done, source.size)
        second = Second(first, [known[name] for name in group], against)
        if first.held is not None:
            second.add_held(first.held)
        else:
            for block in _again(source, group):
                second.add(block)
        yield second.profiles()


def _again(source: Source, group: Group) -> Iterator[Block]:
    for _, piece in prefetch(source.pieces(group), in_caller_thread=source.in_caller_thread):
        yield from piece.present(group)


class First:
    """The first pass over a group of columns: exact statistics, a sample, and the blocks if they fit in memory."""

    def __init__(self, names: Group) -> None:
        self.names, self.rows = names, 0
        self.sample = Sample(len(names))
        self.infinities = np.zeros((len(names), 2), np.int64)
        self.held: deque[Block] | None = deque()
        self._totals: dict[Group, Both] = {}
        self._size = 0

    def add(self, piece: Chunk) -> None:
        """Add some rows."""
        self.rows += piece.rows
        blocks = list(piece.present(self.names))
        for block, both in zip(blocks, thread_pool.run(self._finite, blocks), strict=True):
            key = tuple(self.names[i] for i in block.at)
            self._totals[key] = added(self._totals[key], both) if key in self._totals else both
            self.sample.add(block.at, block.values)
            self._hold(block)

    def _finite(self, block: Block) -> Both:
        """The statistics of the finite values; infinities are counted apart."""
        both = both_of(block.values)
        if not both[0].infinities.any():
            return both
        table = block.values.reshape(len(block.values), len(block.at))
        self.infinities[list(block.at)] += np.stack([(table == sign * np.inf).sum(axis=0) for sign in (1, -1)], axis=1)
        return both_of(np.where(np.isinf(block.values), np.nan, block.values))

    def _hold(self, block: Block) -> None:
        self._size += block.values.nbytes
        if self._size > HELD_BYTES:
            self.held = None
        if self.held is not None:
            self.held.append(block)

    def statistics(self) -> Both:
        """Moments and extrema of all columns, shape (k,)."""
        return in_order(self._totals, self.names)


class Second:
    """The second pass over a group of columns: histogram, tallies and central moments."""

    def __init__(self, first: First, columns: Sequence[Column], against: Mapping[str, Profile]) -> None:
        self._first, self._columns = first, columns
        self._moments, self._extrema = first.statistics()
        self._constant = constant(self._moments)
        samples = [first.sample.sorted(i) for i in range(len(columns))]
        self._whole = [_may_be_whole(column, sample) for column, sample in zip(columns, samples, strict=True)]
        others = [against.get(column.name) for column in columns]
        self._grids = [other.grid if other else self._own_grid(i, samples[i]) for i, other in enumerate(others)]
        lows = [other.min if other else low for other, low in zip(others, self._extrema.min, strict=True)]
        highs = [other.max if other else high for other, high in zip(others, self._extrema.max, strict=True)]
        self._common = [_commonest(sample) for sample in samples]
        tally = [
            bool(other) or whole or common == common
            for other, whole, common in zip(others, self._whole, self._common, strict=True)
        ]
        low, high, width = (np.array(part, np.float64) for part in list(zip(*self._grids, strict=True))[:3])
        mean, std = np.nan_to_num(self._moments.mean), np.nan_to_num(self._moments.std)
        rest = (np.array(part, np.float64) for part in (lows, highs, self._common, tally))
        self._view = histogram.view(low, high, width, mean, std, *rest)
        self._seen = histogram.nothing(len(columns))
        self._orders = {i: Order() for i in range(len(columns)) if self._may_identify(i)}

    def _own_grid(self, i: int, sample: NDArray[np.float64]) -> Grid:
        if not self._moments.count[i]:
            return NO_GRID
        return grid_for(float(self._extrema.min[i]), float(self._extrema.max[i]), sample, self._whole[i])

    def _may_identify(self, i: int) -> bool:
        """Whether the column's values may be whole numbers that nearly all differ: there must be room for them."""
        low, high = float(self._extrema.min[i]), float(self._extrema.max[i])
        is_whole = "int" in self._columns[i].type or max(abs(low), abs(high)) < WHOLE  # beyond, every float is whole
        return self._whole[i] and is_whole and high - low + 1 >= NEARLY_ALL * float(self._moments.count[i]) > 1

    def add(self, block: Block) -> None:
        """Add some rows."""
        histogram.look(block.values, list(block.at), self._view, self._seen)
        table = block.values.reshape(len(block.values), len(block.at))
        for j, i in enumerate(block.at):
            if i in self._orders:
                self._orders[i].add(table[:, j])

    def add_held(self, held: deque[Block]) -> None:
        """Add all held blocks and release them, columns in blocks of their own on several threads."""
        if any(len(block.at) > 1 for block in held):
            while held:
                self.add(held.popleft())
            return
        columns: dict[int, list[Block]] = {}
        while held:
            block = held.popleft()
            columns.setdefault(block.at[0], []).append(block)
        thread_pool.run(self._add_column, list(columns.values()))

    def _add_column(self, blocks: list[Block]) -> None:
        for block in blocks:
            self.add(block)
        blocks.clear()

    def profiles(self) -> list[Profile]:
        """The profiles of the columns."""
        return [self._profile(i, column) for i, column in enumerate(self._columns)]

    def _profile(self, i: int, column: Column) -> Profile:
        first, moments, extrema = self._first, self._moments, self._extrema
        plus, minus = (int(n) for n in first.infinities[i])
        n, low, high = int(moments.count[i]), float(extrema.min[i]), float(extrema.max[i])
        counts, below, above = _folded(self._seen.counts[i], self._grids[i], minus, plus, low, high)
        outside, alike, broken = map(int, self._seen.tallies[i])
        order = None if broken else self._orders.get(i)
        cubes, fourths = self._seen.sums[i] / n if n and self._view.unit[i] else (np.nan, np.nan)
        return Profile(
            name=column.name,
            type=column.type,
            rows=first.rows,
            count=n,
            plus_infinity=plus,
            minus_infinity=minus,
            mean=float(moments.mean[i]),
            std=float(moments.std[i]),
            constant=bool(self._constant[i]),
            min=low,
            max=high,
            skewness=float(cubes),
            kurtosis=float(fourths - 3),
            grid=self._grids[i],
            counts=counts,
            below=below,
            above=above,
            common=self._common[i],
            common_count=alike,
            whole=self._whole[i] and not broken,
            distinct=order.distinct(n) if order else np.nan,
            order=order.direction if order else "",
            outside=outside,
        )


class Order:
    """A running estimate of a column's distinct whole numbers, and whether they only rise or only fall."""

    def __init__(self) -> None:
        self._rising = self._falling = True
        self._last: NDArray[Any] | None = None
        self._registers = np.zeros(histogram.REGISTERS, np.uint8)

    def add(self, values: NDArray[Any]) -> None:
        """Add some rows' values, in order."""
        values = np.ascontiguousarray(values)
        if values.dtype.kind == "f":
            values = values[np.isfinite(values)] + values.dtype.type(0)  # −0 becomes 0
        if not len(values):
            return
        histogram.distinct(values, self._registers)
        if self._rising or self._falling:
            joined = values if self._last is None else np.concatenate([self._last, values])
            self._rising = self._rising and bool((joined[1:] > joined[:-1]).all())
            self._falling = self._falling and bool((joined[1:] < joined[:-1]).all())
            self._last = values[-1:]

    @property
    def direction(self) -> str:
        """ "rising", "falling" or "", which is neither."""
        return "rising" if self._rising else "falling" if self._falling else ""

    def distinct(self, count: int) -> float:
        """The number of distinct values: exact where they only rise or fall, else an estimate."""
        return float(count) if self.direction else min(float(count), round(histogram.how_many(self._registers)))


def _commonest(sample: NDArray[np.float64]) -> float:
    """The value that makes up half of a sorted sample or more; NaN if none does."""
    if not len(sample):
        return nan
    middle = sample[(len(sample) - 1) // 2]
    many = np.searchsorted(sample, middle, side="right") - np.searchsorted(sample, middle)
    return float(middle) if 2 * many >= len(sample) else nan


def _may_be_whole(column: Column, sample: NDArray[np.float64]) -> bool:
    return "int" in column.type or (len(sample) > 0 and bool((sample == np.floor(sample)).all()))


def _folded(
    slots: NDArray[np.int64], grid: Grid, minus: int, plus: int, low: float, high: float
) -> tuple[NDArray[np.int64], int, int]:
    """The counts of the bins, and of finite values below and above them. low, high: the range of the finite values.

    Where the grid reaches as far as the values do, what rounding put beyond it belongs to its last bin.
    """
    counts = slots[histogram.FIRST : histogram.FIRST + grid.bins].copy()
    below, above = (
        int(slots[histogram.BELOW]) - minus,
        int(slots[histogram.FIRST + grid.bins : histogram.MISSING].sum()) - plus,
    )
    if low >= grid.low:
        counts[0], below = counts[0] + below, 0
    if high <= grid.high:
        counts[-1], above = counts[-1] + above, 0
    return counts, below, above
