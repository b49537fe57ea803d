"""Arrow and Parquet files that say what is not so: each is refused, and none is measured from beyond its end."""

import os
import struct
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.dataset
import pyarrow.feather
import pyarrow.parquet as pq
import pytest

import file_mutants as mutants
from gammabeta import Moments, data
from gammabeta.cli import main
from gammabeta.data.core import arrow_validation
from gammabeta.data.formats import ipc
from gammabeta.errors import FileError, GammabetaError, KindError

ROWS = mutants.ROWS


def put(path, table, codec=None, batch=None):
    """An IPC file, or a stream if its name says so."""
    new = pa.ipc.new_stream if "stream" in path.name else pa.ipc.new_file
    with new(path, table.schema, options=pa.ipc.IpcWriteOptions(compression=codec)) as writer:
        writer.write_table(table, batch)
    return path


def altered(path, old, new, which=0):
    """The file with the bytes `old` replaced where they stand for the `which`-th time; all of them if it is None."""
    content = path.read_bytes()
    assert old in content
    if which is None:
        path.write_bytes(content.replace(old, new))
        return path
    at = -1
    for _ in range(which + 1):
        at = content.index(old, at + 1)
    path.write_bytes(content[:at] + new + content[at + len(old) :])
    return path


def words(*values):
    return struct.pack(f"<{len(values)}q", *values)


def ints(*values):
    return struct.pack(f"<{len(values)}i", *values)


KINDS = ["in.arrow", "in.stream.arrow"]


@pytest.mark.parametrize("claimed", [100_000, 50_000_000, 2**40, -1])
@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("large", [False, True], ids=["small", "large"])
def test_more_rows_than_there_are(tmp_path, name, claimed, large):
    """The length of the record batch, and of its columns, is `claimed`; a nullable column is of numbers."""
    rows = 99_991 if large else ROWS
    table = pa.table({"x": pa.array([None if i % 5 == 0 else i for i in range(rows)], pa.float64())})
    path = altered(put(tmp_path / name, table), words(rows), words(claimed), None)
    out = tmp_path / "out.parquet"
    for use in (data.measure, lambda path: data.scale(path, out), lambda path: list(data.scan(path))):
        with pytest.raises(FileError, match="cannot be read as Arrow IPC"):
            use(path)
    assert not out.exists()


def test_a_column_longer_than_its_record_batch(tmp_path):
    table = pa.table({"x": np.arange(99_991.0), "y": np.arange(99_991.0)})
    path = put(tmp_path / "in.arrow", table)
    altered(path, words(99_991, 0, 99_991, 0), words(50_000, 0, 99_991, 0))
    with pytest.raises(FileError, match="Array length did not match record batch length"):
        data.scale(path, tmp_path / "out.arrow")


TYPES = {
    "strings": (pa.string(), ints(1, 2, 3), ints(1, 2**30, 3)),
    "a string beyond the end": (pa.string(), ints(48, 49, 50), ints(48, 49, 2**30)),
    "strings backwards": (pa.string(), ints(1, 2, 3), ints(1, -5, 3)),
    "large strings": (pa.large_string(), words(1, 2, 3), words(1, 2**40, 3)),
    "bytes": (pa.binary(), ints(1, 2, 3), ints(1, 2**30, 3)),
    "lists": (pa.list_(pa.int8()), ints(1, 2, 3), ints(1, 2**30, 3)),
    "large lists": (pa.large_list(pa.int8()), words(1, 2, 3), words(1, 2**40, 3)),
    "views": (pa.string_view(), ints(20) + b"aaaa", ints(2**30) + b"aaaa"),
}


@pytest.mark.parametrize("out", ["out.csv", "out.arrow", "out.parquet"])
@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("case", TYPES)
def test_offsets_out_of_their_values(tmp_path, name, case, out):
    kind, old, new = TYPES[case]
    value = "a" if "view" not in str(kind) else "a" * 20
    values = [value if "list" not in str(kind) else [1] for _ in range(50)]
    table = pa.table({"x": np.arange(50.0), "s": pa.array(values, kind)})
    path = altered(put(tmp_path / name, table), old, new)
    assert data.measure(path).moments.mean[0] == 24.5  # what is not read is not looked at
    if "list" in str(kind) and out.endswith("csv"):
        return  # a CSV file holds none
    with pytest.raises(FileError, match="cannot be read as Arrow IPC"):
        data.scale(path, tmp_path / out)
    assert [path.name for path in tmp_path.iterdir()] == [name]


DICTIONARIES = {
    "plain": lambda codes, words: pa.DictionaryArray.from_arrays(codes, words),
    "in a structure": lambda codes, words: pa.StructArray.from_arrays(
        [pa.DictionaryArray.from_arrays(codes, words)], ["a"]
    ),
    "in a list": lambda codes, words: pa.ListArray.from_arrays(
        pa.array(np.arange(ROWS + 1), pa.int32()), pa.DictionaryArray.from_arrays(codes, words)
    ),
    "of dictionaries": lambda codes, words: pa.DictionaryArray.from_arrays(
        codes, pa.DictionaryArray.from_arrays(pa.array([0, 1], pa.int32()), words)
    ),
}


@pytest.mark.parametrize("code", [50, -3, 2, 2**31 - 1])
@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("case", DICTIONARIES)
def test_dictionary_codes_without_a_word(tmp_path, name, case, code):
    codes = pa.array([0, 1, 1, 0, 1, 1, 1] * (ROWS // 7), pa.int32())
    column = DICTIONARIES[case](codes, pa.array(["a", "b"]))
    path = put(tmp_path / name, pa.table({"x": np.arange(float(ROWS)), "s": column}))
    altered(path, ints(1, 1, 0, 1, 1, 1), ints(1, 1, 0, code, 1, 1))
    with pytest.raises(FileError, match="cannot be read as Arrow IPC"):
        data.scale(path, tmp_path / "out.arrow")
    with pytest.raises(FileError, match="cannot be read as Arrow IPC"):
        list(data.scan(path))
    if case == "plain":
        with pytest.raises(FileError, match="cannot be read as Arrow IPC"):
            data.measure_by(path, "s")


def test_a_dictionary_that_grows_is_read(tmp_path):
    options = pa.ipc.IpcWriteOptions(emit_dictionary_deltas=True)
    path = tmp_path / "in.arrow"
    batches = [mutants.growing(size) for size in (2, 4, 6)]
    with pa.ipc.new_file(path, batches[0].schema, options=options) as writer:
        for batch in batches:
            writer.write_batch(batch)
    assert data.measure_by(path, "s").labels.tolist() == [f"word {i}" for i in range(6)]
    data.scale(path, tmp_path / "out.arrow")
    expected = [word for batch in batches for word in batch["s"].to_pylist()]
    assert pa.feather.read_table(tmp_path / "out.arrow")["s"].to_pylist() == expected


@pytest.mark.parametrize("suffix", ["arrow", "stream.arrow", "parquet"])
def test_names_that_are_no_text(tmp_path, capsys, monkeypatch, suffix):
    monkeypatch.chdir(tmp_path)
    path, table = tmp_path / f"in.{suffix}", pa.table({"namenamename": [1.0, 2.0]})
    if suffix == "parquet":
        pq.write_table(table, path, store_schema=False)
    else:
        put(path, table)
    altered(path, b"namenamename", b"name\xff\xfenames!", None)
    for command in ("stats", "scale -o out.csv"):
        assert main([*command.split(), path.name]) == 2
        told = capsys.readouterr().err
        assert "cannot be read as" in told
        assert "can't decode byte 0xff" in told
        assert len(told.splitlines()) == 1


@pytest.mark.parametrize("suffix", ["arrow", "parquet"])
def test_labels_that_are_no_text(tmp_path, suffix):
    path, table = tmp_path / f"in.{suffix}", pa.table({"x": [1.0, 2.0], "s": ["abcabc", "b"]})
    if suffix == "parquet":
        pq.write_table(table, path, use_dictionary=False, write_statistics=False, compression="NONE")
    else:
        put(path, table)
    altered(path, b"abcabc", b"abc\xff\xfe\xff")
    with pytest.raises(GammabetaError, match=r"UTF-?8"):
        data.measure_by(path, "s")


@pytest.mark.parametrize("codec", ["lz4", "zstd"])
def test_a_buffer_that_claims_more_than_it_can_hold(tmp_path, codec):
    """Such a file is bad; one for which memory is short is not: `--skip-bad` must not leave it out."""
    folder = tmp_path / "in"
    folder.mkdir()
    put(folder / "a.arrow", pa.table({"x": np.zeros(999)}), codec)
    put(folder / "b.arrow", pa.table({"x": np.zeros(999)}), codec)
    altered(folder / "b.arrow", words(999 * 8), words(2**55))
    with pytest.raises(FileError, match="it claims more than it can hold"):
        data.measure(folder / "b.arrow")
    done = data.scale(folder, tmp_path / "out", skip_bad=True)
    assert set(done.files.bad) == {"b.arrow"}


@pytest.mark.parametrize("failed", [pa.ArrowMemoryError("malloc of size 9000 failed"), MemoryError()])
def test_memory_that_is_short_is_no_fault_of_a_file(tmp_path, monkeypatch, capsys, failed):
    folder = tmp_path / "in"
    folder.mkdir()
    for name in "ab":
        put(folder / f"{name}.arrow", pa.table({"x": np.arange(9.0)}))

    def short(self, *given):
        raise failed

    monkeypatch.setattr(arrow_validation.Buffers, "rows", short)
    with pytest.raises(MemoryError):
        data.scale(folder, tmp_path / "out", skip_bad=True)
    assert main(["stats", str(folder), "-o", str(tmp_path / "s.json"), "--skip-bad"]) == 2
    assert capsys.readouterr().err == "gammabeta: there is not enough memory\n"
    monkeypatch.undo()
    assert data.update(tmp_path / "kept.json", folder).statistics.rows == 18


CUT = """
import os, sys
import numpy as np
from gammabeta import data
from gammabeta.errors import FileError
path, keep = sys.argv[1], int(sys.argv[2])
try:
    for chunk in data.scan(path):
        os.truncate(path, keep)
        chunk.batch.validate(full=True)
        float(np.sum(chunk["x"]))
except FileError as error:
    sys.exit(f"FileError: {error}")
"""


@pytest.mark.parametrize("keep", [0, 5000, 3_000_000])
@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("batch", [None, 100_000], ids=["one batch", "batches"])
def test_a_file_cut_short_while_it_is_read(tmp_path, name, keep, batch):
    """No signal ends the process, as one does where a mapping is read beyond the file's end."""
    rows = 1_500_000
    codes = pa.DictionaryArray.from_arrays(pa.array(np.arange(rows) % 2, pa.int8()), pa.array(["a", "b"]))
    path = put(tmp_path / name, pa.table({"x": np.arange(float(rows)), "s": codes}), batch=batch)
    command = [sys.executable, "-c", CUT, str(path), str(keep)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert result.returncode == 1, result.stderr
    assert result.stderr.startswith("FileError: ")
    assert "was changed while it was read" in result.stderr


CUT_BETWEEN = """
import os, sys
from gammabeta import data
from gammabeta.data.core import arrow_validation
read = arrow_validation.Buffers.read_buffer
def cut(self, size):
    found = read(self, size)
    if size > 1 << 16:
        os.truncate(sys.argv[1], 0)
    return found
arrow_validation.Buffers.read_buffer = cut
try:
    data.measure(sys.argv[1])
except Exception as error:
    sys.exit(f"{type(error).__name__}: {error}")
"""


@pytest.mark.parametrize("columns", [1, 1000], ids=["a few columns", "a message of more than 64 kB"])
@pytest.mark.parametrize("name", KINDS)
def test_a_file_cut_short_between_arrows_reading_and_its_looking(tmp_path, name, columns):
    """What Arrow looks at is in no mapping of the file, which would end the process here."""
    values = np.arange(3_000_000.0 // columns)
    path = put(tmp_path / name, pa.table({f"x{i}": values for i in range(columns)}))
    wanted = data.measure(path)
    assert wanted.moments == Moments.of(np.tile(values[:, None], columns))
    result = subprocess.run([sys.executable, "-c", CUT_BETWEEN, str(path)], capture_output=True, text=True, timeout=120)
    assert result.returncode == 1, result.stderr
    assert "was changed while it was read" in result.stderr


LAID_OUT = {**mutants.TABLES, "growing": lambda: {"x": np.arange(float(ROWS)), "none": pa.nulls(ROWS)}}


@pytest.mark.parametrize("codec", [None, "lz4"])
@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("case", LAID_OUT)
def test_what_is_sound_is_read_as_it_is(tmp_path, monkeypatch, case, name, codec):
    """All types, in slices that begin at any row of a record batch."""
    monkeypatch.setattr(arrow_validation, "_COPIED", 64)
    monkeypatch.setattr(ipc, "CHUNK_BYTES", 1)
    table = pa.table(LAID_OUT[case]())
    path = put(tmp_path / name, table, codec, batch=50)
    chunks = list(data.scan(path))
    assert len(chunks) > 2
    found = pa.Table.from_batches([chunk.batch for chunk in chunks])
    assert found.schema == table.schema
    assert found.to_pylist() == table.to_pylist()
    parted = {field.name for field in table.schema if str(field.type).startswith(("struct", "fixed_size_list"))}
    some = [name for name in table.schema.names[::-2] if name not in parted]
    (first, *_) = data.scan(path, some)
    assert first.batch.to_pylist() == table.select(some)[: first.rows].to_pylist()


def test_text_that_a_slice_is_of(tmp_path, monkeypatch):
    monkeypatch.setattr(arrow_validation, "_COPIED", 64)
    monkeypatch.setattr(ipc, "CHUNK_BYTES", 4 << 10)
    texts = [None if i % 11 == 0 else "ä" * (i % 40) for i in range(5000)]
    columns = {"s": pa.array(texts), "large": pa.array(texts, pa.large_string()), "x": pa.array(range(5000))}
    path = put(tmp_path / "in.arrow", pa.table(columns))
    found = pa.Table.from_batches([chunk.batch for chunk in data.scan(path)])
    assert found.to_pydict() == pa.table(columns).to_pydict()
    data.scale(path, tmp_path / "out.arrow")
    assert pa.feather.read_table(tmp_path / "out.arrow")["large"].to_pylist() == texts


def test_a_data_set_of_damaged_files(tmp_path):
    """What Arrow's own data set reads is a file too."""
    table = pa.table({"x": np.arange(float(ROWS)), "s": pa.array(["a", "b", "a", "b", "b", "b", "b"] * 11)})
    codes = table.set_column(1, "s", table["s"].dictionary_encode())
    path = put(tmp_path / "in.arrow", codes)
    altered(path, ints(0, 1, 0, 1, 1), ints(0, 1, 0, 50, 1))
    with pytest.raises(FileError, match="cannot be read as a data set"):
        data.measure_by(pyarrow.dataset.dataset(path, format="ipc"), "s")


def test_a_table_of_the_users_own_is_trusted():
    """It is laid out by code that runs in the user's process; to check it is the user's to do."""
    codes = pa.DictionaryArray.from_arrays(pa.array([0, 1], pa.int8()), pa.array(["a", "b"]))
    table = pa.table({"x": [1.0, 2.0], "s": codes})
    assert data.measure(table.to_reader()).rows == 2


def damaged(tmp_path, count, seed):
    found, seen = mutants.faults(tmp_path, count, seed)
    assert not found
    assert sum(seen.values()) == count
    assert seen["ok"] > count // 20
    assert seen["FileError"] > count // 4


def test_damaged_files_are_refused(tmp_path):
    damaged(tmp_path, 300, 0)


@pytest.mark.long
def test_many_damaged_files_are_refused(tmp_path):
    damaged(tmp_path, 11_700, 1)


def test_the_fuzzer_notices(tmp_path):
    """A death, an error that is not ours and a hang are seen, and the next file is read."""
    assert issubclass(KindError, GammabetaError)
    reader = mutants.Reader()
    good = put(tmp_path / "in.arrow", pa.table({"x": [1.0]}))
    try:
        assert reader.read(good, "measure") == "ok"
        assert reader.read(tmp_path / "none.arrow", "measure") == "FileError"
        assert reader.read(tmp_path / "a\0b.arrow", "measure").startswith("FAULT: ValueError")
        os.kill(reader._process.pid, 9)
        assert reader.read(good, "measure") == "FAULT: it died (-9)"
        assert reader.read(good, "measure") == "ok"
    finally:
        reader.stop()
