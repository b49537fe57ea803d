"""The exact sums of a table of few rows and very many columns, whose limbs would be far larger than the table.

Each thread takes some of the columns, and each 64 of these leave their digits in limbs that are no wider than the
exponents of the data ask.
"""

import threading

import numpy as np
from numpy.typing import NDArray

from gammabeta.kernels import binding, folds, layout, limbs, thread_pool
from gammabeta.kernels.dtypes import Array
from gammabeta.kernels.limbs import Limbs

Sums = tuple[Limbs, Limbs, Limbs, NDArray[np.int64]]
"""As `moments.Sums`."""

ROWS = 2**8  # more are read faster along the rows, unless these are so long that few are read at a time
COLUMNS = 2**13  # from here on more rows are taken in blocks of `ROWS`
_SPLIT = 2**16  # values worth a thread

_EXPONENTS, _SUMS = binding.by_type("exponents"), binding.by_type("exact_wide")
_ROOM = {letter: size(0) for letter, size in binding.by_type("exact_wide_room").items()}
_NO_FIELD = 2**11  # above those of all numbers

_spare = threading.local()


def sums(x: Array) -> Sums:
    """The sums of a contiguous table (n, f) of float32 or float64, n at most `ROWS`."""
    n, features = x.shape
    letter = x.dtype.char
    ranges = thread_pool.ranges(features, max(layout.LANES, _SPLIT // n), layout.LANES)
    windows = _windows(x, ranges)
    digits = [np.empty((height, features), np.int64) for _, height in windows]
    specials = np.zeros((3, features), np.int64)

    def part(between: tuple[int, int]) -> NDArray[np.int64]:
        used = np.array([[height, 0] for _, height in windows])
        room = _spare.__dict__.pop(letter, None)
        room = folds.room(_ROOM[letter]) if room is None else room
        (base, _), (square_base, _) = windows
        _SUMS[letter](x, features, *between, base, digits[0], square_base, digits[1], specials, used, room)
        _spare.__dict__[letter] = room
        return used

    used = np.array(thread_pool.run(part, ranges))
    rows = zip(used[:, :, 0].min(axis=0).tolist(), used[:, :, 1].max(axis=0).tolist(), strict=True)
    total, squares = (_trimmed(base, d, *r) for (base, _), d, r in zip(windows, digits, rows, strict=True))
    return limbs.zeros(features), total, squares, specials


def _windows(x: Array, ranges: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Base and height of the limbs of Σx and Σx²: from the last bit of the least number to the sums' signs."""

    def part(between: tuple[int, int]) -> tuple[int, int]:
        fields = np.array([_NO_FIELD, 0])
        first, last = between
        _EXPONENTS[x.dtype.char](x, first, x.shape[1], last - first, fields)
        return int(fields[0]), int(fields[1])

    found = thread_pool.run(part, ranges)
    low, high = min(low for low, _ in found), max(high for _, high in found)
    if not high and low == _NO_FIELD:
        return [(0, 1), (0, 1)]
    info = np.finfo(x.dtype)
    bias = info.maxexp - 1 + info.nmant
    last_bit, top = max(low, 1) - bias, max(high, 1) - bias + info.nmant + 1
    return [_window(power * last_bit, power * top + len(x).bit_length() + 1) for power in (1, 2)]


def _window(low: int, high: int) -> tuple[int, int]:
    """Base and height of limbs that hold multiples of 2^low below 2^high, with their signs."""
    base = low // limbs.BITS
    return base, (high - limbs.BITS * base) // limbs.BITS + 1


def _trimmed(base: int, digits: NDArray[np.int64], first: int, last: int) -> Limbs:
    """Digits without the rows that canonical limbs leave out."""
    height, features = digits.shape
    if first >= height:
        return limbs.zeros(features)
    last = max(last, first + 1)
    if last < height:
        digits[last - 1] += digits[-1] << limbs.BITS
    return base + first, digits[first:last]
