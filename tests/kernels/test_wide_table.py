"""Tables of very many columns: exact, and in memory for their columns, however many rows they have."""

import tracemalloc

import numpy as np
import pytest

import gammabeta as gb
from gammabeta.kernels import wide_table

RNG = np.random.default_rng(0)
COLUMNS = wide_table.COLUMNS + 65


@pytest.mark.parametrize("rows", [1, wide_table.ROWS, wide_table.ROWS + 1, 2 * wide_table.ROWS + 3])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_sums_are_those_of_few_columns_at_a_time(rows, dtype):
    x = (RNG.standard_normal((rows, COLUMNS)) * 10.0 ** RNG.integers(-30, 30, COLUMNS)).astype(dtype)
    x[rows // 2, 7], x[rows // 3, 64], x[-1, -1] = np.nan, np.inf, -np.inf
    whole = gb.Moments.of(x)
    for first in range(0, COLUMNS, 1000):
        assert whole[first : first + 1000] == gb.Moments.of(x[:, first : first + 1000])


@pytest.mark.parametrize("statistic", [gb.Moments, gb.Extrema])
def test_memory_is_for_the_columns(statistic):
    """Not for each row: a table of 300 by 300,000 once took 9 GB."""
    x = np.zeros((600, 20_000), np.float32)
    tracemalloc.start()
    statistic.of(x)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1000 * x.shape[1]
