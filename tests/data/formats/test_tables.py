"""Tables that are no file: frames, lazy frames, queries, readers, and iterables of chunks, each measured to the bit."""

import sqlite3
import subprocess
import sys
import threading
import tracemalloc
from decimal import Decimal
from pathlib import Path

import duckdb
import narwhals as nw
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.dataset
import pyarrow.parquet as pq
import pytest

from gammabeta import Extrema, Moments, data
from gammabeta.cli import main
from gammabeta.data.formats import record_batches
from gammabeta.errors import DataError, FileError, KindError

rng = np.random.default_rng(3)
ROWS = 2000


def table():
    """Numbers of many types, with nulls and NaN, and words."""
    gaps = rng.random(ROWS) < 0.1
    return pa.table(
        {
            "x": rng.normal(1e6, 1, ROWS).astype(np.float32),
            "big": rng.integers(-(2**62), 2**62, ROWS),
            "gaps": pa.array(rng.normal(size=ROWS), mask=gaps),
            "whole": pa.array(rng.integers(-9, 9, ROWS).astype(np.int16), mask=gaps),
            "nan": np.where(gaps, np.nan, 1e-3),
            "word": ["a", None] * (ROWS // 2),
            "small": rng.integers(0, 255, ROWS).astype(np.uint8),
            "constant": np.full(ROWS, 0.1),
        }
    )


TABLE = table()


class Speaks:
    """An object of a library that nobody knows, which speaks Arrow; a stream that ends for ever if it is `once`."""

    def __init__(self, table, once=False):
        self._table, self._reader = table, table.to_reader(700) if once else None

    def __arrow_c_stream__(self, requested_schema=None):
        reader = self._reader or self._table.to_reader(700)
        return reader.__arrow_c_stream__(requested_schema)


def lazy(content):
    return pl.from_arrow(content).lazy()


def relation(content):
    return duckdb.connect().from_arrow(content)


AGAIN = {
    "table": lambda t: t,
    "table in batches": lambda t: pa.Table.from_batches(t.to_batches(13)),
    "record batch": lambda t: t.combine_chunks().to_batches()[0],
    "polars": pl.from_arrow,
    "polars, lazy": lazy,
    "pandas": lambda t: t.to_pandas(types_mapper=pd.ArrowDtype),
    "narwhals": lambda t: nw.from_native(pl.from_arrow(t)),
    "narwhals, lazy": lambda t: nw.from_native(lazy(t)),
    "DuckDB": relation,
    "dataset": pa.dataset.dataset,
    "protocol": Speaks,
    "list of batches": lambda t: t.to_batches(999),
    "list of one-row batches": lambda t: t.to_batches(1),
    "list of frames": lambda t: [pl.from_arrow(t[:10]), pl.from_arrow(t[:0]), pl.from_arrow(t[10:])],
    "list of tables": lambda t: [t[:0], t[:1], t[1:]],
}
ONCE = {
    "reader": lambda t: t.to_reader(700),
    "protocol, once": lambda t: Speaks(t, once=True),
    "generator of batches": lambda t: iter(t.to_batches(999)),
    "generator of frames": lambda t: (pl.from_arrow(t[i : i + 999]) for i in range(0, ROWS, 999)),
}
BOTH = AGAIN | ONCE


@pytest.mark.parametrize("make", BOTH.values(), ids=BOTH)
def test_statistics_are_the_tables(make):
    expected = data.measure(TABLE)
    found = data.measure(make(TABLE))
    assert found.names == expected.names == ("x", "big", "gaps", "whole", "nan", "small", "constant")
    assert found.moments == expected.moments
    assert found.extrema == expected.extrema
    assert found.rows == ROWS
    for i, name in enumerate(found.names):
        values = TABLE[name].drop_null().to_numpy()
        assert found.moments[i] == Moments.of(values)
        assert found.extrema[i] == Extrema.of(values)


@pytest.mark.parametrize("make", BOTH.values(), ids=BOTH)
def test_columns_are_chosen_and_scanned(make):
    assert data.moments(make(TABLE), ["gaps", "x"]) == data.moments(TABLE, ["x", "gaps"])
    chunks = list(data.scan(make(TABLE), ["big", "word"]))
    assert [chunk.start for chunk in chunks] == np.cumsum([0, *(chunk.rows for chunk in chunks[:-1])]).tolist()
    np.testing.assert_array_equal(np.concatenate([chunk["big"] for chunk in chunks]), TABLE["big"].to_numpy())
    assert chunks[0].batch.schema.names == ["big", "word"]


def same(one, other):
    """Whether two files hold the same values, NaN for NaN and null for null."""
    return str(pq.read_table(one).to_pydict()) == str(pq.read_table(other).to_pydict())


@pytest.mark.parametrize("make", AGAIN.values(), ids=AGAIN)
@pytest.mark.parametrize("name", ["out.parquet", "out.csv"])
def test_what_can_be_read_twice_is_scaled(tmp_path, make, name):
    data.scale(TABLE, tmp_path / f"expected-{name}")
    done = data.scale(make(TABLE), tmp_path / name)
    assert done.rows == ROWS
    if name.endswith("csv"):
        assert (tmp_path / name).read_text() == (tmp_path / f"expected-{name}").read_text()
    else:
        assert same(tmp_path / name, tmp_path / f"expected-{name}")


@pytest.mark.parametrize("make", ONCE.values(), ids=ONCE)
def test_what_is_read_once_is_measured_and_not_scaled(tmp_path, make):
    with pytest.raises(DataError, match=r"can be read once: it can be measured, but|gave 2,000 and then 0"):
        data.scale(make(TABLE), tmp_path / "out.parquet")
    assert list(tmp_path.iterdir()) == []
    found = data.measure(TABLE)
    done = data.apply(found, make(TABLE), tmp_path / "out.parquet")
    data.apply(found, TABLE, tmp_path / "expected.parquet")
    assert done.rows == ROWS
    assert same(tmp_path / "out.parquet", tmp_path / "expected.parquet")


def test_an_iterator_is_used_up():
    source = data.batches(iter(TABLE.to_batches()))
    assert data.measure(source).rows == ROWS
    with pytest.raises(DataError, match="'list_iterator' can be read once"):
        data.measure(source)
    arrays = data.batches(iter([np.ones((2, 3))]))
    assert data.moments(arrays).count.tolist() == [2, 2, 2]
    with pytest.raises(DataError, match="'list_iterator' can be read once"):
        data.moments(arrays)
    again = data.batches(TABLE.to_batches())
    assert data.measure(again) == data.measure(again)
    with pytest.raises(DataError, match="'list_iterator' can be read once"):
        data.preview(iter(TABLE.to_batches()))


def test_a_source_must_be_the_same_each_time(tmp_path):
    con = duckdb.connect()
    con.execute("create table t as select range::double as x from range(100)")

    def grow(done, size):
        con.execute("insert into t values (1)")

    with pytest.raises(DataError, match="must give the same rows each time it is read, it gave 100 and then 10"):
        data.scale(con.sql("from t"), tmp_path / "out.parquet", progress=grow)
    assert list(tmp_path.iterdir()) == []


def test_decimals_and_floats_of_16_bits():
    content = pa.table(
        {
            "price": pa.array([Decimal("1.10"), Decimal("2.20"), None], pa.decimal128(9, 2)),
            "half": np.array([1, 2, 65504], np.float16),
        }
    )
    expected = Moments.stack([Moments.of([1.1, 2.2]), Moments.of([1, 2, 65504.0])])
    for make in (lambda t: t, pa.Table.to_reader, lambda t: iter(t.to_batches(1)), Speaks):
        assert data.moments(make(content)) == expected


def test_a_query_is_asked_for_its_columns_alone(tmp_path):
    pq.write_table(TABLE, tmp_path / "t.parquet")
    frame = pl.scan_parquet(tmp_path / "t.parquet").with_columns(pl.col("word").map_elements(fails, pl.String))
    assert data.moments(frame) == data.moments(TABLE)
    with pytest.raises(RuntimeError, match="nobody asked for this column"):
        list(data.scan(frame))


def fails(word):
    raise RuntimeError("nobody asked for this column")


def test_a_polars_without_batches(monkeypatch):
    monkeypatch.delattr(pl.LazyFrame, "collect_batches")
    with pytest.raises(
        KindError, match="is read in batches, which this version of polars has not; update it, or collect"
    ):
        data.measure(lazy(TABLE))


def test_one_column_is_a_table_of_one():
    for column in (pl.Series("x", [1.0, None, 3.0]), pd.Series([1.0, None, 3.0], name="x")):
        found = data.measure(column)
        assert found.names == ("x",)
        assert found.moments == Moments.of([[1.0], [3.0]])
    for column in (pa.array([1.0, None, 3.0]), pa.chunked_array([[1.0], [None, 3.0]])):
        assert data.measure(column).names == ("0",)


def test_the_index_of_pandas_is_no_column():
    frame = pd.DataFrame({"x": [1.0, 3.0]}, index=[10, 20])
    assert data.measure(frame).names == ("x",)


def test_chunks_are_made_in_the_callers_thread():
    connection = sqlite3.connect(":memory:")  # which refuses every other thread
    connection.execute("create table t (x)")
    connection.executemany("insert into t values (?)", [(i / 7,) for i in range(1000)])
    assert data.moments(pd.read_sql("select * from t", connection, chunksize=100)) == Moments.of(
        np.array([[i / 7] for i in range(1000)])
    )
    seen = set()

    def chunks():
        for i in range(50):
            seen.add(threading.current_thread())
            yield np.full((3, 2), i)

    data.moments(chunks())
    list(data.scan(chunks()))
    assert seen == {threading.current_thread()}
    connection.close()


def test_groups_of_what_is_no_file():
    expected = data.measure_by(TABLE, "word", ["x", "big"])
    for make in (lazy, relation, lambda t: iter(t.to_batches(999)), lambda t: [pl.from_arrow(t)]):
        found = data.measure_by(make(TABLE), "word", ["x", "big"])
        assert (found.moments, found.extrema) == (expected.moments, expected.extrema)


LIGHT = """
import sys
import numpy as np, gammabeta.data as data
data.moments([np.ones((3, 2))]), data.moments(np.ones(3))
print(*[name for name in "torch polars pandas duckdb zarr fsspec PIL narwhals".split() if name in sys.modules])
"""


@pytest.mark.parametrize(("code", "loaded"), [(LIGHT, ""), (LIGHT.replace("sys\n", "sys, PIL\n"), "PIL")])
def test_nothing_is_imported_to_find_out_what_data_is(code, loaded):
    result = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, timeout=300)
    assert (result.returncode, result.stdout.strip()) == (0, loaded), result.stderr


def test_memory_stays_bounded():
    def chunks():
        for i in range(200):
            yield np.full((1000, 500), i, np.float32)  # 2 MB of 400

    def batches():
        for i in range(200):
            yield pa.record_batch({"x": np.full(250_000, i, np.float64)})

    data.moments(next(chunks()))
    tracemalloc.start()
    assert data.moments(chunks()).count[0] == 200_000
    before = pa.total_allocated_bytes()
    assert data.moments(batches()).count[0] == 50_000_000
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    # a chunk in use and the one after it, a stretch of 16 MB in pieces and in one; the statistics take less
    assert peak < 50e6
    assert pa.total_allocated_bytes() <= before + 50e6


# iterables of arrays


def test_arrays_one_after_the_other():
    x = rng.normal(1e6, 1, (4000, 3, 5)).astype(np.float32)
    for step in (1, 7, 1000, 4000):
        parts = [x[i : i + step] for i in range(0, 4000, step)]
        for axis in (0, (0, 1), (0, 2), (0, 1, 2)):
            assert data.moments(parts, axis=axis) == Moments.of(x, axis)
        assert data.extrema(iter([x[:0], *parts, x[:0]])) == Extrema.of(x)


def test_a_generator_may_fill_the_same_array_again():
    def chunks(size):
        buffer = np.empty((size, 2))
        for i in range(20):
            buffer[:] = i
            yield buffer

    for size in (10, 200_000):
        assert data.moments(chunks(size)).mean.tolist() == [9.5, 9.5]


def test_types_may_change_from_chunk_to_chunk():
    parts = [np.array([2**62 + 1]), np.array([0.5]), np.array([3], np.uint8), np.array([1e30], np.float32)]
    assert data.moments(data.batches(parts, samples=False)) == sum(Moments.of(part) for part in parts)


def test_sizes_may_differ_along_reduced_axes():
    parts = [rng.normal(size=(2, 3, n, n)) for n in (4, 5, 6)]
    assert data.moments(parts, axis=(0, 2, 3)) == sum(Moments.of(part, (0, 2, 3)) for part in parts)
    with pytest.raises(
        DataError, match=r"alike but for axis \(0,\), .* the shape \(2, 3, 4, 4\), chunk 2 \(2, 3, 5, 5\)"
    ):
        data.moments(parts)


def test_a_data_loader(framework):
    torch = framework("torch")
    x, y = torch.randn(100, 3, 8, 8), torch.arange(100)
    whole = Moments.of(x.numpy(), (0, 2, 3))
    pairs = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x, y), batch_size=16, shuffle=True)
    with pytest.raises(
        DataError,
        match=r"'DataLoader' gives a list of Tensor \(16, 3, 8, 8\), Tensor \(16,\); say which is .* select=0\)",
    ):
        data.moments(pairs)
    for select in (0, lambda batch: batch[0]):
        assert data.moments(data.batches(pairs, select=select), axis=(0, 2, 3)) == whole
    named = torch.utils.data.DataLoader([{"image": a, "label": b} for a, b in zip(x, y, strict=True)], batch_size=16)
    with pytest.raises(
        DataError, match=r"gives a dict of 'image': Tensor .*; say which is the data: .* select='image'"
    ):
        data.moments(named)
    assert data.moments(data.batches(named, select="image"), axis=(0, 2, 3)) == whole
    alone = torch.utils.data.DataLoader(x, batch_size=7)
    assert data.moments(alone, axis=(0, 2, 3)) == whole
    assert data.moments(alone) == Moments.of(x.numpy())


class BrokenError(Exception):
    """What a loader raises."""


def breaks(after, chunk):
    for _ in range(after):
        yield chunk
    raise BrokenError("the file of row 12 is missing")


@pytest.mark.parametrize("chunk", [np.ones((5, 2)), pa.table({"x": [1.0]})], ids=["arrays", "tables"])
@pytest.mark.parametrize("after", [0, 3])
def test_what_a_loader_raises_passes_through(chunk, after):
    with pytest.raises(BrokenError, match="the file of row 12 is missing") as raised:
        data.measure(breaks(after, chunk))
    assert raised.value.__notes__ == [f"raised by 'generator' when gammabeta asked it for chunk {after + 1}"]


@pytest.mark.parametrize(
    ("chunks", "error", "message"),
    [
        ([], DataError, "at least one file is needed, got none"),
        (iter([]), DataError, "at least one chunk is needed, 'list_iterator' gives none"),
        ([np.ones((2, 3)), np.ones((2, 4))], DataError, r"has the shape \(2, 3\), chunk 2 \(2, 4\)"),
        ([np.ones((2, 3)), np.ones(2)], DataError, r"has the shape \(2, 3\), chunk 2 \(2,\)"),
        ([np.ones((2, 1)), pa.table({"x": [1]})], KindError, "chunks must all be arrays, chunk 2 of 'list' is Table"),
        (
            [np.ones((2, 1)), np.array([["a"]])],
            KindError,
            "of real numbers of 64 bits at most, chunk 2 of 'list' is of <U1",
        ),
        ([np.ones((2, 1), complex)], KindError, "chunk 1 of 'list' is of complex128"),
        ([[1.0, 2.0]], KindError, "it must be known whether 'list' gives samples or batches"),
        ([["a", "b"]], DataError, "each chunk must be one array or table, 'list' gives a list of str, str"),
        ([object(), 4.0], KindError, "or an iterable of these, 'list' gives object"),
        ((n for n in ["a.csv"]), KindError, "or an iterable of these, 'generator' gives str"),
        (
            [np.ones((2, 1)), np.array([[1], [np.inf]])],
            DataError,
            r"column '0' of 'list' holds inf in row 4 \(the first row",
        ),
        ([pa.table({"x": [1]}), pa.table({"y": [1]})], DataError, "columns of the first, chunk 2 of 'list' lacks 'x'"),
        (
            [pa.table({"x": [1]}), pa.table({"x": [1.0]})],
            KindError,
            "'x' of 'list' is int64 in the first and double in chunk 2; cast it",
        ),
        ([pa.table({"x": [1]}), 3], KindError, "chunks must all be tables, chunk 2 of 'list' is int"),
        ([pa.table({"x": [1.0]}), pa.table({"x": [-np.inf]})], DataError, "column 'x' of 'list' holds -inf in row 2"),
        (pd.DataFrame({"x": [1, {}]}), KindError, "'DataFrame' cannot be read as Arrow: .*; cast or drop that column"),
        (pl.DataFrame({"x": [1]}, {"x": pl.Int128}), KindError, "'DataFrame' cannot be read as Arrow: .*cast or drop"),
        (pl.LazyFrame({"s": ["a"]}), DataError, "at least one numeric column is needed, 'LazyFrame' has none"),
    ],
)
def test_what_is_wrong_with_chunks(chunks, error, message):
    with pytest.raises(error, match=message):
        data.measure(chunks)


def test_more_columns_later(tmp_path):
    parts = [pa.table({"x": [1.0]}), pa.table({"x": [3.0], "y": ["a"]})]
    assert data.moments(parts).mean.tolist() == [2.0]
    with pytest.raises(DataError, match="must have the columns of the first, chunk 2 of 'list' differs in 'y'"):
        data.scale(parts, tmp_path / "out.parquet")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("select", "message"),
    [(2, r"must have 2 to select, 'list' gives a tuple of ndarray \(3,\), int"), ("x", "must have 'x' to select")],
)
def test_what_cannot_be_selected(select, message):
    with pytest.raises(DataError, match=message):
        data.batches([(np.ones(3), 1)], select=select)


def test_axis_must_have_the_one_along_which_chunks_come():
    with pytest.raises(DataError, match=r"axis must have 0 in it, along which chunks follow one another, got 1"):
        data.moments([np.ones((2, 3))], axis=1)


def test_a_corrupt_dataset_is_named(tmp_path):
    pq.write_table(TABLE, tmp_path / "a.parquet")
    source = pa.dataset.dataset(tmp_path)
    (tmp_path / "a.parquet").write_bytes((tmp_path / "a.parquet").read_bytes()[:-2000])
    with pytest.raises(FileError, match="cannot be read as a data set"):
        data.measure(source)


@pytest.mark.parametrize("most", [1, 4000, 1 << 25], ids=["a column at a time", "some", "all together"])
def test_a_dataset_of_large_row_groups_is_read_by_columns(tmp_path, monkeypatch, most):
    """Statistics are the same in how many parts soever; a dataset that filters is one that filters in each."""
    monkeypatch.setattr(record_batches, "GROUP_BYTES", most)
    pq.write_table(TABLE, tmp_path / "a.parquet", row_group_size=1500)
    pq.write_table(TABLE[:700], tmp_path / "b.parquet")
    source = pa.dataset.dataset(tmp_path)
    assert (record_batches._parts(source) > 1) == (most < 1 << 25)
    expected = data.measure(pa.concat_tables([TABLE, TABLE[:700]]))
    found = data.measure(source)
    assert (found.names, found.rows, found.moments, found.extrema) == (
        expected.names,
        expected.rows,
        expected.moments,
        expected.extrema,
    )
    few = source.filter(pa.dataset.field("x") > 0)
    assert data.moments(few) == data.moments(few.to_table())
    nothing = pa.dataset.dataset(pq.write_table(TABLE[:0], tmp_path / "none.parquet") or tmp_path / "none.parquet")
    assert data.moments(nothing) == data.moments(TABLE[:0])


def test_how_a_datasets_user_reads_parquet_is_kept(tmp_path):
    pq.write_table(TABLE, tmp_path / "a.parquet")
    own = pa.dataset.ParquetFileFormat(
        default_fragment_scan_options=pa.dataset.ParquetFragmentScanOptions(pre_buffer=False)
    )
    assert record_batches._scan_options(pa.dataset.dataset(tmp_path, format=own)) is None
    assert record_batches._scan_options(pa.dataset.dataset(tmp_path)).use_buffered_stream
    assert record_batches._scan_options(pa.dataset.dataset(TABLE)) is None


# names


@pytest.mark.parametrize("name", ["in.csv", "in.parquet", "in.feather", "in.npy"])
def test_a_files_name_need_not_be_text(tmp_path, monkeypatch, capsys, name):
    monkeypatch.chdir(tmp_path)
    before = b"caf\xe9-".decode("utf-8", "surrogateescape")
    odd, out, stats = (f"{before}{part}" for part in (name, f"out-{name}", "s.json"))
    if name.endswith("npy"):
        with Path(odd).open("wb") as file:
            np.save(file, np.array([1.0, 3.0]))
    else:
        data.scale(pa.table({"a": [1.0, 3.0]}), odd, recipe=data.Recipe("minmax", feature_range=(1, 3)))
    commands = (
        ["stats", odd, "-o", stats],
        ["scale", odd],
        ["scale", odd, "-o", out],
        ["apply", stats, odd, "-o", out],
    )
    for command in commands:
        assert main(command) == 0
        assert "caf\\udce9-" in capsys.readouterr().out
    assert data.moments(out).std == data.moments(odd).std == 1
    assert data.load(stats).moments.mean == 2
