"""Rows that count by a column of weights: exact, the same bits however the data are cut; and infinities left out."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.feather as feather
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gammabeta import Extrema, Moments, data
from gammabeta.cli import main
from gammabeta.errors import DataError, KindError, StateError

rng = np.random.default_rng(7)
ROWS = 3000
WEIGHTS = rng.integers(0, 5, ROWS) / 4
GAPS = rng.random(ROWS) < 0.1
X = rng.normal(1e6, 2, ROWS)
BIG = rng.integers(-(2**62), 2**62, ROWS)
SPOILT = np.where(WEIGHTS == 0, np.inf, X)
TABLE = pa.table(
    {
        "x": X,
        "gaps": pa.array(X, mask=GAPS),
        "big": pa.array(BIG, mask=GAPS),
        "spoilt": SPOILT,
        "w": WEIGHTS,
        "word": ["a"] * ROWS,
    }
)
OMIT = data.ReadOptions(infinite="omit")


def weighted(values, weights=WEIGHTS):
    return Moments.of(values, weights=weights)


@pytest.fixture(params=["memory", "parquet", "feather", "csv", "folder", "stream"])
def source(request, tmp_path):
    path = tmp_path / f"t.{request.param}"
    if request.param == "memory":
        return TABLE
    if request.param == "stream":
        return TABLE.to_reader(700)
    if request.param == "folder":
        path.mkdir()
        for i, start in enumerate((0, 1000, 1007)):
            pq.write_table(TABLE[start : (1000, 1007, ROWS)[i]], path / f"{i}.parquet")
    elif request.param == "parquet":
        pq.write_table(TABLE, path, row_group_size=700)
    elif request.param == "feather":
        feather.write_feather(TABLE, path, "uncompressed", chunksize=700)
    else:
        pyarrow.csv.write_csv(TABLE, path)
    return path


def test_weighted_statistics_are_those_of_moments(source):
    found = data.measure(source, weights="w")
    assert found.names == ("x", "gaps", "big", "spoilt") and found.rows == ROWS
    there, counted = ~GAPS, WEIGHTS > 0
    for i, values in enumerate((X, np.where(GAPS, np.nan, X), None, SPOILT)):
        if values is not None:
            assert found.moments[i] == weighted(values)
            assert found.extrema[i] == Extrema.of(values[counted])
    assert found.moments[2] == weighted(BIG[there], WEIGHTS[there])
    assert {column.name: column.skip_reason for column in found.left_out}["w"] == "the weights"
    assert data.Statistics.from_json(found.to_json()) == found


@given(
    st.lists(st.tuples(st.floats(-1e300, 1e300) | st.none(), st.floats(0, 1e300)), min_size=1, max_size=40), st.data()
)
@settings(max_examples=60, deadline=None)
def test_the_bits_do_not_depend_on_the_cut(rows, drawn):
    table = pa.table({"x": pa.array([x for x, _ in rows], pa.float64()), "w": [w for _, w in rows]})
    cut = drawn.draw(st.integers(0, len(rows)))
    whole, first, rest = (data.measure(part, weights="w") for part in (table, table[:cut], table[cut:]))
    assert first + rest == whole
    values = np.array([np.nan if x is None else x for x, _ in rows])
    assert whole.moments[0] == weighted(values, [w for _, w in rows])


def test_moments_takes_weights_too():
    assert data.moments(TABLE, ["x"], weights="w") == weighted(X)[None]
    assert data.moments(TABLE, ["x"], read=data.ReadOptions(weights="w")) == weighted(X)[None]


@pytest.mark.parametrize(("value", "shown"), [(-1.0, "-1.0"), (None, "none"), (np.inf, "inf"), (np.nan, "none")])
def test_weights_that_are_none_are_named_with_their_row(value, shown):
    table = pa.table({"x": [1.0, 2.0, 3.0], "w": [1.0, 0.0, value]})
    with pytest.raises(DataError, match=f"column 'w' of 'table' holds {shown} in row 3 "):
        data.measure(table, weights="w")


@pytest.mark.parametrize(
    ("weights", "error", "text"),
    [
        ("q", DataError, "there is no column 'q' of weights in 'table'; leave weights out"),
        ("word", KindError, "weights must be numbers, one in each row, 'word' in 'table' is string"),
        ("", DataError, "weights must be the name of a column, got ''"),
    ],
)
def test_weights_that_are_no_column_of_numbers(weights, error, text):
    with pytest.raises(error, match=text):
        data.measure(TABLE, weights=weights)


def test_weights_are_of_tables_and_not_of_lists():
    with pytest.raises(KindError, match="weights goes with tables, 'ndarray' is none"):
        data.measure(np.ones((2, 2)), weights="0")
    lists = pa.table({"l": [[1.0]], "w": [1.0]})
    with pytest.raises(KindError, match="numbers of lists have no weight each, column 'l' of 'table' is pooled"):
        data.measure(lists, weights="w", read=data.ReadOptions(flatten=["l"]))
    with pytest.raises(KindError, match="'w' in 'table' is the weights"):
        data.measure(TABLE, ["w"], weights="w")


def test_weighted_and_plain_statistics_do_not_add_up():
    with pytest.raises(DataError, match="weighted by the same column to be added, or both by none, got 'w' and None"):
        data.measure(TABLE, ["x"], weights="w") + data.measure(TABLE, ["x"])


def test_a_weighted_file_is_scaled_and_goes_back(tmp_path):
    chosen = TABLE.select(["x", "w"])
    data.scale(chosen, tmp_path / "out.parquet", weights="w", stats=tmp_path / "s.json")
    out = pq.read_table(tmp_path / "out.parquet")
    assert out["w"].equals(chosen["w"])
    m = weighted(X)
    # float64: one rounding of the deviation, one of the product
    np.testing.assert_allclose(out["x"].to_numpy(), (X - m.mean) / m.std, rtol=2**-50)
    data.apply(tmp_path / "s.json", chosen.select(["x"]), tmp_path / "other.parquet")
    assert pq.read_table(tmp_path / "other.parquet")["x"].equals(out["x"])
    extremes = data.Recipe("minmax")
    table = pa.table({"x": [0.0, 1.0, 100.0], "w": [1.0, 1.0, 0.0]})
    pq.write_table(table, tmp_path / "t.parquet")
    data.scale(tmp_path / "t.parquet", tmp_path / "unit.parquet", recipe=extremes, weights="w")  # not by the footer
    assert pq.read_table(tmp_path / "unit.parquet")["x"].to_pylist() == [0.0, 1.0, 100.0]


def test_a_weighted_document_is_checked():
    text = data.measure(TABLE, ["x"], weights="w").to_json()
    document = json.loads(text)
    document["extrema"]["max"] = document["extrema"]["min"]
    document["extrema"]["count"] = [1]
    with pytest.raises(StateError, match="weighted means must lie between the least and the greatest value"):
        data.Statistics.from_json(json.dumps(document))


def test_infinities_are_left_out_when_asked(source):
    found = data.measure(source, read=OMIT)
    kept = WEIGHTS > 0
    at = found.names.index("spoilt")
    assert found.moments[at] == Moments.of(X[kept]) and found.extrema[at] == Extrema.of(X[kept])
    assert found.infinite == tuple(int((~kept).sum()) if name == "spoilt" else 0 for name in found.names)
    assert data.Statistics.from_json(found.to_json()).infinite == found.infinite
    assert (found + found).infinite[at] == 2 * found.infinite[at]
    assert found.select(["spoilt"]).infinite == (found.infinite[at],) and found.select(["x"]).infinite == ()


def test_infinities_stay_infinite_when_scaled(tmp_path):
    table = pa.table({"x": [1.0, np.inf, 3.0, -np.inf]})
    data.scale(table, tmp_path / "out.parquet", read=OMIT, stats=tmp_path / "s.json")
    assert pq.read_table(tmp_path / "out.parquet")["x"].to_pylist() == [-1.0, np.inf, 1.0, -np.inf]
    data.invert(tmp_path / "s.json", tmp_path / "out.parquet", tmp_path / "back.parquet")
    assert pq.read_table(tmp_path / "back.parquet").equals(table)
    far = pa.table({"x": np.array([0.0, 1e-30, np.inf, 3e38], np.float32)})
    with pytest.raises(DataError, match=r"must stay within float32, but .* in row 4 "):
        data.apply(data.measure(far[:3], read=OMIT), far, tmp_path / "far.parquet")


def test_infinities_by_group_and_with_weights():
    found = data.measure_by(TABLE, "word", ["spoilt"], read=OMIT)
    assert found.moments.moments[0, 0] == Moments.of(X[WEIGHTS > 0])
    table = pa.table({"x": [1.0, np.inf, 3.0, np.inf], "w": [1.0, 1.0, 1.0, 0.0]})
    both = data.measure(table, weights="w", read=OMIT)
    assert both.infinite == (1,) and both.moments[0] == Moments.of([1.0, 3.0], weights=[1.0, 1.0])
    with pytest.raises(DataError, match="column 'x' of 'table' holds inf in row 2 "):
        data.measure(table, weights="w")


def test_options_of_infinities():
    with pytest.raises(DataError, match="infinite must be raise or omit, got 'drop'"):
        data.ReadOptions(infinite="drop")
    with pytest.raises(KindError, match="infinite goes with tables, 'ndarray' is none"):
        data.measure(np.ones((2, 2)), read=OMIT)


def test_the_command_line_keeps_both_in_its_ledger(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in").mkdir()
    for name, part in (("a", TABLE[:1000]), ("b", TABLE[1000:])):
        pq.write_table(part, f"in/{name}.parquet")
    for again in (False, True):
        assert main(["stats", "in", "--weights", "w", "-o", "s.json"]) == 0
        assert ("0 files read, 2 as before" if again else "2 files read") in capsys.readouterr().out
    assert data.load("s.json") == data.measure(TABLE, weights="w")
    for again in (False, True):
        assert main(["stats", "in", "--infinite", "omit", "-o", "s.json"]) == 0
        told = capsys.readouterr().out
        assert f"infinite, left out: spoilt ({(WEIGHTS == 0).sum()})" in told
        assert ("0 files read, 2 as before" if again else "2 files read") in told
    assert main(["stats", "in/a.parquet"]) == 2
    assert "or count infinities as missing: --infinite omit" in capsys.readouterr().err
    assert main(["stats", "in/a.parquet", "--infinite", "never"]) == 2
    assert "--infinite must be raise or omit, got 'never'" in capsys.readouterr().err
