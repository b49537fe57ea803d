"""Iceberg tables: the files of a state, and a refusal of states whose files are not their rows."""

import json
import sys
from pathlib import Path

import pyarrow as pa
import pytest

from gammabeta import Moments, data
from gammabeta.errors import DataError, FileError, KindError

pytest.importorskip("pyiceberg", reason="pyiceberg reads Iceberg's metadata")
catalogs = pytest.importorskip(
    "pyiceberg.catalog.sql", reason="the catalog of these tests is pyiceberg's with SQLAlchemy"
)


@pytest.fixture
def table(tmp_path):
    """A table of two appends, of which a part was rewritten when a row was deleted."""
    catalog = catalogs.SqlCatalog("c", uri=f"sqlite:///{tmp_path}/catalog.db", warehouse=f"file://{tmp_path}/lake")
    catalog.create_namespace("shop")
    found = catalog.create_table(
        "shop.sales", pa.schema([("x", pa.float64()), ("n", pa.int64()), ("name", pa.string())])
    )
    found.append(pa.table({"x": [1.0, 2.0, None], "n": [1, 2, 3], "name": list("abc")}))
    found.append(pa.table({"x": [4.0], "n": [5], "name": ["d"]}))
    found.delete("n == 2")  # writes the other rows of that file anew
    yield found
    catalog.destroy_tables()
    catalog.close()


def folder_of(table):
    return Path(table.location().removeprefix("file://"))


def state_of(table):
    return Path(table.metadata_location.removeprefix("file://"))


def hint(table):
    (folder_of(table) / "metadata" / "version-hint.text").write_text(state_of(table).name)
    return folder_of(table)


def test_deleted_files_do_not_count(table):
    rows = table.scan().to_arrow()
    wanted = data.moments(rows)
    assert wanted.count.tolist() == [2, 3]
    assert len(list(folder_of(table).rglob("*.parquet"))) == 3
    for place in (table, state_of(table), str(state_of(table)), hint(table)):
        assert data.moments(place) == wanted
        assert data.extrema(place).max.tolist() == [4, 5]
        assert data.measure(place).names == ("x", "n")
    earlier = sorted((folder_of(table) / "metadata").glob("00001-*.metadata.json"))
    assert data.moments(earlier[0]) == Moments.of([[1.0, 1], [2, 2], [float("nan"), 3]])


def test_the_ledger_and_scaling_follow_the_table(table, tmp_path):
    stats = tmp_path / "stats.json"
    data.update(stats, table)
    table.append(pa.table({"x": [9.0], "n": [9], "name": ["e"]}))
    found = data.update(stats, table)
    assert found.statistics.moments == data.moments(table.scan().to_arrow())
    assert (len(found.read), found.unchanged) == (1, 2)
    data.scale(hint(table), tmp_path / "scaled")
    assert len(list((tmp_path / "scaled").rglob("*.parquet"))) == 3


def test_the_state_must_be_known(table):
    with pytest.raises(DataError, match=r"is an Iceberg table, of which its catalog knows it; pass the table"):
        data.moments(folder_of(table))
    with pytest.raises(DataError, match=r"is an Iceberg table, whose deleted files stay there; pass the table"):
        data.moments(folder_of(table) / "data" / "*.parquet")
    (folder_of(table) / "metadata" / "version-hint.text").write_text("../../v1")
    with pytest.raises(DataError, match=r"version-hint.text must name a file beside it"):
        data.moments(folder_of(table))
    (folder_of(table) / "metadata" / "version-hint.text").write_text("7")
    with pytest.raises(FileError, match=r"v7.metadata.json' cannot be read as Iceberg's metadata"):
        data.moments(folder_of(table))


def test_columns_that_are_other_columns_in_some_files(table):
    with table.update_schema() as change:
        change.rename_column("x", "y")
    with pytest.raises(KindError, match=r"has columns that were renamed, added or dropped; pass what pyiceberg gives"):
        data.moments(table)
    assert data.measure(table.scan().to_arrow_batch_reader()).names == ("y", "n")


def test_what_a_file_from_anybody_may_say(table):
    """No class that it names is loaded, and nothing outside the folder is opened."""
    state = json.loads(state_of(table).read_text())
    other = state_of(table).with_name("00009-other.metadata.json")

    def changed(**changes):
        other.write_text(json.dumps(state | changes))
        return other

    place = changed(properties={"py-io-impl": "antigravity.FileIO"})
    assert data.moments(place) == data.moments(table)
    assert "antigravity" not in sys.modules
    for address, message in [
        ("file:///etc/passwd", "must be in its folder"),
        (f"file://{folder_of(table)}/../x.avro", "must be in its folder"),
        ("http://169.254.169.254/x.avro", "must be on this machine"),
        ("s3://bucket/x.avro", "must be on this machine"),
    ]:
        snapshots = [snapshot | {"manifest-list": address} for snapshot in state["snapshots"]]
        with pytest.raises(DataError, match=message):
            data.moments(changed(snapshots=snapshots))
    for text in ("no JSON", "[]", "{}", json.dumps(state | {"format-version": 9})):
        other.write_text(text)
        with pytest.raises(FileError, match="cannot be read as Iceberg's metadata"):
            data.moments(other)
    missing = [snapshot | {"manifest-list": f"{folder_of(table)}/none.avro"} for snapshot in state["snapshots"]]
    with pytest.raises(FileError, match="cannot be read as an Iceberg table"):
        data.moments(changed(snapshots=missing))
    with pytest.raises(FileError, match=r"at least one data file is needed, the Iceberg table .* has none now"):
        data.moments(changed(**{"snapshots": [], "current-snapshot-id": None, "refs": {}, "snapshot-log": []}))


def test_rows_deleted_by_other_files(table, monkeypatch):
    from pyiceberg import manifest

    monkeypatch.setattr(manifest.ManifestFile, "content", manifest.ManifestContent.DELETES)
    with pytest.raises(KindError, match="has rows that are deleted within its files; pass what pyiceberg gives"):
        data.moments(table)


def test_without_the_library(table, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyiceberg.table.metadata", None)
    with pytest.raises(FileError, match=r"is of an Iceberg table, .*pip install 'gammabeta\[lake\]'"):
        data.moments(state_of(table))
