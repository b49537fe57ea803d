"""One look at a column whose mean and range are known: its histogram, and its third and fourth central moments.

Differences are taken of multiples by `lift`, a power of two: of halves, because a difference may be beyond the largest
float where no value is, or of multiples by 2⁶⁰⁰ where the reciprocal of a difference would be.
"""

from math import floor
from typing import Any, NamedTuple

import numpy as np
from numba import float64, int32, uint32
from numpy.typing import NDArray

from gammabeta.kernels import layout, threads
from gammabeta.kernels.intrinsics import allocating

BINS = 480  # a multiple of many numbers of bars; with the slots around them 4 kB a column
BELOW, FIRST, ABOVE, MISSING = 0, 1, BINS + 1, BINS + 2
SLOTS = BINS + 3

_LANES = 64  # unsigned places below: a signed one would be looked at for being counted from the end
_SHORT = 4096  # values, from which four histograms by turns pay: one would wait for its own last store
_PIECE = 2 * layout.COSTLY  # values of a column that are added up at a time
_FLOATS = (np.dtype(np.float32), np.dtype(np.float64))


Column = NDArray[np.float64]


class View(NamedTuple):
    """How columns are looked at. Each is float64, (k,)."""

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
    least: NDArray[np.float64]
    most: Column
    """The range outside of which values are counted."""
    common: Column
    """The value whose like are counted."""
    tally: Column
    """Whether there are values to be counted so: 1 or 0. It takes a fifth of the time."""


def view(low: Column, high: Column, bins: Column, mean: Column, std: Column, *others: Column) -> View:
    """The view of columns whose `bins` bins go from low to high. others: least, most, common and tally."""
    lift = np.where(high / 2 - low / 2 < 1e-290, 2.0**600, 0.5)
    with np.errstate(divide="ignore"):
        inverse = bins / (high * lift - low * lift)
        unit = 1 / (std * lift)
    return View(lift, low * lift, inverse, mean * lift, np.where(np.isfinite(unit), unit, 0.0), *others)


class Seen(NamedTuple):
    """What is seen of k columns."""

    counts: NDArray[np.int64]
    """(k, SLOTS): values below the bins, in each of them, above them, and NaN."""
    sums: Column
    """(k, 2): Σd³ and Σd⁴ with d = (x − mean) · unit, over the finite values."""
    tallies: NDArray[np.int64]
    """(k, 3): how many values are outside least…most, how many are the common one, and how many are not whole."""


def nothing(columns: int) -> Seen:
    """Nothing seen yet."""
    counts, sums, tallies = ((columns, width) for width in (SLOTS, 2, 3))
    return Seen(np.zeros(counts, np.int64), np.zeros(sums), np.zeros(tallies, np.int64))


def look(values: NDArray[Any], at: list[int], how: View, seen: Seen) -> None:
    """Add values, (n,) or (n, k), of the columns at those places to what is seen of them."""
    table = values[None] if values.ndim == 1 else values.T
    x = np.ascontiguousarray(table, table.dtype if table.dtype in _FLOATS else np.float64)
    chosen = np.stack([part[at] for part in how], axis=1)
    by_columns = len(x) > 1

    def part(between: tuple[int, int]) -> Seen:
        cut = slice(*between)
        mine = x[cut] if by_columns else x[:, cut]
        found = nothing(len(mine))
        _look(layout.readable(np.ascontiguousarray(mine)), chosen[cut] if by_columns else chosen, *found)
        return found

    if by_columns:
        ranges = threads.ranges(len(x), max(1, layout.COSTLY // x.shape[1]))
    else:  # whatever the threads: the sums are of floats, and their order shows
        ranges = [(first, min(first + _PIECE, x.shape[1])) for first in range(0, x.shape[1], _PIECE)]
    for between, found in zip(ranges, threads.run(part, ranges), strict=True):
        places = at[slice(*between)] if by_columns else at
        seen.counts[places] += found.counts
        seen.sums[places] += found.sums
        seen.tallies[places] += found.tallies


@allocating
def _look(x, view, counts, sums, tallies):
    """x: (k, n), contiguous; view: (k, 9), the fields of `View`."""
    place = np.empty(_LANES, np.int32)
    lanes = np.empty((5, _LANES))
    turns = np.empty(4 * SLOTS, np.int64)
    for i in range(x.shape[0]):
        lift, low, inverse, mean, unit = view[i, 0], view[i, 1], view[i, 2], view[i, 3], view[i, 4]
        least, most, common, tally = view[i, 5], view[i, 6], view[i, 7], view[i, 8] != 0
        short = x.shape[1] < _SHORT
        lanes[:] = 0
        turns[:] = 0
        cubes, fourths, outside, alike, broken = lanes[0], lanes[1], lanes[2], lanes[3], lanes[4]
        for start in range(0, x.shape[1], _LANES):
            values = x[i, start : start + _LANES]
            for j in range(len(values)):
                v = float64(values[j])
                p = (v * lift - low) * inverse + 1.0
                p = 0.0 if p < 0.0 else p
                p = BINS + 1.0 if p > BINS + 1.0 else p
                place[j] = int32(p if p == p else BINS + 2.0)
            for j in range(len(values)):
                v = float64(values[j])
                d = (v * lift - mean) * unit
                d = d if v - v == 0.0 else 0.0
                cube = d * d * d
                cubes[j] += cube
                fourths[j] += cube * d
            if tally:
                for j in range(len(values)):
                    v = float64(values[j])
                    outside[j] += 1.0 if (v < least) | (v > most) else 0.0
                    alike[j] += 1.0 if v == common else 0.0
                    broken[j] += 1.0 if (v == v) & (v != floor(v)) else 0.0
            if short:
                for j in range(len(values)):
                    counts[i, uint32(place[j])] += 1
            else:
                for j in range(len(values)):
                    turns[uint32(place[j] + SLOTS * (j & 3))] += 1
        sums[i, 0] += cubes.sum()
        sums[i, 1] += fourths.sum()
        tallies[i, 0] += np.int64(outside.sum())
        tallies[i, 1] += np.int64(alike.sum())
        tallies[i, 2] += np.int64(broken.sum())
        if not short:
            for turn in range(4):
                for slot in range(SLOTS):
                    counts[i, slot] += turns[turn * SLOTS + slot]


REGISTERS = 1 << 12  # bytes: the standard error of the number of distinct values is 1.04 / √4096 = 1.6 %


def distinct(values: NDArray[Any], registers: NDArray[np.uint8]) -> None:
    """Note in `registers`, (REGISTERS,), which values there are. Equal values must have equal bits, so no −0."""
    words = values.view(f"u{values.dtype.itemsize}").astype(np.uint64)
    _note(words, registers)


@allocating
def _note(words, registers):
    """HyperLogLog (Flajolet, Fusy, Gandouet, Meunier, 2007), with 64-bit hashes by splitmix64's finalizer."""
    for i in range(len(words)):
        h = words[i] + np.uint64(0x9E3779B97F4A7C15)
        h = (h ^ (h >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        h = (h ^ (h >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        h ^= h >> np.uint64(31)
        rank = np.uint8(1)
        rest = (h << np.uint64(12)) | np.uint64(2048)  # the bit that ends the search
        while rest < np.uint64(0x8000000000000000):
            rest <<= np.uint64(1)
            rank += np.uint8(1)
        at = h >> np.uint64(52)
        registers[at] = max(registers[at], rank)


def how_many(registers: NDArray[np.uint8]) -> float:
    """The number of distinct values that were noted: a standard error of 1.6 %, some 3 % around 10,000."""
    m = len(registers)
    raw = 0.7213 / (1 + 1.079 / m) * m**2 / float(np.sum(np.ldexp(1.0, -registers.astype(np.int64))))
    empty = int(np.count_nonzero(registers == 0))
    return m * float(np.log(m / empty)) if raw <= 2.5 * m and empty else raw
