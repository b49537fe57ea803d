"""Stats files: they add up, say how to scale, and are refused when they cannot be what they claim."""

import json
import pickle

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gammabeta import data
from gammabeta.data import Column, Recipe, Statistics
from gammabeta.errors import DataError, FileError, KindError, StateError


def table(rows=100, seed=0):
    rng = np.random.default_rng(seed)
    return pa.table({"a": rng.normal(size=rows), "b": rng.integers(0, 9, rows), "s": ["x"] * rows})


@pytest.fixture(name="kept")
def _kept(tmp_path):
    data.save(data.measure(table()), tmp_path / "s.json")
    return tmp_path / "s.json"


def test_there_and_back(kept):
    found = data.load(kept)
    assert found == data.measure(table())
    assert found.names == ("a", "b")
    assert [column.type for column in found.columns] == ["float64", "int64"]
    assert pickle.loads(pickle.dumps(found)) == found
    assert json.loads(kept.read_text())["format"] == "gammabeta.stats"


@pytest.mark.parametrize(
    "recipe", [Recipe(), Recipe(ddof=1), Recipe(ddof=0.5), Recipe("minmax"), Recipe("minmax", feature_range=(-1, 2.5))]
)
def test_how_to_scale_is_kept(tmp_path, recipe):
    found = data.measure(table(), recipe=recipe)
    data.save(found, tmp_path / "s.json")
    assert data.load(tmp_path / "s.json").recipe == recipe
    done = data.scale(table(), tmp_path / "out.parquet", recipe=recipe, stats=tmp_path / "t.json")
    assert data.load(tmp_path / "t.json") == done.statistics == found
    back = data.invert(tmp_path / "t.json", tmp_path / "out.parquet", tmp_path / "back.parquet")
    np.testing.assert_allclose(pq.read_table(back.path)["a"].to_numpy(), table()["a"].to_numpy(), atol=1e-14)


@pytest.mark.parametrize("pieces", [1, 2, 7, 100])
def test_parts_add_up_to_the_whole(tmp_path, pieces):
    for i, rows in enumerate(np.array_split(np.arange(100), pieces)):
        pq.write_table(
            table().take(rows).select(["s", "b", "a"] if i % 2 else ["a", "b", "s"]), tmp_path / f"{i}.parquet"
        )
    files = [tmp_path / f"{i}.parquet" for i in range(pieces)]
    assert data.gather(files) == data.measure(table())
    kept = []
    for i, file in enumerate(files):
        kept.append(tmp_path / f"{i}.json" if i % 3 else file)
        data.save(data.measure(file), tmp_path / f"{i}.json")
    assert data.gather(kept) == data.measure(table())
    assert sum(data.measure(file) for file in reversed(files)).select(["a", "b"]) == data.measure(table())


def test_a_column_of_two_types_adds_up():
    whole = data.measure(pa.table({"x": pa.array([1, 2], pa.int8())}))
    others = data.measure(pa.table({"x": np.array([0.5], np.float32)}))
    assert (whole + others).columns == (Column("x", "float32"),)
    assert (whole + others).moments.mean[0] == 3.5 / 3
    decimal = data.measure(pa.table({"x": pa.array(["1.5"]).cast(pa.decimal128(5, 2))}))
    assert (decimal + others).columns == (Column("x", "float64"),)


def test_other_columns_do_not_add_up(tmp_path, kept):
    pq.write_table(table().rename_columns(["a", "c", "s"]), tmp_path / "c.parquet")
    with pytest.raises(DataError, match=r"'.*c.parquet' cannot be added to '.*s.json': .* on one side only: 'b', 'c'"):
        data.gather([kept, tmp_path / "c.parquet"])
    assert data.gather([kept, tmp_path / "c.parquet"], ["a"]).rows == 200


def test_ways_of_scaling_must_agree(tmp_path, kept):
    data.save(data.measure(table(), recipe=Recipe("minmax")), tmp_path / "m.json")
    with pytest.raises(DataError, match=r"stats files must say one way of scaling, these say .*; choose with --method"):
        data.gather([kept, tmp_path / "m.json"])
    assert data.gather([kept, tmp_path / "m.json"], recipe=Recipe(ddof=1)).recipe == Recipe(ddof=1)
    with pytest.raises(DataError, match="statistics must be for one way of scaling to be added"):
        data.load(kept) + data.load(tmp_path / "m.json")
    pq.write_table(table(), tmp_path / "t.parquet")
    assert data.gather([tmp_path / "t.parquet", tmp_path / "m.json"]).recipe == Recipe("minmax")


def test_leaving_columns_out_of_stats(kept, tmp_path):
    assert data.gather([kept], exclude=["b"]).names == ("a",)
    assert data.gather([kept], ["b"]) == data.measure(table(), ["b"])
    with pytest.raises(DataError, match="there is no column 'c'"):
        data.gather([kept], exclude=["c"])
    wider = table().append_column("id", pa.array(range(100)))
    pq.write_table(wider, tmp_path / "w.parquet")
    assert data.gather([kept, tmp_path / "w.parquet"], exclude=["id"]).names == ("a", "b")


def test_nothing_to_gather():
    with pytest.raises(DataError, match="at least one file is needed"):
        data.gather([])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Recipe("robust"), "method must be standard or minmax, got 'robust'"),
        (lambda: Recipe("minmax", feature_range=(1, 1)), "feature_range must be two finite numbers, the lower first"),
        (lambda: Recipe("minmax", feature_range=(0, float("inf"))), "feature_range must be two finite numbers"),
        (lambda: Recipe(ddof=-1), "ddof must be a finite number, 0 or more, got -1"),
        (lambda: Recipe(ddof=float("nan")), "ddof must be a finite number"),
    ],
)
def test_recipes_that_make_no_sense(make, message):
    with pytest.raises(DataError, match=message):
        make()


def changed(document, **fields):
    return {**document, **fields}


BAD = {
    "another version": (lambda d: changed(d, version=2), "reads gammabeta.stats version 1, got .*2"),
    "another format": (
        lambda d: changed(d, format="gammabeta.moments"),
        "format gammabeta.stats, got 'gammabeta.moments'",
    ),
    "a field missing": (lambda d: {k: v for k, v in d.items() if k != "rows"}, "missing or unknown: .*rows"),
    "a field more": (lambda d: changed(d, extra=1), "missing or unknown: .*extra"),
    "a list": (lambda d: [d], "format gammabeta.stats, got 'list'"),
    "rows negative": (lambda d: changed(d, rows=-1), "rows must hold integers"),
    "rows too few": (lambda d: changed(d, rows=99), "of 99 rows cannot count more values"),
    "no columns": (lambda d: changed(d, columns=[]), "columns must be a list of names and types"),
    "columns of text": (lambda d: changed(d, columns=["a", "b"]), "each column must have a name and a type"),
    "names that are numbers": (lambda d: changed(d, columns=[{"name": 1, "type": "x"}] * 2), "each column must have"),
    "a name twice": (
        lambda d: changed(d, columns=[{"name": "a", "type": "x"}] * 2),
        "each column's name must come once",
    ),
    "a column more": (lambda d: changed(d, columns=[*d["columns"], {"name": "z", "type": "x"}]), "of its 3 columns"),
    "scaling unknown": (lambda d: changed(d, scaling={"method": "robust"}), "scaling must say standard with ddof"),
    "scaling of text": (lambda d: changed(d, scaling="standard"), "scaling must say"),
    "scaling with more": (lambda d: changed(d, scaling={"method": "standard", "ddof": 0, "x": 1}), "scaling must say"),
    "a range of text": (
        lambda d: changed(d, scaling={"method": "minmax", "feature_range": ["0", "1"]}),
        "scaling must say",
    ),
    "a range that falls": (
        lambda d: changed(d, scaling={"method": "minmax", "feature_range": [1, 0]}),
        "scaling must say",
    ),
    "a huge ddof": (
        lambda d: changed(d, scaling={"method": "standard", "ddof": 1e999}),
        "numbers must be finite, got Infinity",
    ),
    "moments damaged": (lambda d: changed(d, moments=changed(d["moments"], sum=["1", "2"])), "sum must hold integers"),
    "moments of nothing": (lambda d: changed(d, moments=None), "gammabeta.moments"),
    "extrema of moments": (lambda d: changed(d, extrema=d["moments"]), "gammabeta.extrema"),
}


@pytest.mark.parametrize("case", BAD)
def test_documents_that_are_not_what_they_claim(kept, tmp_path, case):
    change, message = BAD[case]
    kept.write_text(json.dumps(change(json.loads(kept.read_text()))))
    for act in (lambda: data.load(kept), lambda: data.apply(kept, table(), tmp_path / "out.parquet")):
        with pytest.raises(StateError, match=f"is not a stats file to be used: .*{message}"):
            act()
    assert [path.name for path in tmp_path.iterdir()] == ["s.json"]


@pytest.mark.parametrize("content", [b"{", b"\xff\xfe", b"[" * 100_000, b'{"format": ' + b"9" * 5000 + b"}", b"null"])
def test_files_that_are_no_documents(kept, content):
    kept.write_bytes(content)
    with pytest.raises(StateError, match="is not a stats file to be used"):
        data.load(kept)


def test_infinities_in_a_document_are_refused(kept):
    document = json.loads(kept.read_text())
    document["moments"]["plus_infinity"] = [1, 0]
    kept.write_text(json.dumps(document))
    with pytest.raises(StateError, match="cannot hold infinities"):
        data.load(kept)


def test_stats_files_are_named_json(tmp_path, kept):
    with pytest.raises(FileError, match=r"a stats file's name must end in \.json, got"):
        data.save(data.load(kept), tmp_path / "s.csv")
    with pytest.raises(FileError, match=r"a stats file's name must end in \.json, got"):
        data.scale(table(), tmp_path / "out.csv", stats=tmp_path / "in.parquet")
    with pytest.raises(FileError, match="is named as statistics are"):
        data.measure(kept)
    with pytest.raises(FileError, match="no such file"):
        data.load(tmp_path / "none.json")
    assert [path.name for path in tmp_path.iterdir()] == ["s.json"]


def test_columns_are_found_by_name(tmp_path):
    fitted = data.measure(table())
    moved = table().select(["s", "b", "a"])
    data.apply(fitted, moved, tmp_path / "moved.parquet")
    data.apply(fitted, table(), tmp_path / "plain.parquet")
    moved_back = pq.read_table(tmp_path / "moved.parquet").select(["a", "b", "s"])
    assert moved_back.equals(pq.read_table(tmp_path / "plain.parquet"))


def test_more_columns_pass_through(tmp_path):
    wider = table().append_column("new", pa.array(range(100)))
    done = data.apply(data.measure(table()), wider, tmp_path / "out.parquet")
    assert [column.name for column in done.passed] == ["s", "new"]
    assert pq.read_table(tmp_path / "out.parquet")["new"].to_pylist() == list(range(100))


def test_fewer_columns_are_an_error(tmp_path):
    with pytest.raises(DataError, match="every column that has statistics must be in 'table', 'b' not; choose"):
        data.apply(data.measure(table()), table().select(["a"]), tmp_path / "out.parquet")
    assert not list(tmp_path.iterdir())


def test_a_column_that_changed_its_type(tmp_path):
    fitted = data.measure(table(), ["b"])
    for kind in (pa.float32(), pa.int8(), pa.float64()):
        data.apply(fitted, table().select(["b"]).cast(pa.schema([("b", kind)])), tmp_path / "out.parquet")
        expected = kind if pa.types.is_floating(kind) else pa.float64()
        assert pq.read_schema(tmp_path / "out.parquet").field("b").type == expected
    words = table().select(["b"]).cast(pa.schema([("b", pa.string())]))
    with pytest.raises(KindError, match=r"column 'b' must be of numbers as it was \(int64\), in 'table' it is string"):
        data.apply(fitted, words, tmp_path / "out2.parquet")
    assert [path.name for path in tmp_path.iterdir()] == ["out.parquet"]


def test_statistics_of_no_rows_scale_nothing(tmp_path):
    empty = data.measure(pa.table({"a": pa.array([], pa.float64())}))
    with pytest.raises(DataError, match="statistics of at least one row are needed"):
        data.apply(empty, table(), tmp_path / "out.parquet")


def test_statistics_equal_and_hash_by_value():
    assert data.measure(table()) == data.measure(table())
    assert data.measure(table()) != data.measure(table(seed=1))
    assert isinstance(hash(data.measure(table())), int)
    assert Statistics.__add__(data.measure(table()), 3) is NotImplemented
