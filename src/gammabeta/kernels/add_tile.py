"""The kernels of exact sums of x and x²: the columns of a table, or vectors, cut into tiles.

The columns of a table are lanes; a narrow one has several rows side by side. A vector's values go down 64 lanes, which
are all of one feature.
"""

from gammabeta.kernels import binding
from gammabeta.kernels.dtypes import Array

_TABLE = binding.by_type("exact_table")
_RUNS = binding.by_type("exact_runs")
_CARRY, _SETTLE = binding.function("limbs_carry"), binding.function("limbs_settle")


def accumulate(
    x: Array,
    columns: int,
    side_by_side: int,
    first: int,
    lanes: int,
    total: Array,
    squares: Array,
    specials: Array,
    touched: Array,
    room: Array,
) -> None:
    """Add lanes of a table to the sums of its columns, and bring the limbs into canonical form.

    A lane is a column of the table seen as rows of side_by_side · columns values; lane i is of feature i mod features.
    All arrays are contiguous; those after lanes are the caller's and are written to.

    x: float32 or float64, (n, columns). columns: of the table. side_by_side: how many rows make one row of lanes.
    first, lanes: which lanes. total, squares: limbs of Σx and Σx², int64 (70, features) and (138, features). specials:
    int64 (3, features), how many are NaN, +inf and −inf. touched: int64 (2, 2), the first and the last-plus-one row in
    use of either limbs. room: uint8, zeros, aligned to a cache line, `folds.Folds.block` bytes for each 64 lanes.
    """
    _TABLE[x.dtype.char](x, columns, side_by_side, first, lanes, total, squares, specials, touched, room)


def accumulate_runs(
    memory: Array,
    starts: Array,
    lengths: Array,
    many: int,
    step: int,
    first: int,
    last: int,
    total: Array,
    squares: Array,
    specials: Array,
    touched: Array,
    room: Array,
) -> None:
    """Add features that lie in runs to their sums, one feature after another; digits are not carried.

    memory, starts, lengths, many, step: those of `layout.Runs`. first, last: the first feature and the last-plus-one.
    total, squares, specials, touched: as for `accumulate`, of all features. room: uint8, zeros, aligned to a cache
    line, `folds.Folds.workplace` bytes; zeros again afterwards.
    """
    _RUNS[memory.dtype.char](memory, starts, lengths, many, step, first, last, total, squares, specials, touched, room)


def carry(limbs: Array, touched: Array, start: int, stop: int) -> None:
    """Carry the digits of features: into [0, 2³²), and those of the last row in use, with the signs, into [−2³¹, 2³¹).

    limbs: int64 (height, features), written to. touched: int64 (2,), the rows in use. start, stop: which features.
    """
    _CARRY(limbs, limbs.shape[1], touched, start, stop)


def settle(limbs: Array, touched: Array) -> None:
    """Carry the digits of all features into the canonical form of `kernels.limbs`.

    limbs: int64 (height, features), written to. touched: int64 (2,), the rows in use; then those of the canonical form,
    none where all is zero.
    """
    _SETTLE(limbs, limbs.shape[1], touched, 0, limbs.shape[1])
