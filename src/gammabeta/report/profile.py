"""The profile of a column: statistics, quantiles and histogram."""

from dataclasses import dataclass
from functools import cached_property
from math import isfinite, nan
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gammabeta.kernels import histogram
from gammabeta.report.sampling import Floats

BARS = (12, 16, 20, 24, 30, 40, 48, 60)  # divisors of 480; three times the cube root of n shows shape rather than noise
_HALVES = 2.0**50  # below it, float64 has quarters
_MIN, _MAX = 1e-300, float(np.finfo(np.float64).max)

QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)


class Grid(NamedTuple):
    """Bins of equal width from low to high: the whole range of a column, or the part that most values lie in.

    Where all values are whole and few, each has a bin of its own, in its middle.
    """

    low: float
    high: float
    bins: int
    whole: bool = False

    @property
    def width(self) -> float:
        """The width of a bin."""
        return (self.high / 2 - self.low / 2) / self.bins * 2

    def edge(self, i: Floats) -> Floats:
        """The position of bin edges, or of points within bins: 1.5 is the middle of bin 1."""
        share = i / self.bins
        return self.low * (1 - share) + self.high * share


def grid_for(low: float, high: float, sample: Floats, whole: bool) -> Grid:
    """The grid of a column with the range low…high, given a sorted sample of its values.

    The range is cut to the middle 98 % of the sample and as much again on either side, where that leaves less than
    half of it: a few values far away would else push all others into one bin. A constant stands in the middle.
    """
    if whole and high - low < histogram.BINS - 1 and max(abs(low), abs(high)) < _HALVES:
        return Grid(low - 0.5, high + 0.5, round(high - low) + 1, whole=True)
    if low == high:
        around = max(abs(low) / 2, _MIN)
        return Grid(max(low - around, -_MAX), min(high + around, _MAX), histogram.BINS)
    left, right = np.quantile(sample, (0.01, 0.99)) / 2
    inner = max(low / 2, left - (right - left)), min(high / 2, right + (right - left))
    if 0 < inner[1] - inner[0] < (high / 2 - low / 2) / 2:
        return Grid(float(2 * inner[0]), float(2 * inner[1]), histogram.BINS)
    return Grid(low, high, histogram.BINS)


NO_GRID = Grid(-0.5, 0.5, histogram.BINS)


@dataclass(frozen=True)
class Profile:
    """The numbers of a column; NaN where one is undefined.

    `count`, `mean`, `std`, `min` and `max` are exact, of the finite values; `skewness` and `kurtosis` (in excess of
    the normal distribution's 3) are float64 sums relative to the exact mean; `counts` are those of the grid's bins,
    `below` and `above` those outside it; `quantiles` are each within `error` of a value of that rank.
    """

    name: str
    type: str
    rows: int
    count: int
    plus_infinity: int
    minus_infinity: int
    mean: float
    std: float
    constant: bool  # std is 0, or nothing but rounding: standardizing divides by 1
    min: float
    max: float
    skewness: float
    kurtosis: float
    grid: Grid
    counts: NDArray[np.int64]
    below: int
    above: int
    common: float
    common_count: int
    whole: bool
    distinct: float
    order: str  # "rising", "falling" or ""
    outside: int  # of another file's range, if it was looked at under that file's statistics

    @property
    def infinite(self) -> int:
        """How many values are infinite."""
        return self.plus_infinity + self.minus_infinity

    @property
    def missing(self) -> int:
        """How many rows have no value."""
        return self.rows - self.count - self.infinite

    @property
    def common_share(self) -> float:
        """The share of `common`, the value that half of a sample was, if one was; exact."""
        return self.common_count / self.count if self.count else nan

    @property
    def error(self) -> float:
        """The greatest error of a quantile: a bin's width, or 0 where bins are values."""
        return 0.0 if (self.grid.whole and self.whole) or not self.count else self.grid.width

    @cached_property
    def quantiles(self) -> list[float]:
        """The values that shares `QUANTILES` of the values do not exceed; NaN where one is outside the grid.

        Within a bin, values are taken to be spread evenly.
        """
        if not self.count:
            return [nan] * len(QUANTILES)
        passed = np.cumsum(self.counts).astype(np.float64)
        ranks = np.array(QUANTILES) * self.count - self.below
        at = np.minimum(np.searchsorted(passed, ranks), self.grid.bins - 1)
        inside = 0.5 if self.grid.whole else (ranks - passed[at]) / np.maximum(self.counts[at], 1) + 1
        values = np.clip(self.grid.edge(at + inside), self.min, self.max)
        values = np.round(values) if self.grid.whole else values
        return np.where((ranks >= 0) & (ranks <= passed[-1]), values, nan).tolist()  # type: ignore[no-any-return]

    @property
    def middle_share(self) -> float:
        """The share of the range that the middle 98 % of the values cover: their part of 0…1 after min-max scaling."""
        half = self.max / 2 - self.min / 2
        return (self.quantiles[-1] / 2 - self.quantiles[0] / 2) / half if half > 0 else nan

    def bars(self, values: int) -> tuple[list[int], float, float]:
        """The histogram in fewer bars, fit for so many values: counts, the start of the first bar, the width."""
        limit = max((n for n in BARS if n <= 3 * values ** (1 / 3)), default=BARS[0])
        together = -(-self.grid.bins // limit)
        padded = np.pad(self.counts, (0, -self.grid.bins % together)).reshape(-1, together).sum(axis=1)
        return padded.tolist(), self.grid.low, self.grid.width * together

    @property
    def float32_digits(self) -> float:
        """How many decimal digits of (x − mean) / std float32 keeps at the mean: log10(2²⁴ · std / |mean|)."""
        ratio = abs(self.mean) / self.std if self.std else nan
        return float(24 * np.log10(2) - np.log10(max(ratio, 1.0))) if isfinite(ratio) else nan
