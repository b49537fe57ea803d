"""Extrema from the footer of a Parquet file, of the columns for which it can be believed.

A footer keeps a minimum and a maximum of each column in each row group. It is believed where it leaves no doubt:

- Both must be finite and in order. Writers skip NaN, so that a column of nothing else has neither; some of the past
  let NaN through, and an infinity is to be refused with the row it is in: each shows, and the column is read.
- Zeros may be written as −0.0 and 0.0, to cover both: an `Extrema` knows only 0.0.
- Integers and floats are exact; decimals go to float64 as values do, which up to 15 digits keeps their order.
- What was put in order by other rules than the column's, unsigned integers by signed ones, PyArrow does not hand out.
- `parquet-cpp`, as it called itself until 2020, could miss values beside NaN (PARQUET-1225) and took decimals from
  memory that it had not filled (PARQUET-1766): it is not believed.

How many values are NaN no footer says: the count of a column of floats is not known.
"""

from collections.abc import Mapping, Sequence
from math import isfinite, nan
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from gammabeta.statistics import Extrema

_DOUBTFUL = "parquet-cpp version"
_DIGITS = 15  # of decimals: their digits are below 2⁵³, and float64 holds them without rounding

LeafRange = tuple[float, float, float]
"""The least and the greatest value, NaN where there is none, and the count, NaN if it is not known."""


def minmax(metadata: pq.FileMetaData, kinds: Mapping[int, pa.DataType]) -> dict[int, Extrema]:
    """The extrema in a footer, of those leaves for which it can be believed. kinds: each leaf's type."""
    if (metadata.created_by or "").startswith(_DOUBTFUL):
        return {}
    groups = [metadata.row_group(i) for i in range(metadata.num_row_groups)]
    found = {}
    for leaf, kind in kinds.items():
        parts = [_range_of(group.column(leaf).statistics, kind) for group in groups]
        if None not in parts:
            found[leaf] = _together([part for part in parts if part is not None])
    return found


def _together(parts: Sequence[LeafRange]) -> Extrema:
    low = min((low for low, _, count in parts if count != 0), default=nan)
    high = max((high for _, high, count in parts if count != 0), default=nan)
    return Extrema.between(low, high, sum(count for _, _, count in parts))


def _range_of(statistics: Any, kind: pa.DataType) -> LeafRange | None:
    """The range of a column in one row group by the footer; None if it cannot be believed."""
    if statistics is None or not statistics.has_null_count:
        return None
    if not statistics.num_values:  # those that are not null
        return nan, nan, 0.0
    if not statistics.has_min_max:
        return None
    low, high = _number(statistics.min, kind), _number(statistics.max, kind)
    if not (isfinite(low) and isfinite(high) and low <= high):
        return None
    return low, high, nan if pa.types.is_floating(kind) else statistics.num_values


def _number(value: Any, kind: pa.DataType) -> float:
    """A value of a footer as float64, converted as the column's values are; NaN if that is in doubt."""
    if pa.types.is_decimal(kind):
        return float(value) if kind.precision <= _DIGITS else nan
    if pa.types.is_float16(kind):
        return float(np.frombuffer(value, "<f2")[0])
    return float(value)
