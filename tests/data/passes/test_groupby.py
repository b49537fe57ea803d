"""Statistics of a file's groups: those of each group's rows alone, from any format, and kept in files."""

import datetime
import json
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv as arrow_csv
import pyarrow.feather as feather
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from gammabeta import DataError, Extrema, FileError, KindError, Moments, StateError, data
from gammabeta.cli import main
from gammabeta.cli.commands import app
from gammabeta.data.passes import groupby as module

N = 1000
RNG = np.random.default_rng(0)
KIND = [None if i % 11 == 0 else "abc"[i % 3] for i in range(N)]
PART = pa.array(np.arange(N) % 5, pa.int16())


def table(part: Any = PART) -> pa.Table:
    x = RNG.standard_normal(N)
    key = [None if i % 7 == 0 else 2**53 + 1 + i for i in range(N)]
    return pa.table({"kind": KIND, "x": x, "key": key, "part": part})


def check(found: data.GroupStatistics, given: pa.Table, by: str) -> None:
    """What was found is what `measure` finds of each group's rows."""
    labels = given[by].to_pylist()
    assert set(found.labels.tolist()) == set(labels) and found.rows == given.num_rows
    for label in set(labels):
        rows = pa.array([value == label for value in labels])
        own = data.measure(given.filter(rows), list(found.names))
        assert found.group(label) == own


@pytest.mark.parametrize("form", ["parquet", "feather", "arrow", "table"])
def test_every_format(tmp_path: Path, form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "HELD", 3000)
    given = table()
    source: Any = tmp_path / f"in.{form}"
    if form == "parquet":
        pq.write_table(given, source, row_group_size=90)
    elif form == "feather":
        feather.write_feather(given, source, chunksize=90)
    elif form == "arrow":
        with pa.OSFile(str(source), "wb") as file, pa.ipc.new_file(file, given.schema) as writer:
            writer.write_table(given, max_chunksize=90)
    else:
        source = given
    for by in ("kind", "part"):
        found = data.measure_by(source, by)
        assert found.names == tuple(name for name in ("x", "key", "part") if name != by)
        check(found, given, by)


def test_csv(tmp_path: Path) -> None:
    given = table(part=np.arange(N) % 5).select(["kind", "x", "part"])
    arrow_csv.write_csv(given, tmp_path / "in.csv")
    check(data.measure_by(tmp_path / "in.csv", "kind"), given.set_column(0, "kind", [[k or "" for k in KIND]]), "kind")


def test_a_csv_column_that_turns_into_words_begins_anew(tmp_path: Path) -> None:
    lines = ["g,x"] + [f"{i % 3},{i}" for i in range(300_000)] + ["z,1"]
    (tmp_path / "in.csv").write_text("\n".join(lines) + "\n")
    found = data.measure_by(tmp_path / "in.csv", "g")
    assert found.labels.tolist() == ["0", "1", "2", "z"] and found.rows == 300_001


day = datetime.date(2024, 5, 1)
COLUMNS: dict[str, pa.Array] = {
    "text": pa.array(["b", None, "a", "b"]),
    "dictionary": pa.array(["b", None, "a", "b"]).dictionary_encode(),
    "integers": pa.array([3, None, 1, 3]),
    "whole": pa.array([3, 2, 1, 3], pa.uint8()),
    "flags": pa.array([True, None, False, True]),
    "floats": pa.array([1.5, 2.5, 0.5, 1.5]),
    "dates": pa.array([day, None, datetime.date(2023, 1, 1), day]),
    "decimals": pa.array([Decimal("1.50"), None, Decimal("0.25"), Decimal("1.50")]),
    "nothing": pa.nulls(4),
}


@pytest.mark.parametrize("name", COLUMNS)
def test_labels_of_every_type(name: str) -> None:
    given = pa.table({"g": COLUMNS[name], "x": [1.0, 2.0, 4.0, None]})
    found = data.measure_by(given, "g")
    check(found, given, "g")
    halves = data.measure_by(given[2:], "g") + data.measure_by(given[:2], "g")
    assert halves == found or name == "nothing"
    if name != "decimals":
        assert data.GroupStatistics.from_json(found.to_json()) == found


def test_timestamps_with_a_zone() -> None:
    times = pa.array([0, 10**15, None], pa.timestamp("us", "Europe/Berlin"))
    found = data.measure_by(pa.table({"t": times, "x": [1.0, 2.0, 4.0]}), "t")
    assert found.labels.dtype == np.dtype("datetime64[us]") and np.isnat(found.labels[-1])
    assert data.GroupStatistics.from_json(found.to_json()).moments == found.moments


def test_no_rows() -> None:
    found = data.measure_by(table()[:0], "kind")
    assert len(found.labels) == 0 and found.rows == 0
    more = data.measure_by(table(), "kind")
    assert (found + more).moments == more.moments


def test_totals_are_those_of_the_file() -> None:
    given = table()
    found, whole = data.measure_by(given, "kind"), data.measure(given, ["x", "key", "part"])
    assert found.moments.total() == whole.moments and found.extrema.total() == whole.extrema


def test_kept_in_files_and_added_up(tmp_path: Path) -> None:
    given = table()
    for i, part in enumerate((given[:300], given[300:])):
        pq.write_table(part, tmp_path / f"{i}.parquet")
        data.save_groups(data.measure_by(part, "kind"), tmp_path / f"{i}.json")
    whole = data.measure_by(given, "kind")
    assert data.load_groups(tmp_path / "0.json").group("a") == data.measure_by(given[:300], "kind").group("a")
    assert data.gather_groups([tmp_path / "0.json", tmp_path / "1.parquet"], None) == whole
    assert data.gather_groups([tmp_path / "0.parquet", tmp_path / "1.json"], "kind") == whole


def test_what_is_wrong_is_said(tmp_path: Path) -> None:
    given = table()
    with pytest.raises(DataError, match=r"there is no column 'size' in 'table'; it has 'kind', 'x', 'key', 'part'"):
        data.measure_by(given, "size")
    with pytest.raises(DataError, match=r"column 'x' of 'table' holds inf in row 2"):
        data.measure_by(pa.table({"g": [1, 2], "x": [1.0, np.inf]}), "g")
    with pytest.raises(KindError, match=r"groups must be by a column of text, numbers or dates, 'g' is list"):
        data.measure_by(pa.table({"g": [[1], [2]], "x": [1.0, 2.0]}), "g")
    with pytest.raises(DataError, match="at least one numeric column is needed"):
        data.measure_by(given.select(["kind", "x"]), "x")
    with pytest.raises(DataError, match=r"by the same column and of the same columns to be added, got 'kind', 'x'"):
        data.measure_by(given.select(["kind", "x"]), "kind") + data.measure_by(given.select(["part", "x"]), "part")
    with pytest.raises(DataError, match="there is none of 'z'"):
        data.measure_by(given, "kind").group("z")
    with pytest.raises(FileError, match=r"must end in \.json"):
        data.save_groups(data.measure_by(given, "kind"), tmp_path / "s.csv")
    with pytest.raises(FileError):
        data.load_groups(tmp_path / "none.json")
    with pytest.raises(DataError, match="by must name the column"):
        data.gather_groups([tmp_path / "x.csv"], None)


def test_a_damaged_document_is_refused() -> None:
    document = json.loads(data.measure_by(table(), "kind").to_json())
    other = json.loads(Extrema.of([[1.0]] * 3, groups=["a", "b", "c"]).to_json())
    for change in ({"extrema": other}, {"columns": document["columns"][:1]}, {"by": {"name": 1, "type": ""}}):
        with pytest.raises(StateError, match=r"must (?:hold|have)"):
            data.GroupStatistics.from_json(json.dumps(document | change))
    given = json.loads(data.measure(pa.table({"x": [1.0, 2.0]})).to_json())
    given["moments"] = json.loads(Moments.of([[1.0], [np.nan]], nan="propagate").to_json())
    with pytest.raises(StateError, match="cannot count NaN"):
        data.Statistics.from_json(json.dumps(given))


def run(*arguments: Any) -> Any:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_the_command(tmp_path: Path) -> None:
    given = table()
    pq.write_table(given, tmp_path / "in.parquet")
    shown = run("stats", tmp_path / "in.parquet", "--by", "kind", "--columns", "x", "-o", tmp_path / "s.json")
    assert shown.exit_code == 0 and "1,000 rows, 4 groups by kind, 1 column" in shown.stdout, shown.output
    assert "(none)" in shown.stdout and "kept in" in shown.stdout
    again = run("stats", tmp_path / "s.json", "--json")
    told = json.loads(again.stdout)
    assert [group["label"] for group in told["groups"]] == ["a", "b", "c", None]
    own = data.measure_by(given, "kind").group("b")
    (column,) = told["groups"][1]["columns"]
    assert (column["mean"], column["count"]) == (own.moments.mean[0], own.moments.count[0])
    dates = run("stats", tmp_path / "in.parquet", "--by", "part", "--json")
    assert [group["label"] for group in json.loads(dates.stdout)["groups"]] == [0, 1, 2, 3, 4]


def test_many_groups_are_cut_short_on_the_terminal(tmp_path: Path) -> None:
    times = pa.array(np.arange(100), pa.timestamp("s"))
    pq.write_table(pa.table({"t": times, "x": np.arange(100.0)}), tmp_path / "in.parquet")
    shown = run("stats", tmp_path / "in.parquet", "--by", "t")
    assert "and 60 more groups" in shown.stdout and "1970-01-01T00:00:39" in shown.stdout
    assert json.loads(run("stats", tmp_path / "in.parquet", "--by", "t", "--json").stdout)["groups"][1]["label"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--by", "nope"], "there is no column 'nope'"),
        (["--by", "kind", "--ddof", "1"], "go with scale --by, not with stats --by"),
        (["--by", "kind", "-o", "out.csv"], "must end in .json"),
    ],
)
def test_the_command_says_what_is_wrong(tmp_path: Path, capfd: Any, options: list[str], message: str) -> None:
    pq.write_table(table(), tmp_path / "in.parquet")
    assert main(["stats", str(tmp_path / "in.parquet"), *options]) == 2
    assert message in capfd.readouterr().err


def test_a_data_set_and_its_partitions(tmp_path: Path) -> None:
    """By a column of every file, and by what the folders' names say."""
    table = pa.table({"kind": ["a", "b", "a", None], "x": [1.0, 2.0, 3.0, 4.0], "year": ["2020", "2021", "2021", None]})
    pq.write_to_dataset(table, tmp_path / "set", partition_cols=["year"])
    plain = table.select(["kind", "x"])
    assert data.gather_groups([tmp_path / "set"], "kind") == data.measure_by(plain, "kind")
    found = data.gather_groups([tmp_path / "set"], "year", ["x"])
    assert found == data.measure_by(table, "year", ["x"]) and found.labels.tolist() == ["2020", "2021", None]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (pa.array([1, 2]), pa.array([1.0, None])),  # as pandas makes of integers that have gaps
        (pa.array([1, 2], pa.int8()), pa.array([Decimal("1.00"), Decimal("2.5")])),
        (pa.array([0.5, -0.0]), pa.array([Decimal("0.50"), Decimal("0.0")])),
        (
            pa.array([datetime.datetime(2024, 1, 1)], pa.timestamp("ms")),
            pa.array([datetime.datetime(2024, 1, 1)], pa.timestamp("ns")),
        ),
        (pa.array([datetime.datetime(2024, 1, 1, 5)], pa.timestamp("s")), pa.array([datetime.datetime(2024, 1, 1, 5)])),
        (pa.array([datetime.date(2024, 1, 1)]), pa.array([datetime.date(2024, 1, 1)], pa.date64())),
        (pa.array([5000], pa.duration("ms")), pa.array([5], pa.duration("s"))),
    ],
)
def test_equal_labels_of_other_types_are_one_group_in_a_key_of_several(one: pa.Array, other: pa.Array) -> None:
    tables = [pa.table({"k": k, "j": ["z"] * len(k), "x": np.ones(len(k))}) for k in (one, other)]
    first, second = (data.measure_by(table, ["k", "j"], ["x"]) for table in tables)
    together = first + second
    assert together.group((one[0].as_py(), "z")).rows == 2
    assert len(together.labels) == len(set(one.to_pylist()) | set(other.to_pylist()))


def test_python_dates_find_their_groups() -> None:
    zoned = pa.array([datetime.datetime(2024, 5, 1, 12, tzinfo=ZoneInfo("Europe/Paris")), None])
    days = pa.array([datetime.date(2024, 1, 1), datetime.date(2024, 1, 2)], pa.date64())
    spans = pa.array([datetime.timedelta(milliseconds=1500), datetime.timedelta(0)])
    for column in (zoned, days, spans):
        table = pa.table({"k": column, "j": [1, 1], "x": [5.0, 7.0]})
        for by, label in (("k", column[0].as_py()), (["k", "j"], (column[0].as_py(), 1))):
            assert data.measure_by(table, by, ["x"]).group(label).moments.mean == 5.0
    stamp = pd.Timestamp("2024-05-01 10:00:00.000000001")
    table = pa.table({"k": pa.array([stamp], pa.timestamp("ns")), "j": [1], "x": [5.0]})
    assert data.measure_by(table, ["k", "j"], ["x"]).group((stamp, 1)).rows == 1


def test_labels_for_which_arrow_has_no_dictionary() -> None:
    ids = pa.ExtensionArray.from_storage(pa.uuid(), pa.array([b"a" * 16, b"b" * 16, b"a" * 16], pa.binary(16)))
    table = pa.table({"id": ids, "j": [1, 1, 1], "x": [1.0, 2.0, 3.0]})
    assert data.measure_by(table, "id", ["x"]).group(ids[0].as_py()).moments.mean == 2.0
    assert data.measure_by(table, ["id", "j"], ["x"]).group((ids[0].as_py(), 1)).moments.mean == 2.0


def test_a_column_named_like_a_key_of_several_is_another() -> None:
    table = pa.table({"a": ["u"], "b": ["v"], "a,b": ["w"], "x": [1.0]})
    with pytest.raises(DataError, match="by the same column"):
        data.measure_by(table, ["a", "b"], ["x"]) + data.measure_by(table, "a,b", ["x"])
