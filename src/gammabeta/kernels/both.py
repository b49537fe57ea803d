"""The exact sums and the range of vectors, one vector after the other: its second sweep finds it in the cache."""

from typing import Any

from gammabeta.kernels import exact, least, moments
from gammabeta.kernels.intrinsics import kernel
from gammabeta.kernels.layout import Runs
from gammabeta.kernels.least import Range
from gammabeta.kernels.moments import Sums


@kernel
def _add(
    low, high, missing, lowest, greatest, none, x, starts, lengths, many, step, first, last, own, state, to, room, *out
):
    """`least.extent_of_runs` and `exact.accumulate_runs`."""
    for i in range(first, last):
        least.extent_of_runs(x, starts, lengths, many, step, i, i + 1, low, high, missing, lowest, greatest, none)
        exact.accumulate_runs(x, starts, lengths, many, step, i, i + 1, own, state, to, room, *out)


def columns(given: Runs) -> tuple[Sums, Range]:
    """The sums of `moments.sums`, NaN left out, and the range of `least.extent`."""
    found = least.Found(len(given.lengths), given.memory.dtype)

    def add(*rest: Any) -> None:
        _add(*found.room(), *found.arrays, *rest)

    return moments.columns(given, add), found.range
