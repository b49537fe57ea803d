"""Rolling statistics: exact mean, variance and deviation of each window over a series."""

from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gammabeta.backends import masked
from gammabeta.errors import DataError, KindError
from gammabeta.kernels import rolling as kernel
from gammabeta.statistics.validation import Floats, MissingRule, check_ddof, checked

LONGEST = 2**28  # rows whose digits need no carrying


@dataclass(frozen=True, eq=False, slots=True)
class RollingStatistics:
    """Statistics of each window: float64 (windows, *features), correctly rounded."""

    count: Floats
    """How many values."""
    mean: Floats
    """Σx / n; NaN where there are no values."""
    var: Floats
    """Σ(x − mean)² / (n − ddof); NaN where the divisor is not positive."""
    std: Floats
    """The root of the exact variance, rounded once."""


def rolling(
    x: ArrayLike, window: int, step: int = 1, *, ddof: float = 0, nan: MissingRule = "omit"
) -> RollingStatistics:
    """Count, mean, variance and standard deviation of the rows x[j·step : j·step + window], for j = 0, 1, …

    The new row is added to sums of integers and the old one taken away, so that each window has the statistics that
    `Moments.of` gives of its rows alone, however many steps there were before it and whatever was in them.

    Args:
        x: real numbers (rows, *features), as for `Moments.of`; the window slides down the first axis.
        window: how many rows, from 1 to those of x.
        step: how far one window begins from the next.
        ddof: the variance's divisor is n − ddof: 0 for the population's, 1 for a sample's, which pandas takes.
        nan: "omit" leaves NaN out, window by window; "propagate" makes NaN of windows with one; "raise" refuses.

    What a masked array hides is left out, whatever `nan`. Infinities make the mean ±inf or NaN and the variance NaN, in
    those windows that hold them.

    Raises:
        DataError: a window or a step that is no positive integer, a window longer than x or 2²⁸ rows, or NaN with
            "raise".
        KindError: x is not of real numbers of at most 64 bits.

    >>> import numpy as np
    >>> found = rolling(np.array([1e8, 1.0, 2.0, 3.0, 5.0]), 3)
    >>> found.mean
    array([3.33333343e+07, 2.00000000e+00, 3.33333333e+00])
    >>> found.var[1:] * 9                                         # and nothing is left of the 1e8
    array([ 6., 14.])
    """
    array = checked(x, nan)
    for name, value in (("window", window), ("step", step)):
        if not isinstance(value, int | np.integer) or value < 1:
            raise DataError(f"{name} must be a positive integer, got {value!r}")
    if window > min(len(array), LONGEST):
        rows = f"the series' {len(array)} rows" if len(array) <= LONGEST else "2^28 rows"
        raise DataError(f"window must be no longer than {rows}, got {window}")
    check_ddof(ddof)
    features = array.shape[1:]
    table = array.reshape(len(array), prod(features))
    present: NDArray[np.bool_] | None = None
    if masked.is_masked(table):
        if not masked.is_exact(table):
            raise KindError("masked integers must be within ±2^53, got larger ones; subtract a number from all first")
        present, table = ~masked.mask_of(table), masked.filled(table)
    if nan == "raise":
        _refuse_nan(table, present)
    omit = nan == "omit" or present is not None
    count, mean, var, std = kernel.statistics(table, int(window), int(step), float(ddof), omit)
    if nan == "propagate" and present is not None:
        _spoil(count, (mean, var, std), np.isnan(table) & present, int(window), int(step))
    shape = (len(count), *features)
    return RollingStatistics(*(part.reshape(shape) for part in (count, mean, var, std)))


def _spoil(count: Floats, found: tuple[Floats, ...], nan: NDArray[np.bool_], window: int, step: int) -> None:
    """Count NaN among the values, and make the statistics NaN, of each window with one. nan: where, (n, f)."""
    before = np.concatenate([np.zeros((1, nan.shape[1]), np.int64), np.cumsum(nan, axis=0)])
    starts = np.arange(len(count)) * step
    within = before[starts + window] - before[starts]
    count += within
    for values in found:
        values[within > 0] = np.nan


def _refuse_nan(table: NDArray[Any], present: NDArray[np.bool_] | None) -> None:
    missing = np.isnan(table) if table.dtype.kind == "f" else np.zeros(0, bool)
    missing = missing if present is None else missing & present
    if missing.any():
        first = int(np.argwhere(missing)[0][0])
        raise DataError(f"there must be no NaN with nan='raise', got {missing.sum()}, the first in row {first}")
