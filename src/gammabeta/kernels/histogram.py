"""The histogram and the third and fourth central moments of columns whose mean and range are known.

Differences are taken of multiples by `lift`, a power of two: of halves, because a difference may be beyond the largest
float where no value is, or of multiples by 2⁶⁰⁰ where the reciprocal of a difference would be.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gammabeta.kernels import binding, layout, thread_pool

BINS = 480  # a multiple of many numbers of bars; with the slots around them 4 kB a column
BELOW, FIRST, ABOVE, MISSING = 0, 1, BINS + 1, BINS + 2
SLOTS = BINS + 3

_PIECE = 2 * layout.COSTLY  # values of a column that are added up at a time
_FLOATS = (np.dtype(np.float32), np.dtype(np.float64))
_LOOK = binding.by_type("histogram_look")


Column = NDArray[np.float64]


class View(NamedTuple):
    """The bins, the standardization and the counted values of k columns. Each field is float64 (k,)."""

    lift: Column
    """What values are multiplied by first."""
    low: Column
    """Where the bins begin, lifted."""
    inverse: Column
    """Bins to a lifted unit."""
    mean: Column
    """Lifted too."""
    unit: Column
    """1 / std, of what is lifted, or 0 where there is none."""
    min: NDArray[np.float64]
    max: Column
    """The range outside of which values are counted."""
    common: Column
    """The value whose like are counted."""
    tally: Column
    """Whether there are values to be counted so: 1 or 0. It takes a fifth of the time."""


def view(low: Column, high: Column, bins: Column, mean: Column, std: Column, *others: Column) -> View:
    """The view of columns whose `bins` bins go from low to high. others: min, max, common and tally."""
    lift = np.where(high / 2 - low / 2 < 1e-290, 2.0**600, 0.5)
    with np.errstate(divide="ignore"):
        inverse = bins / (high * lift - low * lift)
        unit = 1 / (std * lift)
    return View(lift, low * lift, inverse, mean * lift, np.where(np.isfinite(unit), unit, 0.0), *others)


class HistogramCounts(NamedTuple):
    """What one pass over k columns counts and sums up."""

    counts: NDArray[np.int64]
    """(k, SLOTS): values below the bins, in each of them, above them, and NaN."""
    sums: Column
    """(k, 2): Σd³ and Σd⁴ with d = (x − mean) · unit, over the finite values."""
    tallies: NDArray[np.int64]
    """(k, 3): how many values are outside min…max, how many are the common one, and how many are not whole."""


def nothing(columns: int) -> HistogramCounts:
    """The counts and sums of no values, zeros."""
    counts, sums, tallies = ((columns, width) for width in (SLOTS, 2, 3))
    return HistogramCounts(np.zeros(counts, np.int64), np.zeros(sums), np.zeros(tallies, np.int64))


def look(values: NDArray[Any], at: list[int], how: View, total: HistogramCounts) -> None:
    """Add values, (n,) or (n, k), of the columns at those places to `total`, whose arrays are written to."""
    table = values[None] if values.ndim == 1 else values.T
    x = np.ascontiguousarray(table, table.dtype if table.dtype in _FLOATS else np.float64)
    chosen = np.stack([part[at] for part in how], axis=1)
    by_columns = len(x) > 1

    def part(between: tuple[int, int]) -> HistogramCounts:
        cut = slice(*between)
        mine = x[cut] if by_columns else x[:, cut]
        found = nothing(len(mine))
        _LOOK[x.dtype.char](np.ascontiguousarray(mine), chosen[cut] if by_columns else chosen, *found)
        return found

    if by_columns:
        ranges = thread_pool.ranges(len(x), max(1, layout.COSTLY // x.shape[1]))
    else:  # whatever the threads: the sums are of floats, and their order shows
        ranges = [(first, min(first + _PIECE, x.shape[1])) for first in range(0, x.shape[1], _PIECE)]
    for between, found in zip(ranges, thread_pool.run(part, ranges), strict=True):
        places = at[slice(*between)] if by_columns else at
        total.counts[places] += found.counts
        total.sums[places] += found.sums
        total.tallies[places] += found.tallies


REGISTERS = 1 << 12  # bytes: the standard error of the number of distinct values is 1.04 / √4096 = 1.6 %
_DISTINCT = {size: binding.function(f"distinct_{size}") for size in (1, 2, 4, 8)}  # by bytes


def distinct(values: NDArray[Any], registers: NDArray[np.uint8]) -> None:
    """Note in `registers`, (REGISTERS,), which values there are. Equal values must have equal bits, so no −0."""
    words = np.ascontiguousarray(values).view(f"u{values.dtype.itemsize}")
    _DISTINCT[values.dtype.itemsize](words, registers)


def how_many(registers: NDArray[np.uint8]) -> float:
    """The number of distinct values that were noted: a standard error of 1.6 %, some 3 % around 10,000."""
    m = len(registers)
    raw = 0.7213 / (1 + 1.079 / m) * m**2 / float(np.sum(np.ldexp(1.0, -registers.astype(np.int64))))
    empty = int(np.count_nonzero(registers == 0))
    return m * float(np.log(m / empty)) if raw <= 2.5 * m and empty else raw
