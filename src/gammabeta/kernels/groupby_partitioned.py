"""Exact sums by group, of any number of groups and columns, over threads: memory for the groups, not for the rows."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from gammabeta.kernels import groupby as kernel
from gammabeta.kernels import layout, limbs, minmax, moments, thread_pool
from gammabeta.kernels.binding import letter
from gammabeta.kernels.dtypes import Array
from gammabeta.kernels.groupby import BLOCK_BITS
from gammabeta.kernels.minmax import Range
from gammabeta.kernels.moments import Sums, added, concatenated
from gammabeta.kernels.one_column import doubles, is_wide, pieces, span, whole, window

PARTED = 2**22  # rows parted at a time: bounds the copy
SECTION = 2**28  # rows after which digits are carried: they stay below 2⁶²
WIDE, LONG = 4, 2**12  # columns, and rows of each group, from which a group is taken as a table


@dataclass(frozen=True, slots=True)
class Codes:
    """Which group each row is of: values − low, from 0 to size − 1. values: integers (n,)."""

    values: NDArray[Any]
    low: int
    size: int

    def __getitem__(self, rows: slice) -> "Codes":
        return Codes(self.values[rows], self.low, self.size)

    def small(self) -> NDArray[np.int32]:
        """The codes themselves, as a kernel takes them."""
        values = np.ascontiguousarray(self.values)
        if self.low == 0 and values.dtype == np.int32:
            return values
        codes = np.empty(len(values), np.int32)
        kernel.codes[letter(values.dtype)](values, self.low, codes)
        return codes


class State(Protocol):
    """What rows are added to: a statistic of each group."""

    @staticmethod
    def kind(x: Array) -> Array:
        """Rows as `add` takes them."""

    def add(self, x: Array, codes: NDArray[np.int32]) -> None:
        """Add rows; calls at the same time are of different groups. x: contiguous, of one dimension."""

    def result(self) -> Any:
        """The statistic."""


def tally(codes: Codes) -> NDArray[np.int64]:
    """How many rows each group has: int64 (size,)."""

    def part(between: tuple[int, int]) -> NDArray[np.int64]:
        counts = np.zeros(codes.size, np.int64)
        for rows in pieces(*between):
            kernel.tally(codes[rows].small(), counts)
        return counts

    n = len(codes.values)
    parts = thread_pool.run(part, thread_pool.ranges(n, max(layout.COSTLY, codes.size)))
    return sum(parts[1:], parts[0]) if parts else np.zeros(codes.size, np.int64)


def sums(x: Array, codes: Codes, rows: NDArray[np.int64], omit: bool) -> Sums:
    """The exact sums of the columns of x by group, group after group. x: (n, f); rows: how many each group has."""
    layout.check(x)
    if _is_long(x, codes):
        return concatenated([moments.sums(part, 0, omit) for part in _gathered(x, codes, rows)])
    columns = [_column_sums(x[:, j], codes) for j in range(x.shape[1])]
    _, total, squares, specials = _interleaved(columns, codes.size)
    counts = np.repeat(rows, x.shape[1]) - specials[0] * omit
    return limbs.from_counts(counts), total, squares, specials


def weighted_sums(x: Array, weights: Array, codes: Codes, omit: bool) -> Sums:
    """The exact sums under weights, which have x's shape, are finite and not negative; number by number."""
    layout.check(x)
    columns = [_weighted_column(x[:, j], weights[:, j], codes, omit) for j in range(x.shape[1])]
    return _interleaved(columns, codes.size)


def extent(x: Array, codes: Codes, rows: NDArray[np.int64]) -> Range:
    """The range of the columns of x by group, group after group. x: (n, f); rows: how many each group has."""
    layout.check(x)
    if _is_long(x, codes):
        return minmax.concatenated([minmax.extent(part, 0) for part in _gathered(x, codes, rows)])
    low, high = np.empty((codes.size, x.shape[1])), np.empty((codes.size, x.shape[1]))
    missing = np.empty((codes.size, x.shape[1]), np.int64)
    for j in range(x.shape[1]):
        low[:, j], high[:, j], missing[:, j] = _reduced(x[:, j], codes, _Extent, minmax.added)
    return low.reshape(-1), high.reshape(-1), missing.reshape(-1)


def _is_long(x: Array, codes: Codes) -> bool:
    """Whether it pays to gather the rows of each group and take them as a table: a call for each group or column."""
    several = codes.size <= x.shape[1] or (x.shape[1] >= WIDE and len(x) >= LONG * codes.size)
    return 0 < codes.size < 2**15 and several


def _gathered(x: Array, codes: Codes, rows: NDArray[np.int64]) -> Iterator[Array]:
    """The rows of each group, in turn."""
    order = np.argsort(codes.small().astype(np.int16), kind="stable")  # of 16 bits: by radix
    ends = np.cumsum(rows)
    for start, end in zip(ends - rows, ends, strict=True):
        at = order[start:end]
        together = len(at) > 0 and at[-1] - at[0] + 1 == len(at)
        yield x[at[0] : at[-1] + 1] if together else x[at]


def _interleaved(columns: list[Sums], groups: int) -> Sums:
    """Sums of columns, each (groups,), as those of (groups, columns)."""
    if len(columns) == 1:
        return columns[0]
    together = concatenated(columns) if columns else added([], 0)
    order = np.arange(groups * len(columns)).reshape(len(columns), groups).T.reshape(-1)
    counts, total, squares = (limbs.take(part, order) for part in together[:3])
    return counts, total, squares, together[3][:, order]


def _column_sums(x: Array, codes: Codes) -> Sums:
    """The sums of a column (n,)."""
    sections: list[Sums] = [_reduced(x[rows], codes[rows], _sums_of, added) for rows in pieces(0, len(x), SECTION)]
    return added(sections, codes.size)


def _reduced(
    x: Array, codes: Codes, make: Callable[[Array, int], State], added: Callable[[list[Any], int], Any]
) -> Any:
    """A statistic of a column (n,) by group: in one state, or where groups are few in one of each thread."""
    if codes.size > 1 << BLOCK_BITS:
        state = make(x, codes.size)
        _add_parted(x, codes, state)
        return state.result()

    def part(between: tuple[int, int]) -> Any:
        own = x[slice(*between)]
        state = make(own, codes.size)
        _add_straight(own, codes[slice(*between)], state)
        return state.result()

    return added(thread_pool.run(part, thread_pool.ranges(len(x), layout.COSTLY)), codes.size)


def _sums_of(x: Array, groups: int) -> State:
    return _Integers(x, groups) if is_wide(x) else _Floats(x, groups)


def _add_straight(x: Array, codes: Codes, state: State) -> None:
    """Add the rows of x, (n,), to the state as they come."""
    for rows in pieces(0, len(x)):
        state.add(state.kind(x[rows]), codes[rows].small())


def _add_parted(x: Array, codes: Codes, state: State) -> None:
    """Add the rows of x, (n,), to the state, block after block of groups, over threads."""
    blocks = (codes.size - 1 >> BLOCK_BITS) + 1
    most = min(PARTED, len(x))
    values, places = np.empty(most, state.kind(x[:0]).dtype), np.empty(most, np.int32)
    kind = letter(values.dtype)

    def count(between: tuple[int, int]) -> NDArray[np.int64]:
        counts = np.zeros(blocks, np.int64)
        for rows in pieces(*between):
            kernel.tally_blocks(codes[rows].small(), counts)
        return counts

    def part(given: tuple[tuple[int, int], NDArray[np.int64]]) -> None:
        for rows in pieces(*given[0]):
            kernel.part[kind](state.kind(x[rows]), codes[rows].small(), given[1], values, places)

    def add(between: tuple[int, int]) -> None:
        state.add(values[slice(*between)], places[slice(*between)])

    for rows in pieces(0, len(x), PARTED):
        ranges = [
            (rows.start + a, rows.start + b) for a, b in thread_pool.ranges(rows.stop - rows.start, layout.COSTLY)
        ]
        counts = np.array(thread_pool.run(count, ranges))
        starts = (
            np.cumsum(counts.T).reshape(counts.T.shape) - counts.T
        )  # block after block, in each thread after thread
        thread_pool.run(part, list(zip(ranges, np.ascontiguousarray(starts.T), strict=True)))
        ends = np.cumsum(counts.sum(axis=0))
        thread_pool.run(add, [(int(a), int(b)) for a, b in zip(ends - counts.sum(axis=0), ends, strict=True) if b > a])


class _Floats:
    """The sums of groups of what float64 holds."""

    @staticmethod
    def kind(x: Array) -> Array:
        return doubles(x)

    def __init__(self, x: Array, groups: int) -> None:
        low, high = span(x)
        self._bases, digits = zip(window(low, high), window(2 * low, 2 * high + 64), strict=True)
        self._digits = [np.zeros((height, groups), np.int64) for height in digits]
        self._lines, self._specials = kernel.lines(groups), np.zeros((3, groups), np.int64)

    def add(self, x: Array, codes: NDArray[np.int32]) -> None:
        kernel.accumulate(x, codes, self._lines, *self._limbs(), self._specials)

    def _limbs(self) -> tuple[Any, ...]:
        return self._digits[0], self._bases[0], self._digits[1], self._bases[1]

    def result(self) -> Sums:
        groups = self._specials.shape[1]
        ranges = thread_pool.ranges(groups, layout.COSTLY // 8)
        thread_pool.run(lambda between: kernel.finish(*between, self._lines, *self._limbs()), ranges)
        total, squares = (limbs.canonical(*pair) for pair in zip(self._bases, self._digits, strict=True))
        return limbs.zeros(groups), total, squares, self._specials


class _Integers:
    """The sums of groups of 64-bit integers."""

    @staticmethod
    def kind(x: Array) -> Array:
        return whole(x)

    def __init__(self, x: Array, groups: int) -> None:
        self._digits = np.zeros((3, groups), np.int64), np.zeros((5, groups), np.int64)

    def add(self, x: Array, codes: NDArray[np.int32]) -> None:
        kernel.accumulate_integers[letter(x.dtype)](x, codes, *self._digits)

    def result(self) -> Sums:
        groups = self._digits[0].shape[1]
        total, squares = (limbs.canonical(0, digits) for digits in self._digits)
        return limbs.zeros(groups), total, squares, np.zeros((3, groups), np.int64)


class _Extent:
    """The range of groups."""

    @staticmethod
    def kind(x: Array) -> Array:
        return doubles(x)

    def __init__(self, x: Array, groups: int) -> None:
        self._low, self._high = np.full(groups, np.inf), np.full(groups, -np.inf)
        self._missing = np.zeros(groups, np.int64)

    def add(self, x: Array, codes: NDArray[np.int32]) -> None:
        kernel.widen(x, codes, self._low, self._high, self._missing)

    def result(self) -> Range:
        return self._low + 0.0, self._high + 0.0, self._missing  # −0.0 + 0.0 = 0.0


def _weighted_column(x: Array, weights: Array, codes: Codes, omit: bool) -> Sums:
    """The sums of a column (n,) under weights (n,)."""
    few = codes.size <= 1 << BLOCK_BITS
    ranges = thread_pool.ranges(len(x), layout.COSTLY) if few else [(0, len(x))]
    sections = [rows for between in ranges for rows in pieces(*between, SECTION)]
    return added(
        thread_pool.run(lambda rows: _weighted(x[rows], weights[rows], codes[rows], omit), sections), codes.size
    )


def _weighted(x: Array, weights: Array, codes: Codes, omit: bool) -> Sums:
    wide = is_wide(x)
    (low, high), (lightest, heaviest) = span(x), span(weights)
    tops = heaviest, heaviest + high + 64, heaviest + 2 * high + 128
    units = zip((lightest, lightest + low, lightest + 2 * low), tops, strict=True)
    bases, heights = zip(*(window(*unit) for unit in units), strict=True)
    digits = [np.zeros((height, codes.size), np.int64) for height in heights]
    specials = np.zeros((3, codes.size), np.int64)
    pairs = [part for pair in zip(digits, bases, strict=True) for part in pair]
    for rows in pieces(0, len(x)):
        values = (whole if wide else doubles)(x[rows])
        factors, places = doubles(weights[rows]), codes[rows].small()
        kernel.accumulate_weighted[letter(values.dtype)](values, factors, places, omit, *pairs, specials)
    counts, total, squares = (limbs.canonical(*pair) for pair in zip(bases, digits, strict=True))
    return counts, total, squares, specials
