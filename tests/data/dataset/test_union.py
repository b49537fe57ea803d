"""Schemas that grow: a column that some files of a data set lack counts as missing there, where that is asked for."""

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.feather
import pyarrow.parquet as pq
import pytest

from gammabeta import Extrema, Moments, data
from gammabeta.cli import main
from gammabeta.errors import DataError

rng = np.random.default_rng(11)
X, Y = rng.normal(size=(2, 300))
UNION = data.ReadOptions(union=True)
OLD, NEW = pa.table({"x": X[:100], "s": ["a"] * 100}), pa.table({"y": Y[100:], "x": X[100:], "s": ["b"] * 200})


@pytest.fixture(params=["parquet", "csv", "arrow"])
def form(request, tmp_path, monkeypatch):
    """A folder of two files, of which the first lacks a column."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "d").mkdir()
    for name, table in (("1", OLD), ("2", NEW)):
        write(table, f"d/{name}.{request.param}")
    return request.param


def write(table, path):
    if path.endswith("csv"):
        pyarrow.csv.write_csv(table, path)
    elif path.endswith("arrow"):
        pa.feather.write_feather(table, path)
    else:
        pq.write_table(table, path)


def read(path):
    if path.endswith("csv"):
        return pyarrow.csv.read_csv(path)
    return pa.feather.read_table(path) if path.endswith("arrow") else pq.read_table(path)


def test_without_it_the_error_names_all_there_is_to_know(form, capsys):
    with pytest.raises(
        DataError,
        match=rf"'y' of 'd/2.{form}' is missing in 'd/1.{form}'; leave out .* or count what is not there .*--union",
    ):
        data.measure("d")
    with pytest.raises(DataError, match=rf"no column 'y' in 'd/1.{form}'.* count it as missing here: --union"):
        data.measure("d", ["y"])
    assert main(["stats", "d"]) == 2
    assert "count what is not there as missing: --union" in capsys.readouterr().err


def test_what_is_not_there_is_missing(form):
    found = data.measure("d", read=UNION)
    assert set(found.names) == {"x", "y"} and found.rows == 300
    at = [found.names.index(name) for name in "xy"]
    assert found.moments[at] == Moments.stack([Moments.of(X), Moments.of(Y[100:])])
    assert found.extrema[at] == Extrema.stack([Extrema.of(X), Extrema.of(Y[100:])])
    assert data.measure("d", ["y"], read=UNION).moments[0] == Moments.of(Y[100:])
    assert data.measure("d", exclude=["y"], read=UNION).names == ("x",)
    with pytest.raises(DataError, match="there is no column 'z' in 'd'"):
        data.measure("d", ["x", "z"], read=UNION)
    assert sum(len(chunk["x"]) for chunk in data.scan("d", ["x", "y"], read=UNION)) == 300


def test_a_file_that_lacks_a_column_is_scaled_without_it(form, capsys):
    assert main(["scale", "d", "-o", "out", "--union", "--stats", "s.json"]) == 0
    old, new = read(f"out/1.{form}"), read(f"out/2.{form}")
    assert old.schema.names == ["x", "s"] and new.schema.names == ["y", "x", "s"]
    every = np.concatenate([old["x"].to_numpy(), new["x"].to_numpy()])
    assert abs(every.mean()) < 2**-45 and abs(every.std() - 1) < 2**-45 and abs(new["y"].to_numpy().mean()) < 2**-45
    assert main(["scale", "d", "-o", "out", "--union", "--stats", "s.json"]) == 0
    assert "2 files of an earlier run as before" in capsys.readouterr().out
    assert main(["invert", "s.json", "out", "-o", "back"]) == 0
    np.testing.assert_allclose(read(f"back/1.{form}")["x"].to_numpy(), X[:100], rtol=0, atol=2**-50)
    assert main(["apply", "s.json", f"d/1.{form}", "-o", f"one.{form}"]) == 0


def test_minmax_by_footers(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "d").mkdir()
    write(OLD, "d/1.parquet")
    write(NEW, "d/2.parquet")
    data.scale("d", "out", recipe=data.Recipe("minmax"), read=UNION)
    assert read("out/2.parquet")["y"].to_numpy().min() == 0 and read("out/1.parquet").schema.names == ["x", "s"]


def test_the_ledger_goes_on_as_the_schema_grows(form):
    data.update("s.json", "d", read=UNION)
    write(pa.table({"x": X[:5], "z": Y[:5]}), f"d/3.{form}")
    done = data.update("s.json", "d", read=UNION)
    assert done.read == (f"3.{form}",) and done.unchanged == 2
    assert done.statistics == data.measure("d", read=UNION)
    assert dict(zip(done.statistics.names, done.statistics.moments.count, strict=True)) == {"x": 305, "y": 200, "z": 5}


def test_words_in_one_file_and_numbers_in_another_are_refused_still(form):
    write(pa.table({"x": ["a", "b"]}), f"d/3.{form}")
    with pytest.raises(DataError, match="a column must be of numbers in every file or in none"):
        data.measure("d", read=UNION)
    with pytest.raises(DataError, match="union must be True or False, got 1"):
        data.ReadOptions(union=1)
