"""Scaling by group: each row by the statistics of its own group's rows alone, to the bit."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.feather as feather
import pyarrow.parquet as pq
import pytest

from gammabeta import Affine, Extrema, Moments, data
from gammabeta.cli import main
from gammabeta.errors import DataError, KindError

rng = np.random.default_rng(13)
ROWS = 2000
STORE = np.array(["a", "b", "c", None], object)[rng.integers(0, 4, ROWS)]
DAY = rng.integers(1, 4, ROWS)
X = rng.normal(10, 3, ROWS) * (1 + DAY)
SOLD = rng.integers(0, 1000, ROWS).astype(np.int32)
GAPS = rng.random(ROWS) < 0.1
TABLE = pa.table(
    {
        "store": STORE.tolist(),
        "x": X.astype(np.float32),
        "sold": pa.array(SOLD, mask=GAPS),
        "day": DAY,
        "pair": pa.FixedSizeListArray.from_arrays(pa.array(np.repeat(X, 2)), 2),
    }
)
COLUMNS = ["x", "sold", "pair"]


@pytest.fixture(params=["memory", "parquet", "feather"])
def source(request, tmp_path):
    path = tmp_path / f"in.{request.param}"
    if request.param == "memory":
        return TABLE
    if request.param == "parquet":
        pq.write_table(TABLE, path, row_group_size=300)
    else:
        feather.write_feather(TABLE, path, "uncompressed", chunksize=300)
    return path


def expected(values, labels, scaled=Affine.standard, statistic=Moments):
    """Each group's own rows, mapped by the map of their own statistics."""
    out = np.full(len(values), np.nan, values.dtype if values.dtype.kind == "f" else np.float64)
    for label in set(labels):
        rows = np.array([one == label for one in labels]) & ~np.isnan(values.astype(np.float64))
        out[rows] = scaled(statistic.of(values[rows]))(values[rows])
    return out


@pytest.mark.parametrize("by", ["store", "day", ["store", "day"]])
def test_each_row_by_its_own_group(source, by, tmp_path):
    out = tmp_path / "out.parquet"
    done = data.scale(source, out, by=by, columns=COLUMNS, stats=tmp_path / "s.json")
    assert done.rows == ROWS and done.statistics.moments == data.measure(TABLE, COLUMNS).moments
    scaled = pq.read_table(out)
    labels = STORE.tolist() if by == "store" else DAY.tolist() if by == "day" else list(zip(STORE, DAY, strict=True))
    assert scaled["store"].equals(TABLE["store"]) and scaled["day"].equals(TABLE["day"])
    np.testing.assert_array_equal(scaled["x"].to_numpy(), expected(X.astype(np.float32), labels))
    sold = expected(np.where(GAPS, np.nan, SOLD), labels)
    np.testing.assert_array_equal(scaled["sold"].to_numpy(), sold)
    np.testing.assert_array_equal(np.array(scaled["pair"].to_pylist())[:, 1], expected(X, labels))
    data.apply(tmp_path / "s.json", TABLE[500:900], tmp_path / "part.parquet")
    assert pq.read_table(tmp_path / "part.parquet").equals(scaled[500:900])
    data.invert(tmp_path / "s.json", out, tmp_path / "back.parquet")
    back = pq.read_table(tmp_path / "back.parquet")
    # a group's values are below 2^7, its deviations below 2^4 of them: float32 rounds twice, float64 beside it
    np.testing.assert_allclose(back["x"].to_numpy(), X, rtol=0, atol=2**-16)


def test_minmax_by_group(tmp_path):
    recipe = data.Recipe("minmax", feature_range=(-1, 1))
    data.scale(TABLE, tmp_path / "out.parquet", by="store", columns=["x"], recipe=recipe, stats=tmp_path / "s.json")
    scaled = pq.read_table(tmp_path / "out.parquet")["x"].to_numpy()
    own = expected(X.astype(np.float32), STORE.tolist(), lambda e: Affine.minmax(e, (-1, 1)), Extrema)
    np.testing.assert_array_equal(scaled, own)
    kept = data.load_groups(tmp_path / "s.json")
    assert kept.recipe == recipe and data.GroupStatistics.from_json(kept.to_json()) == kept


def test_groups_of_several_columns():
    found = data.measure_by(TABLE, ["store", "day"], ["x"])
    assert found.by == data.Column("store,day", "key")
    for store, day in set(zip(STORE, DAY.tolist(), strict=True)):
        rows = (store == STORE) & (day == DAY)
        assert found.group((store, day)).moments[0] == Moments.of(X.astype(np.float32)[rows])
    parts = [data.measure_by(part, ["store", "day"], ["x"]) for part in (TABLE[:700], TABLE[700:])]
    assert parts[0] + parts[1] == found and found.total() == data.measure(TABLE, ["x"])
    with pytest.raises(DataError, match="there is none of"):
        found.group(("z", 1))
    with pytest.raises(DataError, match="by must name columns, each once, got"):
        data.measure_by(TABLE, ["store", "store"])
    odd = pa.table({'a,"b': ["x"], "c": [1], "y": [1.0]})
    assert data.measure_by(odd, ['a,"b', "c"]).by.name == '"a,""b",c'


def test_groups_that_are_new(tmp_path):
    known = data.measure_by(TABLE, "store", ["x"])
    new = pa.table({"store": ["a", "z"], "x": [1.0, 2.0]})
    with pytest.raises(DataError, match=r"row 2 of 'table' has 'z' in 'store', which has none; .*--unseen whole"):
        data.apply(known, new, tmp_path / "out.parquet")
    assert not (tmp_path / "out.parquet").exists()
    data.apply(known, new, tmp_path / "out.parquet", unseen="whole")
    scaled = pq.read_table(tmp_path / "out.parquet")["x"].to_pylist()
    assert scaled == [
        float(Affine.standard(known.moments["a"][0])(np.array([1.0]))[0]),
        float(Affine.standard(data.moments(TABLE, ["x"])[0])(np.array([2.0]))[0]),
    ]
    with pytest.raises(DataError, match="unseen goes with statistics by group"):
        data.apply(data.measure(TABLE, ["x"]), new, tmp_path / "out.parquet", unseen="whole")
    with pytest.raises(DataError, match="unseen must be raise or whole, got 'drop'"):
        data.apply(known, new, tmp_path / "out.parquet", unseen="drop")
    with pytest.raises(DataError, match="there is no column 'store' in 'table'"):
        data.apply(known, new.drop(["store"]), tmp_path / "out.parquet")


def test_what_is_refused(tmp_path):
    out = tmp_path / "out.parquet"
    with pytest.raises(DataError, match="statistics by group take no weights"):
        data.scale(TABLE, out, by="store", weights="day")
    with pytest.raises(KindError, match="groups are of a table's rows, 'ndarray' holds one array"):
        data.scale(np.ones((2, 2)), tmp_path / "out.npy", by="0")
    with pytest.raises(DataError, match="there is no column 'q' in 'table'"):
        data.scale(TABLE, out, by=["store", "q"])
    pq.write_table(TABLE, tmp_path / "in.parquet")
    with pytest.raises(DataError, match="one file at a time is scaled by group"):
        data.scale(tmp_path, tmp_path / "o", by="store")
    spoilt = pa.table({"store": ["a", "b"], "x": [1.0, np.inf]})
    with pytest.raises(DataError, match="column 'x' of 'table' holds inf in row 2 "):
        data.scale(spoilt, out, by="store")


def test_csv_keeps_its_cells_and_its_options(tmp_path):
    (tmp_path / "in.csv").write_text("k;x;w\na;1,5;u\nb;7;v\na;2,5;\nb;;-\n")
    how = data.ReadOptions(decimal=",")
    data.scale(tmp_path / "in.csv", tmp_path / "out.csv", by="k", read=how, stats=tmp_path / "s.json")
    assert (tmp_path / "out.csv").read_text() == "k;x;w\na;-1;u\nb;0;v\na;1;\nb;;-\n"
    data.invert(tmp_path / "s.json", tmp_path / "out.csv", tmp_path / "back.csv")
    assert (tmp_path / "back.csv").read_text() == (tmp_path / "in.csv").read_text()


def test_the_command_line(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    pq.write_table(TABLE, "in.parquet")
    only = ["--columns", "x,sold"]
    assert main(["scale", "in.parquet", "--by", "store,day", *only, "-o", "out.parquet", "--stats", "s.json"]) == 0
    data.scale(TABLE, "same.parquet", by=["store", "day"], columns=["x", "sold"])
    assert pq.read_table("out.parquet").equals(pq.read_table("same.parquet"))
    assert main(["apply", "s.json", "in.parquet", "-o", "again.parquet", "--unseen", "whole"]) == 0
    assert pq.read_table("again.parquet").equals(pq.read_table("out.parquet"))
    capsys.readouterr()
    assert main(["stats", "in.parquet", "--by", "store,day", *only, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["groups"][0]["label"] == ["a", 1] and len(told["groups"]) == 12
    assert main(["stats", "in.parquet", "--by", "store,day", *only]) == 0
    assert "(none), 3" in capsys.readouterr().out
    for arguments, text in [
        (["scale", "in.parquet", "--by", "store"], "--by goes with -o OUT"),
        (["scale", "in.parquet", "--by", "q", "-o", "o.parquet"], "there is no column 'q'"),
        (["stats", "in.parquet", "--by", "store", "--weights", "day"], "statistics by group take no weights"),
        (["stats", "in.parquet", "--by", "store", "--ddof", "1"], "go with scale --by, not with stats --by"),
    ]:
        assert main(arguments) == 2
        assert text in capsys.readouterr().err


@pytest.mark.parametrize("method", ["standard", "minmax"])
def test_values_of_which_there_are_no_statistics_are_refused(method, tmp_path):
    recipe, out, stats = data.Recipe(method), tmp_path / "out.parquet", tmp_path / "stats.json"
    fitted = pa.table({"g": ["a", "b"], "x": [1.0, None], "y": pa.nulls(2, pa.float64())})
    later = pa.table({"g": ["a", "b"], "x": [1.0, 2.0], "y": pa.nulls(2, pa.float64())})
    data.scale(fitted, out, by="g", recipe=recipe, stats=stats)
    with pytest.raises(DataError, match=r"those of column 'x' are of none, and 'table' has 2.0 in row 2"):
        data.apply(stats, later, out)
    data.scale(fitted, out, recipe=recipe, stats=stats)
    with pytest.raises(DataError, match=r"those of column 'y' are of none, and 'table' has 5.0 in row 1"):
        data.apply(stats, later.set_column(2, "y", pa.array([5.0, None])), out)
    data.apply(stats, later, out)  # what has no value stays without
    weighted = pa.table({"x": [1.0, 2.0], "w": [0, 0]})
    with pytest.raises(DataError, match="groups and weights in which it counts"):
        data.scale(weighted, out, weights="w", recipe=recipe)
