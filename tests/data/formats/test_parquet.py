"""Parquet and Arrow files keep how they were written; what pandas and readers know of the columns stays true."""

import json

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.feather
import pyarrow.ipc
import pyarrow.parquet as pq
import pytest

from gammabeta import data
from gammabeta.data.formats import parquet_transpose
from gammabeta.data.formats import table as tables
from gammabeta.data.formats.ipc import ArrowSource
from gammabeta.data.formats.parquet import ParquetSource
from gammabeta.errors import DataError, FileError


def table(rows=5000):
    rng = np.random.default_rng(3)
    return pa.table(
        {
            "noise": rng.normal(size=rows),
            "few": pa.array(rng.integers(0, 9, rows), pa.int32()),
            "word": [f"w{i % 5}" for i in range(rows)],
            "list": [[i, i] for i in range(rows)],
            "f": rng.normal(size=rows).astype(np.float32),
        }
    )


def test_compression_and_dictionaries_stay(tmp_path):
    codecs = {"noise": "zstd", "few": "gzip", "word": "brotli", "list.list.element": "lz4", "f": "none"}
    pq.write_table(
        table(), tmp_path / "in.parquet", compression=codecs, row_group_size=1500, use_dictionary=["few", "word", "f"]
    )
    data.scale(tmp_path / "in.parquet", tmp_path / "out.parquet")
    before, after = (pq.ParquetFile(tmp_path / f"{name}.parquet").metadata for name in ("in", "out"))
    assert [after.row_group(i).num_rows for i in range(4)] == [1500, 1500, 1500, 500]
    for i in range(5):
        old, new = before.row_group(0).column(i), after.row_group(0).column(i)
        assert (old.path_in_schema, old.compression) == (new.path_in_schema, new.compression)
        # the column of noise fills its dictionary in vain; few values and words repeat
        has = any("DICTIONARY" in encoding for encoding in new.encodings)
        assert has == (new.path_in_schema in ("few", "word"))


def test_how_columns_are_encoded_and_sorted_stays(tmp_path):
    pq.write_table(
        pa.table({"x": np.arange(100.0), "s": ["a"] * 100}),
        tmp_path / "in.parquet",
        use_dictionary=False,
        use_byte_stream_split=["x"],
        write_page_index=True,
        sorting_columns=[pq.SortingColumn(0)],
    )
    data.scale(tmp_path / "in.parquet", tmp_path / "out.parquet")
    group = pq.ParquetFile(tmp_path / "out.parquet").metadata.row_group(0)
    assert "BYTE_STREAM_SPLIT" in group.column(0).encodings
    assert group.column(0).has_column_index
    assert group.sorting_columns == (pq.SortingColumn(0),)


def test_metadata_of_table_and_columns_stay(tmp_path):
    schema = pa.schema([pa.field("x", pa.int64(), metadata={"unit": "mm"})], metadata={"made by": "us"})
    pq.write_table(pa.table({"x": [1, 2]}, schema=schema), tmp_path / "in.parquet")
    data.scale(tmp_path / "in.parquet", tmp_path / "out.parquet")
    result = pq.read_schema(tmp_path / "out.parquet")
    assert result.metadata[b"made by"] == b"us"
    assert result.field("x").metadata[b"unit"] == b"mm"
    assert result.field("x").type == pa.float64()


@pytest.mark.parametrize("name", ["parquet", "feather"])
def test_pandas_reads_what_it_wrote(tmp_path, name):
    frame = pd.DataFrame(
        {
            "plain": [1, 2, 3],
            "nullable": pd.array([1, None, 3], "Int64"),
            "single": pd.array([1.5, None, 3], "Float32"),
            "kind": pd.Categorical(["a", "b", "a"]),
            "when": pd.date_range("2020-01-01", periods=3, tz="Europe/Berlin"),
        },
        index=pd.Index([10, 20, 30], name="key"),
    )
    frame = frame if name == "parquet" else frame.reset_index(drop=True)
    source, out = tmp_path / f"in.{name}", tmp_path / f"out.{name}"
    getattr(frame, f"to_{name}")(source)
    data.scale(source, out)
    result = getattr(pd, f"read_{name}")(out)
    assert result.index.equals(frame.index)
    expected = {"plain": "float64", "nullable": "Float64", "single": "Float32"}
    assert {column: str(result[column].dtype) for column in expected} == expected
    pd.testing.assert_frame_equal(result[["kind", "when"]], frame[["kind", "when"]])
    assert result["nullable"].isna().tolist() == [False, True, False]


def test_the_index_of_pandas_is_no_feature(tmp_path):
    pd.DataFrame({"x": [1.0, 2.0]}, index=pd.Index([5, 7], name="id")).to_parquet(tmp_path / "in.parquet")
    assert data.measure(tmp_path / "in.parquet").names == ("x",)
    assert [c.skip_reason for c in data.scale(tmp_path / "in.parquet", tmp_path / "o.parquet").passed] == ["the index"]


@pytest.mark.parametrize("broken", [b"not json", b"[]", b'{"columns": [1]}', b'{"columns": 7, "index_columns": 3}'])
def test_metadata_that_is_not_what_pandas_writes_is_left_alone(tmp_path, broken):
    pq.write_table(pa.table({"x": [1, 2]}).replace_schema_metadata({"pandas": broken}), tmp_path / "in.parquet")
    data.scale(tmp_path / "in.parquet", tmp_path / "out.parquet")
    assert pq.read_schema(tmp_path / "out.parquet").metadata[b"pandas"] == broken


def test_pandas_metadata_says_what_changed(tmp_path):
    pd.DataFrame({"x": [1, 2], "y": [1.0, 2.0]}).to_parquet(tmp_path / "in.parquet")
    data.scale(tmp_path / "in.parquet", tmp_path / "out.parquet")
    told = json.loads(pq.read_schema(tmp_path / "out.parquet").metadata[b"pandas"])
    assert [column["numpy_type"] for column in told["columns"]] == ["float64", "float64"]


@pytest.mark.parametrize("form", ["file", "stream"])
@pytest.mark.parametrize("compression", ["lz4", "zstd", None])
def test_arrow_compression_stays(tmp_path, compression, form):
    options = pa.ipc.IpcWriteOptions(compression=compression)
    with getattr(pa.ipc, f"new_{form}")(tmp_path / "in.arrow", table().schema, options=options) as writer:
        writer.write_table(table())
    data.scale(tmp_path / "in.arrow", tmp_path / "out.arrow")
    assert ArrowSource(tmp_path / "in.arrow").compression == compression
    assert ArrowSource(tmp_path / "out.arrow").compression == compression


@pytest.mark.parametrize("compression", ["lz4", "zstd", "uncompressed"])
@pytest.mark.parametrize("name", ["arrow", "parquet"])
def test_polars_reads_what_it_wrote(tmp_path, name, compression):
    frame = pl.DataFrame(
        {
            "x": [1.5, None, 3.5],
            "f": pl.Series([1, 2, 3], dtype=pl.Float32),
            "word": ["a", None, "a long string that is not kept inline"],
            "kind": pl.Series(["u", "v", "u"], dtype=pl.Categorical),
            "list": [[1], [], None],
            "when": pl.Series([1, 2, None], dtype=pl.Datetime("ns")),
        }
    )
    source, out = tmp_path / f"in.{name}", tmp_path / f"out.{name}"
    (frame.write_ipc if name == "arrow" else frame.write_parquet)(source, compression=compression)
    data.scale(source, out)
    result = (pl.read_ipc if name == "arrow" else pl.read_parquet)(out)
    assert result.schema == frame.schema
    assert result.drop("x", "f").equals(frame.drop("x", "f"))
    assert result["x"].to_list() == [-1.0, None, 1.0]
    if name == "arrow":
        expected = None if compression == "uncompressed" else compression
        assert ArrowSource(source).compression == ArrowSource(out).compression == expected


def test_an_arrow_stream_in_a_file(tmp_path):
    with pa.ipc.new_stream(tmp_path / "in.arrow", table().schema) as writer:
        writer.write_table(table(), max_chunksize=700)
    done = data.scale(tmp_path / "in.arrow", tmp_path / "out.arrow")
    assert done.rows == 5000
    assert pa.feather.read_table(tmp_path / "out.arrow")["word"].to_pylist() == table()["word"].to_pylist()
    assert data.measure(tmp_path / "in.arrow") == data.measure(table())


def test_old_feather_is_named(tmp_path):
    (tmp_path / "in.feather").write_bytes(b"FEA1" + bytes(100))
    with pytest.raises(FileError, match="is of Feather version 1; write it again"):
        data.measure(tmp_path / "in.feather")


def test_dictionaries_that_differ_between_row_groups(tmp_path, monkeypatch):
    monkeypatch.setattr("gammabeta.data.core.source.CHUNK_BYTES", 1 << 10)
    groups = pa.table({"x": np.arange(4000.0), "k": [f"k{i // 50}" for i in range(4000)]})
    groups = groups.set_column(1, "k", groups["k"].dictionary_encode())
    pq.write_table(groups, tmp_path / "in.parquet", row_group_size=500)
    data.scale(tmp_path / "in.parquet", tmp_path / "out.arrow")
    assert pa.feather.read_table(tmp_path / "out.arrow")["k"].to_pylist() == groups["k"].to_pylist()


@pytest.mark.parametrize("content", ["cut", "junk", "footer"])
def test_parquet_that_is_damaged(tmp_path, content):
    pq.write_table(table(), tmp_path / "in.parquet")
    whole = (tmp_path / "in.parquet").read_bytes()
    broken = {
        "cut": whole[: len(whole) // 2],
        "junk": b"PAR1" + b"junk" * 99 + b"PAR1",
        "footer": whole[:-50] + b"x" * 42 + whole[-8:],
    }
    (tmp_path / "in.parquet").write_bytes(broken[content])
    with pytest.raises(FileError, match=r"'.*in.parquet' cannot be read as Parquet: "):
        data.scale(tmp_path / "in.parquet", tmp_path / "out.parquet")
    assert [path.name for path in tmp_path.iterdir()] == ["in.parquet"]


def test_a_page_that_is_damaged(tmp_path):
    pq.write_table(table(), tmp_path / "in.parquet", compression="zstd", row_group_size=1000)
    whole = bytearray((tmp_path / "in.parquet").read_bytes())
    place = pq.ParquetFile(tmp_path / "in.parquet").metadata.row_group(3).column(0).data_page_offset
    whole[place + 40 : place + 400] = bytes(360)
    (tmp_path / "in.parquet").write_bytes(whole)
    with pytest.raises(FileError, match="cannot be read as Parquet"):
        data.scale(tmp_path / "in.parquet", tmp_path / "out.parquet")
    assert not (tmp_path / "out.parquet").exists()


def test_arrow_that_is_damaged(tmp_path):
    pa.feather.write_feather(table(), tmp_path / "in.arrow")
    whole = (tmp_path / "in.arrow").read_bytes()
    for content in (whole[: len(whole) // 2], b"ARROW1" + b"junk" * 99, b"junk" * 99):
        (tmp_path / "in.arrow").write_bytes(content)
        with pytest.raises(FileError, match="cannot be read as Arrow IPC"):
            data.measure(tmp_path / "in.arrow")


def test_names_that_come_twice_are_refused(tmp_path):
    twice = pa.table([[1.0], [2.0]], names=["x", "x"])
    for write, name in ((pq.write_table, "in.parquet"), (pa.feather.write_feather, "in.arrow")):
        if name.endswith("arrow"):
            with pa.ipc.new_file(tmp_path / name, twice.schema) as writer:
                writer.write_table(twice)
        else:
            write(twice, tmp_path / name)
        with pytest.raises(DataError, match="column names must differ, but 'x' comes twice"):
            data.measure(tmp_path / name)


def test_names_with_dots_and_nested_columns(tmp_path):
    odd = pa.table({"a.b": [1.0, 2.0], "a": [3.0, 5.0], "s": [{"x": 1.0}, {"x": 2.0}], "": [1, 2]})
    pq.write_table(odd, tmp_path / "in.parquet")
    data.scale(tmp_path / "in.parquet", tmp_path / "out.parquet", columns=["a", ""])
    result = pq.read_table(tmp_path / "out.parquet")
    assert result["a"].to_pylist() == result[""].to_pylist() == [-1.0, 1.0]
    assert result["a.b"].to_pylist() == [1.0, 2.0]
    assert result["s"].to_pylist() == odd["s"].to_pylist()


def test_wide_files_are_turned_on_the_disk(tmp_path, monkeypatch):
    rng = np.random.default_rng(5)
    wide = pa.table(
        {f"c{i}": rng.normal(i, 1, 700).astype(np.float32) for i in range(60)}
        | {"s": [str(i) for i in range(700)], "k": pa.array([f"k{i % 9}" for i in range(700)]).dictionary_encode()}
        | {"l": [[{"a": i}] for i in range(700)]}
    )
    pq.write_table(wide, tmp_path / "in.parquet", row_group_size=300)
    data.scale(tmp_path / "in.parquet", tmp_path / "plain.parquet")
    monkeypatch.setattr("gammabeta.data.formats.parquet.OPEN_BYTES", 1 << 20)
    monkeypatch.setattr("gammabeta.data.core.source.CHUNK_BYTES", 1 << 12)
    used = []
    monkeypatch.setattr(
        "gammabeta.data.formats.parquet.columns_to_rows",
        lambda *given: used.append(1) or parquet_transpose.columns_to_rows(*given),
    )
    data.scale(tmp_path / "in.parquet", tmp_path / "turned.parquet")
    assert used
    assert pq.read_table(tmp_path / "turned.parquet").equals(pq.read_table(tmp_path / "plain.parquet"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.parquet", "plain.parquet", "turned.parquet"]


def test_many_columns_of_few_rows_are_exact_together():
    rng = np.random.default_rng(6)
    columns = {}
    for i in range(90):
        kind = ["f8", "f4", "f2", "i8", "u8", "i2"][i % 6]
        columns[f"c{i}"] = rng.integers(0, 2**10, 50).astype(kind) + np.array(
            2**53 + 1 if kind in ("i8", "u8") else 0, kind
        )
    columns["gaps"] = pa.array([None, *range(49)])
    found = data.measure(pa.table(columns))
    for i, name in enumerate(found.names):
        assert found.moments[i] == data.measure(pa.table({name: columns[name]})).moments[0]


def test_columns_are_read_in_groups(tmp_path):
    rng = np.random.default_rng(8)
    content = pa.table({f"c{i}": rng.normal(size=60_000) for i in range(30)})
    pq.write_table(content, tmp_path / "in.parquet", row_group_size=17_000)
    source = ParquetSource(tmp_path / "in.parquet")
    groups = {names for names, _ in tables.by_column_groups(source, source.schema.names, 60_000)}
    assert 1 < len(groups) < 30
    assert data.measure(tmp_path / "in.parquet") == data.measure(content)
