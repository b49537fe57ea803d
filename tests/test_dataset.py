"""Data sets: which files they are made of, and their statistics, which are those of all rows together."""

from pathlib import Path

import pytest

from gammabeta.data.dataset import DataSet, data_set, is_data_set
from gammabeta.errors import DataError, FileError


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
    (folder / "d/broken.csv").symlink_to(folder / "none.csv")
    assert names(data_set("d")) == ["b.csv", "link/a.csv"]


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
