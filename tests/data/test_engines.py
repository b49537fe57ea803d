"""One answer: Dask's, Spark's, threads', processes' and a single scan's statistics are equal, on hostile data."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import reduce
from itertools import pairwise
from operator import add

import dask
import dask.array as da
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import gammabeta as gb
from gammabeta import data
from gammabeta.data import dask as ours
from gammabeta.data.passes import partition
from gammabeta.kernels import thread_pool

RANDOM = np.random.default_rng(3)
ROWS = 2_000
FINITE = RANDOM.normal(size=ROWS)
TABLE = pa.table(
    {
        "far": RANDOM.normal(1e8, 1, ROWS),
        "far single": RANDOM.normal(8000, 2, ROWS).astype(np.float32),
        "wide": np.where(np.arange(ROWS) % 3, 0.0, 1e300 * FINITE),
        "both": np.where(np.arange(ROWS) % 5, FINITE, -1e300),
        "subnormal": np.ldexp(FINITE, -1060),
        "subnormal single": np.ldexp(FINITE, -140).astype(np.float32),
        "constant": np.full(ROWS, 0.1),
        "gaps": pa.array(np.where(np.arange(ROWS) % 2, FINITE, np.nan)),
        "nulls": pa.array(FINITE, mask=np.arange(ROWS) % 7 > 0),
        "nothing": pa.array([np.nan] * ROWS),
        "small": pa.array(RANDOM.integers(-128, 128, ROWS), pa.int8()),
        "large": pa.array(RANDOM.integers(-(2**63), 2**63, ROWS), pa.int64()),
        "large with nulls": pa.array(RANDOM.integers(2**60, 2**62, ROWS), mask=np.arange(ROWS) % 11 == 0),
    }
)
CUTS = [0, 1, 1, 700, 1993, ROWS]  # a piece of one row, one of none


def by_threads(table):
    pieces = [table.slice(a, b - a) for a, b in pairwise(CUTS)]
    with ThreadPoolExecutor(4) as pool:
        return sum(pool.map(data.measure, pieces))


def by_dask(table):
    return ours.measure(dd.from_pandas(frame(table), npartitions=7))


def frame(table):
    """As pandas holds every value: integers nullable."""
    return table.to_pandas(types_mapper={pa.int64(): pd.Int64Dtype()}.get)


@pytest.fixture(name="whole", scope="module")
def _whole():
    with thread_pool.limit(1):
        return data.measure(TABLE)


def test_engines_are_loaded_when_they_are_asked_for():
    code = (
        "import sys, gammabeta; print(gammabeta.data.measure and 'dask' in sys.modules, gammabeta.data.dask.__name__)"
    )
    result = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout == "False gammabeta.data.dask\n"
    with pytest.raises(AttributeError, match=r"module 'gammabeta\.data' has no attribute 'nothing'"):
        data.nothing  # noqa: B018


def test_threads(whole):
    assert by_threads(TABLE) == whole


def test_dask(whole):
    with dask.config.set(scheduler="threads"):
        assert by_dask(TABLE) == whole


def test_spark(whole, spark):
    from gammabeta.data import spark as ours

    assert ours.measure(spark.createDataFrame(TABLE).repartition(3)) == whole


def test_batches_of_any_engine(whole, tmp_path):
    """As an engine hands them out: small, some without rows, names its own."""
    cut = [*TABLE.slice(0, 0).to_batches(), *TABLE.to_batches(max_chunksize=7), TABLE.to_batches()[0].slice(0, 0)]
    given = [batch.rename_columns([str(i) for i in range(batch.num_columns)]) for batch in cut]
    assert partition.measured(iter(given), whole.columns, "partition 0") == whole
    by = partition.Map(whole.names, whole.affine())
    image = pa.Table.from_batches(partition.mapped(iter(given), whole.names, by, "partition 0"))
    data.apply(whole, TABLE, tmp_path / "scaled.parquet")
    wanted = pq.read_table(tmp_path / "scaled.parquet")
    assert image.schema == wanted.schema
    for a, b in zip(image.columns, wanted.columns, strict=True):
        assert a.is_null().to_pylist() == b.is_null().to_pylist()
        assert np.array_equal(a.fill_null(0).to_numpy(), b.fill_null(0).to_numpy(), equal_nan=True)


def test_reductions_of_any_engine(whole):
    pieces = [data.measure(TABLE.slice(a, b - a)) for a, b in pairwise(CUTS)]
    assert reduce(add, pieces[::-1]) == sum(pieces) == whole
    for name in ("moments", "extrema"):
        parts = np.empty(len(pieces), object)
        parts[:] = [getattr(piece, name) for piece in pieces]
        assert reduce(add, parts) == sum(parts) == np.add.reduce(parts) == parts.sum() == getattr(whole, name)


def test_arrays():
    """Of one type, in which infinities count."""
    x = np.stack([TABLE[name].to_numpy() for name in ("far", "wide", "both", "subnormal", "gaps", "nothing")], axis=1)
    x[17, 0], x[18, 1] = np.inf, -np.inf
    with thread_pool.limit(1):
        moments, extrema = gb.Moments.of(x), gb.Extrema.of(x)
    assert gb.Moments.of(x) == moments
    for chunks in ((333, 6), (2000, 1), (1, 4)):
        chunked = da.from_array(x[:300] if chunks[0] == 1 else x, chunks=chunks)
        wanted = (gb.Moments.of(x[:300]), gb.Extrema.of(x[:300])) if chunks[0] == 1 else (moments, extrema)
        assert (ours.moments(chunked), ours.extrema(chunked)) == wanted


@pytest.mark.parametrize("name", ["StandardScaler", "MinMaxScaler"])
def test_scalers(name, whole, spark):
    from gammabeta.data import spark as engine

    core, dasks = getattr(gb, name), getattr(ours, name)
    statistic = "moments" if name == "StandardScaler" else "extrema"
    single = core().fit(TABLE)
    found = getattr(engine.measure(spark.createDataFrame(TABLE)), statistic)
    others = [
        dasks().fit(dd.from_pandas(frame(TABLE), npartitions=3)),
        getattr(core, f"from_{statistic}")(found),
        getattr(core, f"from_{statistic}")(getattr(whole, statistic)),
    ]
    for other in others:
        assert getattr(other, single._statistic) == getattr(single, single._statistic)
        for attribute in set(single._fitted) - {"n_samples_seen_"}:
            assert np.array_equal(getattr(other, attribute), getattr(single, attribute), equal_nan=True), attribute
