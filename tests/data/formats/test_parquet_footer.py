"""Least and greatest values from Parquet footers: those that a scan finds, or the column is read."""

import json
from decimal import Decimal
from types import SimpleNamespace

import duckdb
import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from gammabeta import Affine, DataError, Extrema, MinMaxScaler, StateError, data
from gammabeta.cli import main
from gammabeta.data.formats import parquet_footer
from gammabeta.data.formats.parquet import ParquetSource

NAN, INF = np.nan, np.inf


def told(path):
    """The columns for which the footer is believed."""
    source = ParquetSource(path)
    return source.footer_minmax([column.name for column in source.columns if not column.skip_reason])


def same(a, b):
    """Whether two extrema are the same to the bit, −0.0 told from 0.0, but for what one does not know of its count."""
    known = ~np.isnan(a.count) & ~np.isnan(b.count)
    pairs = (a.min, b.min), (a.max, b.max), (a.count[known], b.count[known])
    return all(x.tobytes() == y.tobytes() for x, y in pairs)


def test_same_can_fail():
    assert not same(Extrema.between([0.0], [1.0]), Extrema.between([0.0], [2.0]))
    assert not same(Extrema.of([[1.0]]), Extrema.of([[1.0], [1.0]]))


KINDS = {
    "u8": pa.array([1, 200, None], pa.uint8()),
    "u32": pa.array([1, 4_000_000_000, 7], pa.uint32()),
    "u64": pa.array([3, 2**64 - 1, 2**63], pa.uint64()),
    "i64": pa.array([-(2**63), 2**53 + 1, 2**63 - 1]),
    "i8": pa.array([-128, None, 5], pa.int8()),
    "f16": pa.array(np.array([-1.5, 65504, 6e-8], np.float16)),
    "f32": pa.array([1.1, -3.3, None], pa.float32()),
    "f64": pa.array([5e-324, -1.7e308, NAN]),
    "zeros": pa.array([-0.0, 0.0, -0.0]),
    "minus_zero": pa.array([-0.0, -0.0, -0.0], pa.float32()),
    "none": pa.array([None, None, None], pa.float64()),
    "d9": pa.array([Decimal("1.23"), Decimal("-4.50"), None], pa.decimal128(9, 2)),
    "d15": pa.array([Decimal("0.1"), Decimal("99999999999999.9"), Decimal("0.3")], pa.decimal128(15, 1)),
}


@pytest.mark.parametrize("options", [{}, {"row_group_size": 1}, {"store_decimal_as_integer": True}])
def test_every_type_is_told_as_a_scan_finds_it(tmp_path, options):
    path = tmp_path / "in.parquet"
    pq.write_table(pa.table(KINDS), path, **options)
    # a row group of one NaN has no minimum
    assert set(told(path)) == set(KINDS) - ({"f64"} if "row_group_size" in options else set())
    assert same(data.extrema(path), data.extrema(path, footers=False))


def test_no_count_is_claimed_that_is_not_known(tmp_path):
    pq.write_table(
        pa.table({"f": [1.0, NAN, None], "i": [1, 2, None], "none": pa.nulls(3, pa.float32())}), tmp_path / "in.parquet"
    )
    np.testing.assert_array_equal(data.extrema(tmp_path / "in.parquet").count, [NAN, 2, 0])
    assert data.extrema(tmp_path / "in.parquet", footers=False).count.tolist() == [1, 2, 0]


@given(
    hnp.arrays(np.float32, st.integers(0, 40), elements=st.floats(width=32, allow_infinity=False)),
    st.integers(1, 9),
)
def test_any_floats_in_any_row_groups(tmp_path_factory, values, rows):
    path = tmp_path_factory.mktemp("any") / "in.parquet"
    pq.write_table(pa.table({"x": values}), path, row_group_size=rows)
    assert same(data.extrema(path), Extrema.of(values[:, None]))


@pytest.mark.parametrize("writer", ["polars", "duckdb"])
def test_footers_of_other_writers(tmp_path, writer):
    path = tmp_path / "in.parquet"
    frame = pl.DataFrame(
        {
            "f": [1.5, -2.0, None],
            "nan": [1.5, NAN, -1.0],
            "only": [NAN, NAN, NAN],
            "u": pl.Series([1, 2**63 + 5, None], dtype=pl.UInt64),
            "i": [-1, 2**40, 0],
            "zero": pl.Series([-0.0, -0.0, 0.0], dtype=pl.Float32),
        }
    )
    if writer == "polars":
        frame.write_parquet(path)
    else:
        duckdb.sql("from frame").write_parquet(str(path))
    assert {"f", "u", "i"} <= set(told(path))
    assert same(data.extrema(path), data.extrema(path, footers=False))


@pytest.mark.parametrize(
    ("values", "options"),
    [
        (pa.array([1.0, 2.0]), {"write_statistics": False}),
        (pa.array([NAN, NAN]), {}),
        (pa.array([Decimal("1"), Decimal("2")], pa.decimal128(16, 0)), {}),
        (pa.array([Decimal("1"), Decimal("2")], pa.decimal256(50, 2)), {}),
    ],
)
def test_what_leaves_a_doubt_is_read(tmp_path, values, options):
    path = tmp_path / "in.parquet"
    pq.write_table(pa.table({"x": values}), path, **options)
    assert told(path) == {}
    assert data.extrema(path) == data.measure(path).extrema


def test_a_column_without_statistics_is_read_alone(tmp_path, monkeypatch):
    path = tmp_path / "in.parquet"
    pq.write_table(pa.table({"a": [1.0, 4.0], "b": [3.0, 5.0], "c": [7, 9]}), path, write_statistics=["a", "c"])
    asked, pieces = [], ParquetSource.pieces

    def noted(self, names):
        asked.append(names)
        return pieces(self, names)

    monkeypatch.setattr(ParquetSource, "pieces", noted)
    found = data.extrema(path)
    assert [list(names) for names in asked] == [["b"]]
    assert found.min.tolist() == [1, 3, 7] and found.max.tolist() == [4, 5, 9]
    np.testing.assert_array_equal(found.count, [NAN, 2, 2])


@pytest.mark.parametrize("value", [INF, -INF])
def test_an_infinity_is_refused_with_its_row(tmp_path, value):
    path = tmp_path / "in.parquet"
    pq.write_table(pa.table({"a": [1.0, 2.0, 3.0], "b": [1.0, value, 2.0]}), path)
    assert set(told(path)) == {"a"}
    with pytest.raises(DataError, match=rf"column 'b' of '.*in.parquet' holds {value} in row 2"):
        data.extrema(path)


def said(low, high, nulls=0, values=2):
    """A column's part of a footer."""
    has = low is not None
    return SimpleNamespace(min=low, max=high, has_min_max=has, has_null_count=nulls is not None, num_values=values)


@pytest.mark.parametrize(
    ("statistics", "kind"),
    [
        (None, pa.float64()),
        (said(None, None), pa.float64()),
        (said(1.0, 2.0, None), pa.float64()),
        (said(NAN, NAN), pa.float64()),  # parquet-mr before 1.10, parquet-go
        (said(1.0, NAN), pa.float64()),  # DuckDB before 1.2, for which NaN is the greatest
        (said(INF, -INF), pa.float32()),  # where a writer begins
        (said(1.7e308, -1.7e308), pa.float64()),
        (said(-INF, -1.7e308), pa.float64()),  # Arrow's of a column of −inf
        (said(2**32 - 1, 1), pa.uint32()),  # signed order
        (said(b"\x00\x7e", b"\x00\x7e"), pa.float16()),  # NaN
    ],
)
def test_what_footers_have_said_wrongly_is_not_believed(statistics, kind):
    assert parquet_footer._range_of(statistics, kind) is None


def test_a_writer_known_for_wrong_statistics_is_not_believed(tmp_path):
    path = tmp_path / "in.parquet"
    pq.write_table(pa.table({"x": [1.0]}), path)
    metadata = pq.read_metadata(path)
    chunk = metadata.row_group(0)

    def of(writer):
        return SimpleNamespace(created_by=writer, num_row_groups=1, row_group=lambda i: chunk)

    assert parquet_footer.minmax(of("parquet-cpp version 1.5.1-SNAPSHOT"), {0: pa.float64()}) == {}
    for writer in "parquet-cpp-arrow version 1.0.0", "parquet-mr version 1.12.3", None, "":
        assert parquet_footer.minmax(of(writer), {0: pa.float64()}) == {0: Extrema.between(1, 1)}


def test_columns_are_found_among_nested_ones(tmp_path):
    path = tmp_path / "in.parquet"
    nested = {"s": [{"p": 1, "q": [7.0]}, {"p": 2, "q": []}], "x": [3.0, 4.0], "l": [[1], [9, 9]], "y": [5, 6]}
    pq.write_table(pa.table(nested), path)
    found = data.extrema(path)  # of s.p, x and y
    assert found.min.tolist() == [1, 3, 5] and found.max.tolist() == [2, 4, 6]


def test_no_rows(tmp_path):
    for rows_groups in (0, 1):
        path = tmp_path / f"{rows_groups}.parquet"
        schema = pa.schema([("x", pa.float64())])
        with pq.ParquetWriter(path, schema) as writer:
            for _ in range(rows_groups):
                writer.write_table(schema.empty_table())
        assert data.extrema(path) == Extrema.of(np.empty((0, 1)))
        with pytest.raises(DataError, match="at least one row is needed"):
            data.scale(path, tmp_path / "out.parquet", recipe=data.Recipe("minmax"))


def test_minmax_scaling_by_footers_reads_once_and_gives_the_same_file(tmp_path, monkeypatch):
    source = tmp_path / "in.parquet"
    rng = np.random.default_rng(0)
    table = pa.table({"x": rng.normal(size=1000), "n": rng.integers(0, 9, 1000), "w": ["a"] * 1000})
    pq.write_table(table, source, row_group_size=300)
    recipe = data.Recipe("minmax", feature_range=(-1, 1))
    read = data.scale(source, tmp_path / "read.parquet", recipe=recipe, footers=False)
    kept = data.scale(source, tmp_path / "kept.parquet", recipe=recipe, stats=tmp_path / "s.json")
    assert isinstance(read.statistics, data.Statistics) and isinstance(kept.statistics, data.Statistics)
    monkeypatch.setattr("gammabeta.data.passes.measure._parts", lambda *a, **k: pytest.fail("values were read"))
    done = data.scale(source, tmp_path / "told.parquet", recipe=recipe)
    assert isinstance(done.statistics, data.Ranges)
    assert done.statistics.names == ("x", "n") and done.rows == done.statistics.rows == 1000
    assert done.statistics.affine() == read.statistics.affine()
    contents = [(tmp_path / f"{name}.parquet").read_bytes() for name in ("read", "kept", "told")]
    assert contents[0] == contents[1] == contents[2]


def test_standardization_reads(tmp_path):
    pq.write_table(pa.table({"x": [1.0, 3.0]}), tmp_path / "in.parquet")
    done = data.scale(tmp_path / "in.parquet", tmp_path / "out.parquet")
    assert isinstance(done.statistics, data.Statistics)


@pytest.mark.parametrize(("options", "mean", "count"), [([], None, None), (["--no-footers"], 2.0, 3.0)])
def test_the_command_tells_what_it_knows(tmp_path, capsys, options, mean, count):
    pq.write_table(pa.table({"x": [1.0, 2.0, 3.0]}), tmp_path / "in.parquet")
    command = ["scale", str(tmp_path / "in.parquet"), "-o", str(tmp_path / "out.parquet"), "--method", "minmax"]
    assert main([*command, *options, "--json"]) == 0
    (column,) = json.loads(capsys.readouterr().out)["columns"]
    assert (column["mean"], column["count"], column["min"], column["max"]) == (mean, count, 1.0, 3.0)
    assert pq.read_table(tmp_path / "out.parquet")["x"].to_pylist() == [0, 0.5, 1]


def test_a_footer_cut_short_is_an_error(tmp_path, capsys):
    path = tmp_path / "in.parquet"
    pq.write_table(pa.table({"x": [1.0]}), path)
    path.write_bytes(path.read_bytes()[:-20])
    assert main(["scale", str(path), "-o", str(tmp_path / "out.parquet"), "--method", "minmax"]) == 2
    assert "cannot be read as Parquet" in capsys.readouterr().err


def test_extrema_between():
    e = Extrema.between([0, NAN, -0.0], [255, NAN, 0.0], [NAN, 0, 3])
    np.testing.assert_array_equal(e.count, [NAN, 0, 3])
    np.testing.assert_array_equal(e.min, [0, NAN, 0])
    assert not np.signbit(e.min).any()
    assert Extrema.from_json(e.to_json()) == e
    added = e + Extrema.of([[7.0, 7.0, 7.0]])
    np.testing.assert_array_equal(added.count, [NAN, 1, 4])
    assert added == Extrema.of([[7.0, 7.0, 7.0]]) + e
    assert Extrema.between(2.0, 2.0, 1) == Extrema.of([2.0])
    np.testing.assert_array_equal(Affine.minmax(Extrema.between(0, 255))(np.array([0.0, 51, 255])), [0, 0.2, 1])
    scaler = MinMaxScaler.from_extrema(Extrema.between([0], [255]))
    assert scaler.n_samples_seen_ == 0
    assert scaler.partial_fit([[300.0], [3.0]]).data_max_ == 300 and scaler.n_samples_seen_ == 2


@pytest.mark.parametrize(
    ("given_", "message"),
    [
        ((2, 1), "low must be at most high"),
        ((NAN, 1), "low must be at most high"),
        ((NAN, NAN, 3), "low must be at most high"),
        ((1, 2, 0), "low must be at most high"),
        ((1, 2, 1.5), "count must be whole numbers"),
        ((1, 2, -1), "count must be whole numbers"),
    ],
)
def test_extrema_that_cannot_be(given_, message):
    with pytest.raises(DataError, match=message):
        Extrema.between(*given_)


@pytest.mark.parametrize("change", [{"count": [-1]}, {"count": None}, {"nan": [None]}, {"min": ["0x1.0p+1"]}])
def test_documents_that_are_no_extrema_are_refused(change):
    document = json.loads(Extrema.between([0.0], [1.0]).to_json())
    with pytest.raises(StateError):
        Extrema.from_json(json.dumps(document | change))
