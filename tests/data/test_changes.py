"""A file that changes while it is read, or between the two passes, is refused: nothing is written of two states."""

import os

import numpy as np
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
import pytest

from gammabeta import data, report
from gammabeta.cli import main
from gammabeta.data.core import source
from gammabeta.data.formats import registry
from gammabeta.data.formats.registry import open_source
from gammabeta.data.io import paths
from gammabeta.data.io.remote import Remote
from gammabeta.data.passes import scale
from gammabeta.errors import FileError

NAMES = ["in.csv", "in.tsv.gz", "in.csv.zst", "in.csv.bz2", "in.parquet", "in.arrow", "in.feather", "in.npy", "in.npz"]


def put(path, x):
    """A file of one column, or of one array."""
    if path.suffix == ".npy":
        np.save(path, x)
    elif path.suffix == ".npz":
        np.savez(path, x=x)
    elif path.suffix == ".parquet":
        pq.write_table(pa.table({"x": x}), path)
    elif path.suffix == ".arrow":
        with pa.ipc.new_file(path, pa.schema([("x", pa.float64())])) as writer:
            writer.write_table(pa.table({"x": x}))
    elif path.suffix == ".feather":
        pa.feather.write_feather(pa.table({"x": x}), path)
    else:
        with pa.output_stream(path) as stream:
            stream.write(b"x\n" + "".join(f"{value}\n" for value in x).encode())
    return path


def out_of(path):
    return path.with_name("out.npy" if path.suffix in (".npy", ".npz") else "out.parquet")


def rewritten(path):
    """Other values under the same size and the same name, as programs write that truncate."""
    before = path.stat()
    put(path, np.arange(100.0)[::-1].copy())
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns + 1_000))


def replaced(path):
    """Another file in its place, of the same size and time."""
    before = path.stat()
    other = put(path.with_name(f"other.{path.name}"), np.arange(100.0)[::-1].copy())
    os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
    other.replace(path)


def grown(path):
    put(path, np.arange(1000.0))


def cut(path):
    os.truncate(path, path.stat().st_size // 2)


def removed(path):
    path.unlink()


CHANGES = [rewritten, replaced, grown, cut, removed]


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("name", NAMES)
def test_between_the_passes(tmp_path, monkeypatch, name, change):
    path = put(tmp_path / name, np.arange(100.0))
    out = out_of(path)
    out.write_bytes(b"old")
    write = scale.write

    def late(*given):
        change(path)
        return write(*given)

    monkeypatch.setattr(scale, "write", late)
    told = (
        r"cannot read .*: no such file"
        if change is removed
        else (r"was changed while it was read; run again when nothing writes to it")
    )
    with pytest.raises(FileError, match=told):
        data.scale(path, out, stats=tmp_path / "s.json")
    assert out.read_bytes() == b"old"
    assert not (tmp_path / "s.json").exists()
    assert not list(tmp_path.glob(".*.part"))


READERS = {
    "measure": lambda path, change: data.measure(path, progress=lambda done, size: change(path)),
    "scan": lambda path, change: [change(path) for _ in data.scan(path)],
    "preview": lambda path, change: data.preview(path, progress=lambda done, size: change(path)),
    "describe": lambda path, change: report.describe(path, progress=lambda done, size: change(path)),
    "measure_by": lambda path, change: data.measure_by(path, "x", progress=lambda done, size: change(path)),
}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("name", NAMES)
def test_while_it_is_read(tmp_path, name, reader):
    if reader == "measure_by":
        table = pa.table({"x": np.arange(100) % 3, "y": np.arange(100.0)})
        path = tmp_path / "in.parquet"
        pq.write_table(table, path)
    else:
        path = put(tmp_path / name, np.arange(100.0))
    with pytest.raises(FileError, match="was changed while it was read"):
        READERS[reader](path, rewritten)


def test_a_change_that_leaves_another_error_is_said_to_be_one(tmp_path, monkeypatch):
    path = put(tmp_path / "in.csv", np.arange(100.0))
    write = scale.write

    def late(*given):
        path.write_text("x\ninf\n")
        return write(*given)

    monkeypatch.setattr(scale, "write", late)
    with pytest.raises(FileError, match="was changed while it was read"):
        data.scale(path, tmp_path / "out.csv")


@pytest.mark.parametrize("name", ["in.csv", "in.parquet", "in.arrow"])
def test_rows_are_counted_again(tmp_path, monkeypatch, name):
    """Where neither size nor time nor inode tells."""
    path = put(tmp_path / name, np.arange(100.0))
    for module in (paths, source, registry):
        monkeypatch.setattr(module, "state_of", lambda path: paths.State(0, 0), raising=False)
    write = scale.write

    def late(given, *others, **named):
        put(path, np.arange(99.0))
        return write(open_source(path), *others)

    monkeypatch.setattr(scale, "write", late)
    told = r"was changed while it was read: it had 100 rows and then 99; run again when nothing writes to it"
    with pytest.raises(FileError, match=told):
        data.scale(path, tmp_path / "out.parquet")
    assert not (tmp_path / "out.parquet").exists()


@pytest.mark.parametrize("name", NAMES)
def test_statistics_that_are_given_go_with_any_file(tmp_path, name):
    path = put(tmp_path / name, np.arange(100.0))
    data.save(data.measure(path), tmp_path / "s.json")
    grown(path)
    assert data.apply(tmp_path / "s.json", path, out_of(path)).rows == 1000
    cut(put(path, np.arange(50.0)))
    put(path, np.arange(50.0))
    assert data.apply(tmp_path / "s.json", path, out_of(path)).rows == 50


@pytest.mark.parametrize("name", NAMES)
def test_a_file_that_changes_while_statistics_are_applied(tmp_path, name):
    path = put(tmp_path / name, np.arange(100.0))
    known = data.measure(path)
    with pytest.raises(FileError, match="was changed while it was read"):
        data.apply(known, path, out_of(path), progress=lambda done, size: rewritten(path))
    assert not out_of(path).exists()


@pytest.mark.parametrize("command", ["scale in.csv -o out.csv", "stats in.csv", "scale in.csv"])
def test_the_command_line_says_it_in_a_line(tmp_path, monkeypatch, capsys, command):
    monkeypatch.chdir(tmp_path)
    path = put(tmp_path / "in.csv", np.arange(100.0))

    def late(given, *others, **named):
        found = open_source(given, *others, **named)
        rewritten(path)
        return found

    monkeypatch.setattr("gammabeta.data.formats.registry.open_source", late)
    monkeypatch.setattr("gammabeta.data.api.open_source", late)
    assert main(command.split()) == 2
    told = capsys.readouterr()
    assert told.err == "gammabeta: 'in.csv' was changed while it was read; run again when nothing writes to it\n"
    assert not (tmp_path / "out.csv").exists()


def test_a_file_at_an_address(tmp_path, monkeypatch):
    import fsspec

    system = fsspec.filesystem("memory")
    system.pipe_file("/changes/in.csv", b"x\n1\n2\n")
    write = scale.write

    def late(*given):
        system.pipe_file("/changes/in.csv", b"x\n1\n2\n3\n")
        return write(*given)

    monkeypatch.setattr(scale, "write", late)
    with pytest.raises(FileError, match=r"'memory://changes/in\.csv' was changed while it was read"):
        data.scale("memory://changes/in.csv", tmp_path / "out.csv")
    assert paths.state_of(Remote("memory://changes/in.csv")).size == 8


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_pipe_is_refused_before_it_is_read(tmp_path, name):
    path = tmp_path / name
    os.mkfifo(path)
    told = rf"data are read more than once, and '.*{name}' can be read once: it is a pipe or a device; write them to a"
    for use in (data.measure, lambda path: data.scale(path, out_of(path)), lambda path: next(data.scan(path))):
        with pytest.raises(FileError, match=told):
            use(path)
