"""The exact sums and the range of vectors, one vector after the other: its second sweep finds it in the cache."""

from typing import Any

from gammabeta.kernels import binding, minmax, moments
from gammabeta.kernels.dtypes import Array
from gammabeta.kernels.layout import Runs
from gammabeta.kernels.minmax import Range
from gammabeta.kernels.moments import Sums

_ADD = binding.by_type("exact_runs_and_range")


def columns(given: Runs) -> tuple[Sums, Range]:
    """The exact sums of vectors as `moments.sums` gives them, NaN left out, and their range as `minmax.extent` does."""
    found = minmax.RangeAccumulator(len(given.lengths), given.memory.dtype)

    def add(x: Array, starts: Array, lengths: Array, many: int, step: int, first: int, last: int, *out: Any) -> None:
        _ADD[x.dtype.char](x, starts, lengths, many, step, first, last, *found.arrays, *out)

    return moments.columns(given, add), found.range
