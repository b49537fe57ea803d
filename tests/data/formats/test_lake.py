"""Tables of lakehouses: the current files of a Delta table, and a refusal of what else would count deleted files."""

import json
import sys

import deltalake
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gammabeta import Moments, data
from gammabeta.errors import DataError, FileError, KindError


@pytest.fixture
def table(tmp_path):
    """A Delta table whose first rows were replaced, in partitions with odd names."""
    place = tmp_path / "sales 100%"
    for rows in (([1.0, 2.0], ["a", "b"]), ([5.0, 7.0], ["a", "c/é %"])):
        deltalake.write_deltalake(
            place, pa.table({"x": rows[0], "shop": rows[1]}), mode="overwrite", partition_by=["shop"]
        )
    return place


def test_deleted_files_do_not_count(table):
    assert len(list(table.rglob("*.parquet"))) == 4
    assert data.moments(table).mean.tolist() == [6]
    assert data.extrema(table).min.tolist() == [5]
    assert {part.partitions["shop"] for part in data.data_set(table).parts} == {"a", "c/é %"}


def test_the_ledger_and_scaling_follow_the_table(table, tmp_path):
    stats = tmp_path / "stats.json"
    data.update(stats, table)
    deltalake.write_deltalake(table, pa.table({"x": [9.0], "shop": ["a"]}), mode="append")
    found = data.update(stats, table)
    assert found.statistics.moments == Moments.of(np.array([[5.0], [7.0], [9.0]]))
    assert (len(found.read), found.unchanged) == (1, 2)
    deltalake.DeltaTable(table).delete("shop = 'a'")
    found = data.update(stats, table)
    assert found.statistics.moments == Moments.of([[7.0]])
    assert len(found.gone) == 2
    data.scale(table, tmp_path / "scaled")
    assert len(list((tmp_path / "scaled").rglob("*.parquet"))) == 1


def test_patterns_and_folders_above_are_refused(table):
    partition = next(table.glob("shop=*"))
    for where in (
        table / "*" / "*.parquet",
        table.parent,
        table / "**" / "*.parquet",
        partition,
        partition / "*.parquet",
    ):
        with pytest.raises(DataError, match=r"is a Delta table, .* name that folder by itself"):
            data.moments(where)
    chosen = sorted(table.rglob("*.parquet"))
    assert data.moments(chosen).count.tolist() == [4]  # each named by its own name: as said


def test_without_the_library(table, monkeypatch):
    monkeypatch.setitem(sys.modules, "deltalake", None)
    with pytest.raises(FileError, match=r"is a Delta table, .*pip install 'gammabeta\[lake\]'"):
        data.moments(table)


def test_what_the_files_alone_do_not_say(table):
    table_of = deltalake.DeltaTable(table)
    log = table / "_delta_log" / "00000000000000000002.json"
    protocol = {"minReaderVersion": 3, "minWriterVersion": 7}
    features = {"readerFeatures": ["deletionVectors"], "writerFeatures": ["deletionVectors"]}
    log.write_text(json.dumps({"protocol": protocol | features}) + "\n")
    with pytest.raises(KindError, match="may have rows that are deleted within its files; measure a query of it"):
        data.moments(table)
    add = {"path": "../other.parquet", "size": 1, "modificationTime": 0, "dataChange": True}
    log.write_text(json.dumps({"add": add | {"partitionValues": {"shop": "a"}}}) + "\n")
    with pytest.raises(DataError, match="must be in its folder"):
        data.moments(table)
    log.write_text("no JSON")
    with pytest.raises(FileError, match="cannot be read as a Delta table"):
        data.moments(table)
    assert table_of.version() == 1


@pytest.mark.parametrize(
    ("mark", "message"),
    [
        ("metadata/v1.metadata.json", "is an Iceberg table, .*to_arrow_batch_reader"),
        (".hoodie/hoodie.properties", "is a Hudi table, .*pass the files of one snapshot"),
    ],
)
def test_iceberg_and_hudi_are_refused(tmp_path, mark, message):
    for name in (mark, "data/a.parquet"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text("{}")
    pq.write_table(pa.table({"x": [1.0]}), tmp_path / "data" / "a.parquet")
    with pytest.raises(DataError, match=message):
        data.moments(tmp_path)
