"""Drift between two files: how far the second's columns have moved, in units of the first's statistics."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf, isfinite, nan

from gammabeta._util.findings import Finding, Kind, number, percent
from gammabeta.report.profile import Profile

MOVED = 0.2  # standard deviations; Cohen (1988) calls 0.2 a small effect
WIDER = 1.25  # or as many times narrower
OUTSIDE = 0.01
MISSING = 0.05

KINDS = (
    Kind("constant", "Constant in the first", "Nothing to measure a move by: any other value is a new one.", 3),
    Kind("infinite", "Infinities in the second", "Applying the first's statistics refuses them.", 3),
    Kind("empty", "No values in the second", "There is nothing to compare.", 3),
    Kind("moved", "Moved", "The mean is elsewhere, measured in the first's standard deviations.", 2),
    Kind("spread", "Wider or narrower", "Scaled by the first's statistics, the deviation is not 1.", 2),
    Kind("outside", "Outside the range", "Scaled by the first's min and max, such values leave 0…1.", 2),
    Kind("missing", "Missing more, or less", "The share of rows without a value differs.", 1),
)


@dataclass(frozen=True)
class Drift:
    """The profiles of one column in two files, and the differences between them.

    difference = (mean_b − mean_a) / std_a, Glass's Δ, with the population's std; NaN where it has no meaning.
    """

    first: Profile
    second: Profile

    @property
    def difference(self) -> float:
        """The standardized mean difference."""
        a, b = self.first, self.second
        if not (a.count and b.count):
            return nan
        if a.constant:
            return 0.0 if a.mean == b.mean else nan
        return (b.mean / 2 - a.mean / 2) / a.std * 2

    @property
    def ratio(self) -> float:
        """std_b / std_a; NaN where the first has none."""
        constant = self.first.constant or not self.second.count
        return nan if constant else self.second.std / self.first.std

    @property
    def outside(self) -> float:
        """The share of the second's values that lie outside the first's range."""
        values = self.second.count + self.second.infinite
        return self.second.outside / values if values and self.first.count else nan

    def findings(self) -> list[Finding]:
        """The findings of this column."""
        return list(self._found())

    def _found(self) -> "Sequence[Finding]":
        a, b = self.first, self.second
        found: list[Finding] = []
        if a.count and a.constant and (b.min, b.max) != (a.min, a.max) and b.count:
            text = f"It was {number(a.mean)} throughout, and is {number(b.min)} … {number(b.max)} now."
            found.append(Finding("constant", text))
        if b.infinite:
            found.append(Finding("infinite", f"{b.infinite:,} of the second's values are infinite."))
        if not b.count:
            found.append(Finding("empty", "None of the second's cells holds a finite value."))
        if abs(self.difference) >= MOVED:
            where = "up" if self.difference > 0 else "down"
            size = number(abs(self.difference))
            means = f"{number(a.mean)} to {number(b.mean)}"
            found.append(Finding("moved", f"The mean went {where} by {size} standard deviations, from {means}."))
        if isfinite(self.ratio) and not 1 / WIDER <= self.ratio <= WIDER:
            found.append(Finding("spread", f"The standard deviation is {number(self.ratio)} times the first's."))
        if self.outside >= OUTSIDE:
            ends = f"{number(a.min)} … {number(a.max)}"
            found.append(Finding("outside", f"{percent(self.outside)} of the values lie outside {ends}."))
        before, now = (p.missing / p.rows if p.rows else 0.0 for p in (a, b))
        if abs(now - before) >= MISSING:
            found.append(Finding("missing", f"{percent(now)} of the rows have no value, and {percent(before)} before."))
        return found

    @property
    def size(self) -> float:
        """The sort key of drifts: |difference|, and inf for columns where it is undefined but matters."""
        constant = any(finding.kind in ("constant", "empty") for finding in self.findings())
        return inf if constant else abs(self.difference) if isfinite(self.difference) else -1.0
