"""Data sets: which files they are made of, and their statistics, which are those of all rows together."""

import errno
import os
import threading
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.feather
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gammabeta import Moments, data
from gammabeta.data.core.file_stamp import FileStamp
from gammabeta.data.dataset.accumulator import StatisticsAccumulator
from gammabeta.data.dataset.discovery import DataSet, data_set, is_data_set
from gammabeta.data.dataset.file_statistics import FileStatistics
from gammabeta.data.passes import measure
from gammabeta.errors import DataError, FileError, KindError


@pytest.fixture(name="folder")
def _folder(tmp_path, monkeypatch):
    """Where the tests put their files, and are."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def touch(*names: str) -> None:
    for name in names:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text("x\n1\n")


def names(found: DataSet) -> list[str]:
    return [part.name for part in found.parts]


def test_a_folder(folder):
    touch(
        "d/b.csv", "d/a.csv", "d/in/side/c.csv.gz", "d/.hidden.csv", "d/_SUCCESS", "d/_temporary/0/x.csv", "d/READ.me"
    )
    touch("d/.git/x.csv", "d/stats.json", "d/stats.ledger")
    found = data_set("d")
    assert names(found) == ["a.csv", "b.csv", "in/side/c.csv.gz"]
    assert [part.path for part in found.parts] == [Path("d/a.csv"), Path("d/b.csv"), Path("d/in/side/c.csv.gz")]
    assert found.root == Path("d") and found.format == "csv" and found.where == "d"
    assert found.ignored == ("READ.me", "stats.json", "stats.ledger")
    assert data_set(folder / "d").parts[0].path == folder / "d/a.csv"
    assert data_set(found) is found


def test_a_folder_with_signs_in_its_name(folder):
    touch("d[1]*/a.csv", "d1/b.csv")
    assert names(data_set("d[1]*")) == ["a.csv"]


def test_patterns(folder):
    touch("d/a.csv", "d/b.parquet", "d/x/c.csv", "d/x/y/d.csv", "d/_x/e.csv", "d/x/_f.csv")
    assert names(data_set("d/*.csv")) == ["a.csv"]
    assert names(data_set("d/**/*.csv")) == ["a.csv", "x/c.csv", "x/y/d.csv"]
    assert names(data_set("d/?/*.csv")) == ["x/c.csv"]
    assert names(data_set("d/_x/*.csv")) == ["e.csv"]
    assert data_set("d/*/*.csv").root == Path("d")
    assert names(data_set("*/a.csv")) == ["d/a.csv"]
    assert data_set(str(folder / "d/*.csv")).root == folder / "d"


def test_a_file_with_signs_in_its_name_is_a_file(folder):
    touch("a[1].csv", "a1.csv")
    assert not is_data_set("a[1].csv")
    assert names(data_set("a[1].csv")) == ["a[1].csv"]
    assert names(data_set("a[1]*.csv")) == ["a1.csv"]


def test_lists(folder):
    touch("d/b.csv", "d/a.csv", "e/a.csv")
    found = data_set(["d/b.csv", Path("e/a.csv"), "d/a.csv"])
    assert names(found) == ["d/b.csv", "e/a.csv", "d/a.csv"]
    assert found.root == folder
    assert names(data_set(["d/b.csv"])) == ["b.csv"]


def test_what_stands_for_a_data_set(folder):
    touch("d/a.csv")
    assert all(map(is_data_set, ("d", Path("d"), "d/*", ["d/a.csv"], ("d/a.csv",), data_set("d"))))
    assert not any(map(is_data_set, ("d/a.csv", "none", Path("none.csv"), None, 3)))


def test_hive_partitions(folder):
    touch("d/year=2024/city=S%C3%A3o%20Paulo/a.csv", "d/year=__HIVE_DEFAULT_PARTITION__/city=x=y/a.csv", "d/=3/b.csv")
    assert [part.partitions for part in data_set("d").parts] == [
        {},
        {"year": "2024", "city": "São Paulo"},
        {"year": None, "city": "x=y"},
    ]


def test_links_are_followed(folder):
    touch("elsewhere/a.csv", "d/b.csv")
    (folder / "d/link").symlink_to(folder / "elsewhere", target_is_directory=True)
    assert names(data_set("d")) == ["b.csv", "link/a.csv"]


@pytest.mark.parametrize("where", ["d", "d/*.csv"])
def test_a_broken_link_is_a_file_that_is_missing(folder, where):
    """Left out without a word, it would make the statistics those of something else."""
    touch("d/a.csv")
    (folder / "d/b.csv").symlink_to(folder / "none.csv")
    with pytest.raises(FileError, match=r"cannot read 'd/b\.csv': no such file"):
        data.measure(where)
    done = data.update("d.json", where, skip_bad=True)
    assert list(done.bad) == ["b.csv"] and done.statistics.rows == 1


@pytest.mark.parametrize("where", ["d", "d/**/*.csv", "d/**"])
def test_links_are_not_followed_round_and_round(folder, where):
    touch("d/a.csv", "d/in/b.csv")
    (folder / "d/in/up").symlink_to(folder / "d", target_is_directory=True)
    (folder / "d/self").symlink_to(".", target_is_directory=True)
    assert names(data_set(where)) == ["a.csv", "in/b.csv"]
    assert data.measure(where).rows == 2


def test_two_links_to_one_folder_are_two_folders(folder):
    touch("elsewhere/in/a.csv")
    Path("d").mkdir()
    for name in ("x", "y"):
        (folder / "d" / name).symlink_to(folder / "elsewhere", target_is_directory=True)
    assert names(data_set("d")) == ["x/in/a.csv", "y/in/a.csv"]


def test_a_folder_that_cannot_be_read_is_named(folder, monkeypatch):
    touch("d/a.csv", "d/closed/b.csv")
    scandir = os.scandir

    def refusing(path):  # whoever runs as root may read everything
        if Path(path).name == "closed":
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)
    with pytest.raises(FileError, match="the folder 'd/closed' cannot be read: Permission denied; a data set without"):
        data_set("d")


@pytest.mark.parametrize(
    ("where", "kind", "told"),
    [
        ("void", FileError, "at least one data file is needed, there is none in 'void'; files that begin with . or _"),
        ("other", FileError, "there is none in 'other', among 2 files of others; data ends in .csv"),
        ("none/*.csv", FileError, "at least one data file is needed, there is none in 'none/*.csv'"),
        ("mixed", DataError, "must be of one format, 'mixed' has 'a.csv' (csv), 'b.parquet' (parquet); choose"),
        (["mixed/a.csv", "none.csv"], FileError, "cannot read 'none.csv': no such file"),
        (["mixed/a.csv", "mixed/b.parquet"], DataError, "must be of one format"),
        (["mixed/a.csv", "mixed/../mixed/a.csv"], DataError, "each file must be in a data set once"),
        (["mixed/a.csv", "mixed"], FileError, "a data file is needed, but 'mixed' is a folder"),
        (["other/s.json"], FileError, "'other/s.json' is named as statistics are"),
        ([], DataError, "at least one file is needed, got none"),
        ("none.csv", FileError, "cannot read 'none.csv': no such file"),
        ("other/a.txt", FileError, "a data file's name must end in .csv"),
    ],
)
def test_trouble(folder, where, kind, told):
    touch("mixed/a.csv", "mixed/b.parquet", "other/a.txt", "other/s.json", "void/.a.csv", "void/_b.csv")
    with pytest.raises(kind) as error:
        data_set(where)
    assert told in str(error.value)


def tables(count: int = 5, seed: int = 0) -> list[pa.Table]:
    """Tables of the same columns: numbers with gaps, integers, and words."""
    rng = np.random.default_rng(seed)
    made = []
    for i in range(count):
        rows = 40 + i
        x = pa.array(rng.normal(1e6, 1, rows), mask=rng.random(rows) < 0.1)
        made.append(pa.table({"x": x, "n": rng.integers(-9, 9, rows), "s": ["a"] * rows}))
    return made


def write(table: pa.Table, path: str) -> None:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    if path.endswith(".parquet"):
        pq.write_table(table, path)
    elif path.endswith(".arrow"):
        pa.feather.write_feather(table, path)
    else:
        with pa.output_stream(path, compression="detect") as stream:
            pa.csv.write_csv(table, stream)


@pytest.mark.parametrize("extension", ["parquet", "arrow", "csv", "csv.gz"])
def test_the_statistics_are_those_of_all_rows(folder, extension):
    made = tables()
    for i, table in enumerate(made):
        write(table, f"d/year={2020 + i}/part.{extension}")
    whole = data.measure(pa.concat_tables(made))
    assert data.measure("d") == data.measure(Path("d")) == whole
    assert data.measure(f"d/**/*.{extension}") == data.measure(f"d/*/part.{extension}") == whole
    files = [f"d/year={2020 + i}/part.{extension}" for i in range(5)]
    assert data.measure(files) == data.measure(data.data_set("d")) == sum(map(data.measure, files)) == whole
    assert data.moments("d") == whole.moments and data.extrema("d", ["n"]) == whole.extrema[[1]]
    assert data.gather(["d"]) == data.gather(["d/year=2020", "d/year=202[1-4]/*"]) == whole
    assert data.measure("d", exclude=["x"]).names == ("n",)


def test_arrays(folder):
    rng = np.random.default_rng(0)
    arrays = [rng.normal(size=(30 + i, 2, 3)).astype(np.float32) for i in range(3)]
    Path("d").mkdir()
    for i, array in enumerate(arrays):
        np.save(f"d/{i}.npy", array)
    found = data.measure("d")
    assert found.moments == Moments.of(np.concatenate(arrays).reshape(-1, 6))
    np.save("d/3.npy", np.zeros((2, 4)))
    with pytest.raises(DataError, match=r"'0,0' of '.*' is missing in '.*3.npy'|'0' of '.*3.npy' is missing"):
        data.measure("d")


def test_a_scan_goes_on_from_file_to_file(folder):
    made = tables()
    for i, table in enumerate(made):
        write(table, f"d/{i}.parquet")
    chunks = list(data.scan("d"))
    assert pa.Table.from_batches([chunk.batch for chunk in chunks]) == pa.concat_tables(made)
    assert [chunk.start for chunk in chunks] == [0, 40, 81, 123, 166]
    assert chunks[-1].done == sum(part.path.stat().st_size for part in data.data_set("d").parts)
    assert [chunk.batch.column_names for chunk in data.scan("d/*", ["n"])] == [["n"]] * 5
    write(tables(1)[0].drop(["n"]), "d/5.parquet")
    with pytest.raises(DataError, match=r"'n' of 'd.0.parquet' is missing in 'd.5.parquet'"):
        list(data.scan("d"))


def test_the_pandas_partitions_are_no_columns(folder):
    write(pa.table({"x": [1.0]}), "d/n=1/a.parquet")
    write(pa.table({"x": [2.0]}), "d/n=2/a.parquet")
    assert data.measure("d").names == ("x",)
    with pytest.raises(DataError, match="there is no column 'n'"):
        data.measure("d", ["n"])


KINDS = {
    "float16": (pa.float16(), np.float16),
    "int8": (pa.int8(), np.int8),
    "uint8": (pa.uint8(), np.uint8),
    "int64": (pa.int64(), np.int64),
    "float32": (pa.float32(), np.float32),
    "float64": (pa.float64(), np.float64),
}


@given(st.lists(st.sampled_from(sorted(KINDS)), min_size=1, max_size=6), st.randoms())
@settings(max_examples=30)
def test_numbers_of_any_type_add_up_in_any_order(kinds, random):
    entries = []
    for i, kind in enumerate(kinds):
        found = data.measure(pa.table({"x": pa.array(np.array([i, 3], KINDS[kind][1]), KINDS[kind][0])}))
        entries.append((i, Path(f"{i}.arrow"), FileStatistics(FileStamp(1, 1), found.columns, found)))
    totals = []
    for _ in range(2):
        total = StatisticsAccumulator("d", None, None)
        for place, path, entry in entries:
            assert total.covers(entry, path)
            total.add(place, path, entry)
        totals.append(total.statistics(None))
        random.shuffle(entries)
    assert totals[0] == totals[1]
    assert totals[0].moments == Moments.of([[v] for i in range(len(kinds)) for v in (i, 3)])
    if len(set(kinds)) == 1:
        assert totals[0].columns[0].type == kinds[0]


@pytest.mark.parametrize("waiting", [0, 1, 4, 100])
def test_files_add_up_however_many_wait(monkeypatch, waiting):
    monkeypatch.setattr("gammabeta.data.dataset.accumulator.WAITING", waiting)
    values = np.random.default_rng(0).normal(1e6, 1, (7, 10))
    total = StatisticsAccumulator("d", None, None)
    for i, x in enumerate(values):
        found = data.measure(pa.table({"x": x}))
        total.add(i, Path(f"{i}.arrow"), FileStatistics(FileStamp(1, 1), found.columns, found))
    found = total.statistics(None)
    assert found.rows == 70 and found == data.measure(pa.table({"x": values.reshape(-1)}))


def test_columns_in_another_order_and_without_a_value(folder):
    write(pa.table({"x": [1.0, 2.0], "n": [1, 2], "s": ["a", "b"]}), "d/a.parquet")
    write(pa.table({"s": ["a"], "n": pa.array([5], pa.int16()), "x": pa.nulls(1)}), "d/b.parquet")
    found = data.measure("d")
    assert [(column.name, column.type) for column in found.columns] == [("x", "float64"), ("n", "int64")]
    assert found.moments.count.tolist() == [2.0, 3.0] and found.rows == 3
    assert data.measure(["d/b.parquet", "d/a.parquet"]).select(found.names) == found
    Path("e").mkdir()
    Path("e/a.csv").write_text("x,s\n,\n,\n")
    Path("e/b.csv").write_text("x,s\n")
    Path("e/c.csv").write_text("x,s\n3,word\n")
    found = data.measure("e")
    assert (found.names, found.rows, found.moments.count.tolist()) == (("x",), 3, [1.0])
    assert data.measure("e", ["x"]) == found
    Path("e/c.csv").unlink()
    with pytest.raises(DataError, match="at least one numeric column is needed, 'e' has none to scale"):
        data.measure("e")


X = {"x": [1.0], "n": [1]}


@pytest.mark.parametrize(
    ("others", "options", "told"),
    [
        ([{"x": [1.0]}], {}, "'n' of 'd/0.parquet' is missing in 'd/1.parquet'; leave out the column, or the file"),
        ([{**X, "z": [1]}], {}, "'z' of 'd/1.parquet' is missing in 'd/0.parquet'"),
        ([X, {**X, "x": ["w"]}], {}, "'x' is of double in 'd/0.parquet' and of string in 'd/2.parquet'; convert one"),
        ([{**X, "x": [None]}, {**X, "x": ["w"]}], {}, "'x' is of double in 'd/0.parquet' and of string in"),
        ([{"x": [1.0]}], {"columns": ["n"]}, "there is no column 'n' in 'd/1.parquet'"),
        ([{**X, "x": ["w"]}], {"columns": ["x"]}, "columns to scale must be of numbers, 'x' in 'd/1.parquet' is not"),
        ([X], {"exclude": ["q"]}, "there is no column 'q' in 'd'; it has 'x', 'n'"),
        ([{**X, "x": [np.inf]}], {}, "column 'x' of 'd/1.parquet' holds inf in row 1"),
    ],
)
def test_files_that_disagree(folder, monkeypatch, others, options, told):
    monkeypatch.setattr("gammabeta.data.dataset.measure.AT_ONCE", 1)  # which file comes first is chance otherwise
    for i, columns in enumerate([X, *others]):
        write(pa.table(columns), f"d/{i}.parquet")
    with pytest.raises((DataError, KindError)) as error:
        data.measure("d", **options)
    assert told.replace("double", "float64") in str(error.value).replace("\\", "/")


def test_what_is_left_out_need_not_be_there(folder):
    write(pa.table(X), "d/0.parquet")
    write(pa.table({"x": [3.0]}), "d/1.parquet")
    write(pa.table({"x": [5.0], "n": ["word"]}), "d/2.parquet")
    assert data.measure("d", exclude=["n"]).moments.mean.tolist() == [3.0]
    assert data.measure("d", ["x"]).moments.mean.tolist() == [3.0]


def test_a_bad_file_is_named(folder):
    for i, table in enumerate(tables(20)):
        write(table, f"d/{i:02d}.parquet")
    Path("d/07.parquet").write_bytes(Path("d/07.parquet").read_bytes()[:500])
    with pytest.raises(FileError, match=r"'d.07.parquet' cannot be read as Parquet"):
        data.measure("d")
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("gammabeta-file")]


def test_a_file_that_changes_while_it_is_read(folder, monkeypatch):
    write(tables(1)[0], "d/a.parquet")

    def measured(source, *given):
        with source.path.open("ab") as file:
            file.write(b"more")
        return measure.measured(source, *given)

    monkeypatch.setattr("gammabeta.data.dataset.file_statistics.measured", measured)
    with pytest.raises(FileError, match=r"'d.a.parquet' was changed while it was read; run again when nothing writes"):
        data.measure("d")


def test_progress_reaches_its_end(folder):
    for i, table in enumerate(tables()):
        write(table, f"d/{i}.parquet")
    told = []
    data.measure("d", progress=lambda done, size: told.append((done, size)))
    size = sum(part.path.stat().st_size for part in data.data_set("d").parts)
    assert told[-1] == (size, size)
    assert [done for done, _ in told] == sorted(done for done, _ in told)
