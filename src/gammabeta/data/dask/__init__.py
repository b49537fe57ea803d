"""Dask collections: exact statistics by a tree reduction, and scalers that take and give collections lazily.

    from gammabeta.data import dask as exact

    exact.moments(x)                      # a Dask array in any chunks, or the numeric columns of a Dask DataFrame
    scaler = exact.StandardScaler().fit(x)
    y = scaler.transform(x)               # lazy, in the chunks or partitions of x

Each block's statistic is exact and so is their sum: chunks, workers, the order in which they finish and those that die
on the way change no bit. `pip install 'gammabeta[dask]'`.
"""

from gammabeta.data.dask.scalers import MinMaxScaler, StandardScaler
from gammabeta.data.dask.statistics import extrema, measure, moments

__all__ = ["MinMaxScaler", "StandardScaler", "extrema", "measure", "moments"]
