"""Exact statistics: what a normalization is told about its data.

`Moments` keeps Σw, Σw·x and Σw·x² of every feature as integers in units of a power of two, so that nothing is rounded
until a mean or a variance is asked for. Integers form a commutative group: statistics add up and can be taken away
again, and however data is cut, ordered or shared out over threads and machines, the same values give the same bits.
`Extrema` keeps the least and the greatest value, which add up but cannot be taken away. `GroupedMoments` and
`GroupedExtrema` are those of many groups of rows, by their labels; `rolling.rolling` gives those of every window
over a series.
"""

from gammabeta.statistics.extrema import Extrema
from gammabeta.statistics.grouped import GroupedExtrema, GroupedMoments
from gammabeta.statistics.moments import Moments

__all__ = ["Extrema", "GroupedExtrema", "GroupedMoments", "Moments"]
