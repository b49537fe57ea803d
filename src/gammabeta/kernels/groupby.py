"""Exact sums of x and x² by group: a cache line of integers for each group (`core/exact/groupby.cpp`).

A group's line holds the six integer sums of its folds, how many numbers they are of, and its grid: the exponent field
of 2^T, where 2^(T−25) ≤ |x| < 2^T for each x ≠ 0 that it may take. A number above the grid moves it, once what was
summed has gone to the group's limbs; one below it goes to the limbs by itself. Limbs are as wide as the exponents of
the data ask, no wider.

Where the lines of all groups would not fit in a core's cache, rows are first parted by blocks of groups that do: see
`kernels.groupby_partitioned`.
"""

import numpy as np
from numpy.typing import NDArray

from gammabeta.kernels import binding, layout

BLOCK_BITS = 11  # groups whose lines, 128 KB, stay in a core's cache: 2^11
LINE = 8  # words of a group's line

accumulate = binding.function("groups_accumulate")
"""Add numbers to their groups.

x: float64 (n,); codes: int32 (n,), 0 ≤ code < groups; lines: uint64 (groups · 8,), zeros at first; sums, squares: int64
(height, groups), each followed by the base of its first row; specials: int64 (3, groups).
"""

finish = binding.function("groups_finish")
"""Move what the lines of groups start…stop have summed into the limbs: start, stop, lines, and limbs as above."""

accumulate_integers = binding.by_type("groups_integers", "lL")
"""Add 64-bit integers to their groups, number by number: x, codes, and limbs from 2⁰ on of 3 and of 5 rows."""

accumulate_weighted = binding.by_type("groups_weighted", "dlL")
"""Add w, w·x and w·x² to their groups, number by number: x, weights (float64), codes, whether NaN's weights are left
out, the limbs of all three with their bases, specials."""

span = binding.function("span")
"""Widen fields[0]…fields[1], uint64 (2,), to those of the numbers ≠ 0 of x, float64."""

tally = binding.function("groups_tally")
"""Count how many rows each group has: codes, counts, int64 (groups,)."""

tally_blocks = binding.function("groups_tally_blocks")
"""Count how many rows each block of groups has."""

part = binding.by_type("groups_part", "dlL")
"""Write rows to the places of their block: x, codes, places, int64 (blocks,), where each block's next row goes, and
arrays for the values and the codes."""

widen = binding.function("groups_widen")
"""Lower `low`, raise `high` and count NaN, group by group: x, float64, codes, low, high, missing."""

codes = binding.by_type("groups_codes", "il")
"""Write values − low, int32, to an array: values, low, the array."""


def lines(groups: int) -> NDArray[np.uint64]:
    """Lines of nothing, each a cache line: what lies in two of them takes two accesses."""
    room = np.zeros((groups + 1) * LINE, np.uint64)
    start = -room.ctypes.data % layout.LINE // room.itemsize
    return room[start : start + groups * LINE]
