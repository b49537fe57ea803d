"""Files of every format: scaled as scikit-learn would, the rest as it was, and back again."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.feather
import pyarrow.parquet as pq
import pytest
from sklearn.preprocessing import MinMaxScaler, StandardScaler

from gammabeta import Extrema, Moments, data
from gammabeta.data import Recipe
from gammabeta.errors import DataError, KindError

ROWS = 1000
FORMATS = ("csv", "csv.gz", "tsv", "csv.zst", "parquet", "arrow", "feather")

# scikit-learn's own mean of 1000 values near 50 may be √1000 half-ULPs of 50 off, 1.1e-13, which is divided by 3 here
CLOSE = {"rtol": 0, "atol": 1e-13}


def numbers() -> np.ndarray:
    return np.random.default_rng(7).normal(50, 3, ROWS)


def table() -> pa.Table:
    x = numbers()
    return pa.table(
        {
            "x": x,
            "name": [f'n{i % 7}, "{i}"' for i in range(ROWS)],
            "count": pa.array(np.arange(ROWS) % 90, pa.int32()),
            "gaps": pa.array([None if i % 10 == 0 else i / 3 for i in range(ROWS)]),
            "flag": x > 50,
            "whole": pa.array([None if i % 10 == 3 else i for i in range(ROWS)], pa.int64()),
        }
    )


def written(path: Path, content: pa.Table) -> Path:
    if path.suffix == ".parquet":
        pq.write_table(content, path)
    elif path.suffix in (".arrow", ".feather"):
        pa.feather.write_feather(content, path)
    else:
        compression = {".gz": "gzip", ".zst": "zstd"}.get(path.suffix)
        options = pa.csv.WriteOptions(delimiter="\t" if path.suffix == ".tsv" else ",")
        with pa.output_stream(path, compression=compression) as stream:
            pa.csv.write_csv(content, stream, options)
    return path


def read(path: Path) -> pa.Table:
    if path.suffix == ".parquet":
        return pq.read_table(path)
    if path.suffix in (".arrow", ".feather"):
        return pa.feather.read_table(path)
    options = pa.csv.ParseOptions(delimiter="\t" if path.suffix == ".tsv" else ",")
    with pa.input_stream(path) as stream:
        return pa.csv.read_csv(stream, parse_options=options)


@pytest.mark.parametrize("name", FORMATS)
def test_standardized_as_scikit_learn_does(tmp_path, name):
    source, out = written(tmp_path / f"in.{name}", table()), tmp_path / f"out.{name}"
    done = data.scale(source, out)
    result = read(out)
    assert done.rows == result.num_rows == ROWS
    assert result.schema.names == table().schema.names
    for column in ("x", "count", "gaps", "whole"):
        original = table()[column].to_pandas().to_numpy(float)[:, None]
        expected = StandardScaler().fit_transform(original)[:, 0]
        np.testing.assert_allclose(result[column].to_pandas().to_numpy(float), expected, **CLOSE)
        assert result[column].null_count == table()[column].null_count
    assert result["name"].to_pylist() == table()["name"].to_pylist()
    assert result["flag"].to_pylist() == table()["flag"].to_pylist()
    assert [column.name for column in done.passed] == ["name", "flag"]
    assert [column.name for column in done.converted] == ["count", "whole"]


@pytest.mark.parametrize("name", FORMATS)
def test_there_and_back(tmp_path, name):
    source, out, back = (tmp_path / f"{part}.{name}" for part in ("in", "out", "back"))
    recipe = Recipe("minmax", feature_range=(-1, 1))
    data.scale(written(source, table()), out, recipe=recipe, stats=tmp_path / "s.json")
    data.invert(tmp_path / "s.json", out, back)
    for column in ("x", "count", "gaps", "whole"):
        original = table()[column].to_pandas().to_numpy(float)
        # values to 1000, whose ULP is 1.1e-13, through two maps of three operations each
        np.testing.assert_allclose(read(back)[column].to_pandas().to_numpy(float), original, rtol=0, atol=7e-13)
    data.apply(tmp_path / "s.json", source, tmp_path / f"again.{name}")
    assert read(tmp_path / f"again.{name}").equals(read(out))


@pytest.mark.parametrize("name", ["csv", "parquet", "arrow"])
@pytest.mark.parametrize("target", ["csv", "parquet", "arrow", "feather"])
def test_from_one_format_to_another(tmp_path, name, target):
    source = written(tmp_path / f"in.{name}", table())
    data.scale(source, tmp_path / f"out.{target}", exclude=["count"])
    result = read(tmp_path / f"out.{target}")
    expected = StandardScaler().fit_transform(numbers()[:, None])[:, 0]
    np.testing.assert_allclose(result["x"].to_numpy(), expected, **CLOSE)
    assert result["count"].to_pylist() == table()["count"].to_pylist()
    assert result["name"].to_pylist() == table()["name"].to_pylist()


def test_a_range_wider_than_float64(tmp_path):
    most = np.finfo(np.float64).max
    x = [-most, most, None, 0.0]
    pq.write_table(pa.table({"far": x, "near": [1.0, 2.0, 3.0, 5.0]}), tmp_path / "in.parquet")
    data.scale(tmp_path / "in.parquet", tmp_path / "out.parquet", recipe=Recipe("minmax"), stats=tmp_path / "s.json")
    assert pq.read_table(tmp_path / "out.parquet").to_pydict() == {
        "far": [0.0, 1.0, None, 0.5],
        "near": [0.0, 0.25, 0.5, 1.0],
    }
    data.invert(tmp_path / "s.json", tmp_path / "out.parquet", tmp_path / "back.parquet")
    assert pq.read_table(tmp_path / "back.parquet")["far"].to_pylist() == x


def test_minmax_as_scikit_learn_does(tmp_path):
    source = written(tmp_path / "in.parquet", table())
    data.scale(source, tmp_path / "out.parquet", recipe=Recipe("minmax", feature_range=(-1, 2)))
    expected = MinMaxScaler((-1, 2)).fit_transform(numbers()[:, None])[:, 0]
    np.testing.assert_allclose(read(tmp_path / "out.parquet")["x"].to_numpy(), expected, **CLOSE)


@pytest.mark.parametrize("kind", ["float16", "float32", "float64"])
@pytest.mark.parametrize("name", ["parquet", "arrow"])
def test_floats_keep_their_type(tmp_path, kind, name):
    source = written(tmp_path / f"in.{name}", pa.table({"x": numbers().astype(kind)}))
    data.scale(source, tmp_path / f"out.{name}")
    data.invert(data.measure(source), tmp_path / f"out.{name}", tmp_path / f"back.{name}")
    assert read(tmp_path / f"out.{name}")["x"].type == pa.from_numpy_dtype(np.dtype(kind))
    assert read(tmp_path / f"back.{name}")["x"].type == pa.from_numpy_dtype(np.dtype(kind))


@pytest.mark.parametrize(
    "kind", [pa.int8(), pa.uint8(), pa.int16(), pa.uint16(), pa.int32(), pa.uint32(), pa.int64(), pa.uint64()]
)
def test_integers_are_exact_and_become_float64(tmp_path, kind):
    top = 2 ** (kind.bit_width - (1 if pa.types.is_signed_integer(kind) else 0)) - 1
    values = [top, top - 1, None, 0, top]
    source = written(tmp_path / "in.parquet", pa.table({"x": pa.array(values, kind)}))
    present = [v for v in values if v is not None]
    assert data.moments(source).mean[0] == sum(present) / len(present)
    data.scale(source, tmp_path / "out.parquet")
    assert read(tmp_path / "out.parquet")["x"].type == pa.float64()


def test_decimals_are_scaled_as_float64(tmp_path):
    cents = pa.array(["1.10", "2.20", None, "3.30"]).cast(pa.decimal128(9, 2))
    source = written(tmp_path / "in.parquet", pa.table({"price": cents}))
    done = data.scale(source, tmp_path / "out.parquet")
    result = read(tmp_path / "out.parquet")["price"]
    assert result.type == pa.float64()
    assert [column.type for column in done.converted] == ["decimal128(9, 2)"]
    expected = StandardScaler().fit_transform([[1.1], [2.2], [3.3]])[:, 0]
    np.testing.assert_allclose([v for v in result.to_pylist() if v is not None], expected, **CLOSE)


def test_other_types_pass_through_untouched(tmp_path):
    others = pa.table(
        {
            "x": [1.0, 2.0],
            "flag": [True, None],
            "day": pa.array([1, 2], pa.date32()),
            "time": pa.array([1, None], pa.timestamp("us", "UTC")),
            "took": pa.array([1, 2], pa.duration("s")),
            "blob": [b"\x00\xff", None],
            "kind": pa.array(["a", "b"]).dictionary_encode(),
            "vector": [[1.0, 2.0], []],
            "pair": [{"a": b"1", "b": "x"}, {"a": b"2", "b": None}],
            "nothing": pa.nulls(2),
        }
    )
    for name in ("parquet", "arrow"):
        source = written(tmp_path / f"in.{name}", others)
        done = data.scale(source, tmp_path / f"out.{name}")
        result = read(tmp_path / f"out.{name}")
        assert result.drop_columns("x").equals(read(source).drop_columns("x"))
        assert result["x"].to_pylist() == [-1.0, 1.0]
        assert len(done.passed) == 10  # the pair's fields are columns


def test_missing_values_stay_what_they_were(tmp_path):
    values = pa.array([1.0, None, float("nan"), 3.0], from_pandas=False)
    source = written(tmp_path / "in.parquet", pa.table({"x": values}))
    assert data.moments(source).count.tolist() == [2.0]
    data.scale(source, tmp_path / "out.parquet")
    result = read(tmp_path / "out.parquet")["x"].to_pylist()
    assert result[0] == -1.0
    assert result[1] is None
    assert np.isnan(result[2])
    assert result[3] == 1.0


def test_constant_and_empty_columns_behave_as_scikit_learns(tmp_path):
    x = np.array([[5.0, np.nan, 1.0], [5.0, np.nan, 3.0]])
    source = written(tmp_path / "in.parquet", pa.table({name: x[:, i] for i, name in enumerate("abc")}))
    for recipe, scaler in ((Recipe(), StandardScaler()), (Recipe("minmax"), MinMaxScaler())):
        data.scale(source, tmp_path / "out.parquet", recipe=recipe, stats=tmp_path / "s.json")
        result = np.stack([read(tmp_path / "out.parquet")[name].to_numpy() for name in "abc"], axis=1)
        with np.errstate(all="ignore"):
            expected = scaler.fit(np.where(np.isnan(x), 0, x)).transform(x)
        np.testing.assert_array_equal(result, expected)
        data.invert(tmp_path / "s.json", tmp_path / "out.parquet", tmp_path / "back.parquet")
        assert read(tmp_path / "back.parquet")["a"].to_pylist() == [5.0, 5.0]


def test_one_row(tmp_path):
    source = written(tmp_path / "in.parquet", pa.table({"x": [3.0]}))
    data.scale(source, tmp_path / "out.parquet")
    assert read(tmp_path / "out.parquet")["x"].to_pylist() == [0.0]
    data.scale(source, tmp_path / "out.parquet", recipe=Recipe(ddof=1))
    assert read(tmp_path / "out.parquet")["x"].to_pylist() == [0.0]


def test_ddof(tmp_path):
    source = written(tmp_path / "in.parquet", table())
    data.scale(source, tmp_path / "out.parquet", recipe=Recipe(ddof=1))
    np.testing.assert_allclose(read(tmp_path / "out.parquet")["x"].to_numpy().std(ddof=1), 1, rtol=1e-14)


@pytest.mark.parametrize("name", ["csv", "parquet", "arrow"])
def test_no_rows(tmp_path, name):
    empty = pa.table({"x": pa.array([], pa.float64()), "s": pa.array([], pa.string())})
    source = written(tmp_path / f"in.{name}", empty)
    if name == "csv":  # without a row there is nothing that says what a column is
        with pytest.raises(DataError, match="at least one numeric column"):
            data.measure(source)
        return
    assert data.measure(source).rows == 0
    assert data.measure(source) + data.measure(pa.table({"x": [1.0]})) == data.measure(pa.table({"x": [1.0]}))
    with pytest.raises(DataError, match="at least one row is needed"):
        data.scale(source, tmp_path / f"out.{name}")
    assert not (tmp_path / f"out.{name}").exists()
    data.apply(data.measure(pa.table({"x": [1.0, 2.0]})), source, tmp_path / f"out.{name}")
    assert read(tmp_path / f"out.{name}").equals(empty)


@pytest.mark.parametrize("name", ["csv", "parquet", "arrow"])
def test_statistics_do_not_depend_on_the_format(tmp_path, name):
    source = written(tmp_path / f"in.{name}", table())
    assert data.moments(source, ["x", "count"]) == Moments.of(np.stack([numbers(), np.arange(ROWS) % 90], axis=1))
    assert data.extrema(source, ["x"], footers=False) == Extrema.of(numbers()[:, None])
    parts = [Moments.of(chunk["x"]) for chunk in data.scan(source)]
    assert sum(parts) == Moments.of(numbers())


def test_scan_hands_out_chunks_in_order(tmp_path):
    many = pa.table({"x": np.arange(2_000_000.0), "i": np.arange(2_000_000)})
    for name in ("parquet", "arrow"):
        source = written(tmp_path / f"in.{name}", many)
        chunks = list(data.scan(source, ["x"]))
        assert len(chunks) > 1
        assert [chunk.start for chunk in chunks] == np.cumsum([0, *(chunk.rows for chunk in chunks[:-1])]).tolist()
        np.testing.assert_array_equal(np.concatenate([chunk["x"] for chunk in chunks]), many["x"].to_numpy())
        assert chunks[0].batch.schema.names == ["x"]


def test_scan_can_be_left_early(tmp_path):
    source = written(tmp_path / "in.parquet", pa.table({"x": np.arange(2_000_000.0)}))
    for chunk in data.scan(source):
        assert chunk.start == 0
        break


def test_scan_says_what_it_cannot_give():
    chunk = next(data.scan(pa.table({"s": ["a"]})))
    with pytest.raises(KindError, match="column 's' must be of numbers to be had as an array, it is string"):
        chunk["s"]
    with pytest.raises(DataError, match="there is no column 'y'"):
        next(data.scan(pa.table({"s": ["a"]}), ["y"]))


def test_choosing_columns(tmp_path):
    source = written(tmp_path / "in.parquet", table())
    assert data.measure(source).names == ("x", "count", "gaps", "whole")
    assert data.measure(source, ["whole", "x"]).names == ("x", "whole")
    assert data.measure(source, ["*a*"]).names == ("gaps",)
    assert data.measure(source, exclude=["[xw]*"]).names == ("count", "gaps")
    with pytest.raises(DataError, match=r"there is no column 'X' in '.*'; it has 'x', 'name', .* and 1 more"):
        data.measure(source, ["X"])
    with pytest.raises(KindError, match=r"'flag' in .* is not numeric \(bool\)"):
        data.measure(source, ["flag"])
    with pytest.raises(DataError, match="at least one numeric column is needed"):
        data.measure(source, ["x"], ["x"])


@pytest.mark.parametrize("name", ["csv", "parquet", "arrow"])
def test_infinities_are_refused_with_their_place(tmp_path, name):
    x = numbers()
    x[[612, 700]] = -np.inf
    source = written(tmp_path / f"in.{name}", pa.table({"a": numbers(), "x": x}))
    expected = r"must be finite or missing, column 'x' of .* holds -inf in row 613 \(the first row of data is 1\)"
    for act in (data.measure, lambda f: data.scale(f, tmp_path / "out.csv"), data.preview):
        with pytest.raises(DataError, match=expected):
            act(source)
    fitted = data.measure(pa.table({"x": numbers()}))
    with pytest.raises(DataError, match=expected):
        data.apply(fitted, source, tmp_path / "out.csv")
    assert not (tmp_path / "out.csv").exists()


def test_a_null_is_no_infinity(tmp_path):
    hidden = pa.array(np.array([1.0, np.inf, 3.0]), mask=np.array([False, True, False]))
    source = written(tmp_path / "in.arrow", pa.table({"x": hidden}))
    data.scale(source, tmp_path / "out.arrow")
    assert read(tmp_path / "out.arrow")["x"].to_pylist() == [-1.0, None, 1.0]


def test_a_value_that_leaves_its_type_is_refused(tmp_path):
    fitted = data.measure(pa.table({"x": np.array([1.0, 1.001], np.float16)}))
    with pytest.raises(DataError, match=r"column 'x' of 'table' must stay within float16, but .* in row 2"):
        data.apply(fitted, pa.table({"x": np.array([1.0, 60000.0], np.float16)}), tmp_path / "out.parquet")


def test_progress_goes_to_the_end(tmp_path):
    for name in ("csv", "csv.gz", "parquet", "arrow"):
        source = written(tmp_path / f"in.{name}", table())
        seen: list[tuple[int, int]] = []
        data.scale(source, tmp_path / f"out.{name}", progress=lambda done, size, seen=seen: seen.append((done, size)))
        size = source.stat().st_size
        assert all(0 <= done <= total == 2 * size for done, total in seen)
        assert seen == sorted(seen)


@pytest.mark.parametrize("name", ["csv", "parquet", "arrow"])
def test_a_look_before_and_after(tmp_path, name):
    source = written(tmp_path / f"in.{name}", table())
    found = data.preview(source, bins=10, recipe=Recipe("minmax", feature_range=(0, 10)))
    assert found.statistics == data.measure(source, recipe=Recipe("minmax", feature_range=(0, 10)))
    assert found.before.shape == found.after.shape == (4, 10)
    assert found.before.sum(axis=1).tolist() == found.after.sum(axis=1).tolist() == [1000, 1000, 900, 900]
    np.testing.assert_array_equal(found.before[0], np.histogram(numbers(), 10)[0])
    np.testing.assert_allclose(found.low, 0, atol=1e-15)
    np.testing.assert_allclose(found.high, 10, rtol=1e-15)
    assert [column.name for column in found.passed] == ["name", "flag"]
    assert [path.name for path in tmp_path.iterdir()] == [f"in.{name}"]


def test_a_look_at_much_is_a_sample(monkeypatch):
    monkeypatch.setattr("gammabeta.data.passes.preview.SAMPLE", 100)
    monkeypatch.setattr("gammabeta.data.formats.table.CHUNK_BYTES", 1 << 10)
    found = data.preview(pa.table({"x": np.arange(10_000.0)}), bins=4)
    assert found.before.tolist() == [[25, 25, 25, 25]]


def test_a_look_at_odd_columns():
    odd = pa.table({"constant": [2.0] * 3, "nothing": [None, float("nan"), None], "huge": [-1.7e308, 0.0, 1.7e308]})
    found = data.preview(odd, bins=3)
    assert found.before.tolist() == [[0, 3, 0], [0, 0, 0], [1, 1, 1]]
    assert np.isnan(found.low).tolist() == [False, True, False]
