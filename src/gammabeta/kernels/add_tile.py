"""The kernels of exact sums of x and x²: the columns of a table, or vectors, cut into tiles.

The columns of a table are lanes; a narrow one has several rows side by side. A vector's values go down 64 lanes, which
are all of one feature.
"""

from typing import Any

from gammabeta.kernels import binding
from gammabeta.kernels.dtypes import Array

_TABLE = binding.by_type("exact_table")
_RUNS = binding.by_type("exact_runs")
_CARRY, _SETTLE = binding.function("limbs_carry"), binding.function("limbs_settle")


def accumulate(x: Array, *rest: Any) -> None:
    """Add lanes of a table of float32 or float64, and bring the limbs into canonical form.

    x: contiguous. rest: how many columns it has; how many rows lie side by side; the first lane, how many; limbs of Σx
    and Σx², int64 (70, features) and (138, features), lane i being of feature i mod features; specials, int64
    (3, features); touched, int64 (2, 2), the first and the last-plus-one row in use of either limbs; room for the state
    of the lanes.
    """
    _TABLE[x.dtype.char](x, *rest)


def accumulate_runs(x: Array, *rest: Any) -> None:
    """Add features in runs, one after another; digits are not carried.

    x, …: what `layout.Runs` says; the features first to last; limbs, specials and touched as above; room to work in,
    again and again.
    """
    _RUNS[x.dtype.char](x, *rest)


def carry(limbs: Array, touched: Array, start: int, stop: int) -> None:
    """Bring the digits of features into [0, 2³²), those of the last row in use, which have the signs, into
    [−2³¹, 2³¹)."""
    _CARRY(limbs, limbs.shape[1], touched, start, stop)


def settle(limbs: Array, touched: Array) -> None:
    """Bring digits into the canonical form of `limbs`; `touched` then tells its rows, none where all is zero."""
    _SETTLE(limbs, limbs.shape[1], touched, 0, limbs.shape[1])
