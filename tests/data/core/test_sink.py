"""A file appears whole or not at all, whatever happens while it is written."""

import errno
import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
import pytest

from gammabeta import data
from gammabeta.data.io.paths import replacing
from gammabeta.data.io.prefetch import prefetch
from gammabeta.errors import DataError, FileError, KindError

FORMATS = ["csv", "csv.gz", "parquet", "arrow", "npy"]


def put(path, rows=100_000):
    x = np.arange(float(rows))
    name = path.name.split(".", 1)[1]
    if name == "npy":
        np.save(path, x)
    elif name == "parquet":
        pq.write_table(pa.table({"x": x}), path)
    elif name == "arrow":
        pa.feather.write_feather(pa.table({"x": x}), path)
    else:
        with pa.output_stream(path) as stream:
            stream.write(b"x\n" + "".join(f"{value}\n" for value in x).encode())
    return path


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("name", FORMATS)
def test_output_may_be_input(tmp_path, name):
    source = put(tmp_path / f"in.{name}")
    data.scale(source, tmp_path / f"out.{name}", stats=tmp_path / "s.json")
    data.scale(source, source)
    assert source.read_bytes() == (tmp_path / f"out.{name}").read_bytes()
    data.invert(tmp_path / "s.json", source, source)
    assert names(tmp_path) == sorted([f"in.{name}", f"out.{name}", "s.json"])


@pytest.mark.parametrize("name", FORMATS)
def test_a_full_disk_leaves_the_old_file(tmp_path, name):
    # the limit on a file's size acts as a full disk does: write fails in mid-file
    source = put(tmp_path / f"in.{name}", 400_000)
    old = b"what was there before"
    (tmp_path / f"out.{name}").write_bytes(old)
    code = (
        "import resource, sys; from gammabeta.cli import main; "
        "resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000)); sys.exit(main(sys.argv[1:]))"
    )
    command = [sys.executable, "-c", code, "scale", source, "-o", tmp_path / f"out.{name}"]
    result = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=120)
    assert result.returncode == 2, result.stderr
    assert "cannot write" in result.stderr
    assert os.strerror(errno.EFBIG) in result.stderr
    assert "the old file is as it was" in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert (tmp_path / f"out.{name}").read_bytes() == old
    assert names(tmp_path) == sorted([f"in.{name}", f"out.{name}"])


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full")  # noqa: PTH110
def test_no_space_left(tmp_path, monkeypatch):
    source = put(tmp_path / "in.csv")
    opened = pa.OSFile
    monkeypatch.setattr(pa, "OSFile", lambda path, mode: opened("/dev/full" if mode == "wb" else path, mode))
    with pytest.raises(FileError, match=r"cannot write .*: No space left on device; nothing was written"):
        data.scale(source, tmp_path / "out.csv")
    assert names(tmp_path) == ["in.csv"]


@pytest.mark.parametrize("kind", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("stage", ["ParquetSink.write", "ParquetSink.close"])
def test_an_interruption_cleans_up(tmp_path, kind, stage):
    source = put(tmp_path / "in.parquet")
    (tmp_path / "out.parquet").write_bytes(b"old")
    code = (
        "import os, sys, gammabeta.data.formats.parquet as module; from gammabeta.cli import main\n"
        f"def die(self, *given): os.kill(os.getpid(), {int(kind)}); import time; time.sleep(20)\n"
        f"module.{stage} = die\n"
        "sys.exit(main(sys.argv[1:]))"
    )
    command = [
        sys.executable,
        "-c",
        code,
        "scale",
        source,
        "-o",
        tmp_path / "out.parquet",
        "--stats",
        tmp_path / "s.json",
    ]
    result = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=120)
    assert result.returncode == 128 + kind
    assert result.stderr in ("gammabeta: interrupted; nothing was changed\n", "")
    assert (tmp_path / "out.parquet").read_bytes() == b"old"
    assert names(tmp_path) == ["in.parquet", "out.parquet"]


def test_being_killed_leaves_the_old_file(tmp_path):
    source = put(tmp_path / "in.parquet")
    (tmp_path / "out.parquet").write_bytes(b"old")
    code = (
        "import os, sys, gammabeta.data.formats.parquet as module; from gammabeta.cli import main\n"
        "module.ParquetSink.close = lambda self: os.kill(os.getpid(), 9)\n"
        "main(sys.argv[1:])"
    )
    command = [sys.executable, "-c", code, "scale", source, "-o", tmp_path / "out.parquet"]
    result = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=120)
    assert result.returncode == -signal.SIGKILL
    assert (tmp_path / "out.parquet").read_bytes() == b"old"


def test_an_error_in_the_second_pass_leaves_the_old_stats_too(tmp_path, monkeypatch):
    source = put(tmp_path / "in.parquet")
    for name in ("out.parquet", "s.json"):
        (tmp_path / name).write_bytes(b"old")

    def fail(self):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr("gammabeta.data.formats.parquet.ParquetSink.close", fail)
    with pytest.raises(FileError, match="Input/output error; the old file is as it was"):
        data.scale(source, tmp_path / "out.parquet", stats=tmp_path / "s.json")
    assert (tmp_path / "out.parquet").read_bytes() == (tmp_path / "s.json").read_bytes() == b"old"
    assert names(tmp_path) == ["in.parquet", "out.parquet", "s.json"]


def test_permissions_and_links_stay(tmp_path):
    source = put(tmp_path / "in.csv", 10)
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "out.csv").write_text("old")
    (tmp_path / "real" / "out.csv").chmod(0o640)
    (tmp_path / "out.csv").symlink_to(tmp_path / "real" / "out.csv")
    data.scale(source, tmp_path / "out.csv")
    assert (tmp_path / "out.csv").is_symlink()
    assert (tmp_path / "real" / "out.csv").stat().st_mode & 0o777 == 0o640
    assert (tmp_path / "real" / "out.csv").read_text().startswith("x\n-1.5")


def test_a_new_file_has_the_usual_permissions(tmp_path):
    source = put(tmp_path / "in.csv", 10)
    before = os.umask(0o022)
    try:
        data.scale(source, tmp_path / "out.csv")
    finally:
        os.umask(before)
    assert (tmp_path / "out.csv").stat().st_mode & 0o777 == 0o644


def test_outputs_that_cannot_be_are_refused_before_any_work(tmp_path, monkeypatch):
    source = put(tmp_path / "in.csv", 10)
    monkeypatch.setattr("gammabeta.data.passes.measure._parts", lambda *a, **k: pytest.fail("work began"))
    (tmp_path / "folder.csv").mkdir()
    for out, kind, message in [
        (tmp_path / "none" / "out.csv", FileError, "there is no folder .*; make it first"),
        (tmp_path / "folder.csv", FileError, "is a folder; add a file name"),
        (tmp_path / "out.xlsx", FileError, r"name must end in \.csv, .*, got '.*out\.xlsx'; rename or convert it"),
        (tmp_path / "out", FileError, "name must end in"),
        (tmp_path / "out.json", FileError, "the scaled data cannot go to"),
        (tmp_path / "out.npy", KindError, "holds a table and cannot become"),
        (tmp_path / "out.parquet.gz", FileError, "name must end in"),
    ]:
        with pytest.raises(kind, match=message):
            data.scale(source, out)
    assert names(tmp_path) == ["folder.csv", "in.csv"]


def test_an_unwritable_folder_is_found_out_before_any_work(tmp_path, monkeypatch):
    source = put(tmp_path / "in.csv", 10)
    monkeypatch.setattr("gammabeta.data.passes.measure._parts", lambda *a, **k: pytest.fail("work began"))
    opened = os.open

    def refuse(path, flags, *given):  # chmod does not stop root, whom tests may run as
        if flags & os.O_CREAT:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return opened(path, flags, *given)

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(FileError, match=r"cannot write '.*out\.csv': Permission denied; nothing was written"):
        data.scale(source, tmp_path / "out.csv")


def test_inputs_that_cannot_be_read(tmp_path):
    (tmp_path / "empty.csv").touch()
    (tmp_path / "folder.parquet").mkdir()
    (tmp_path / "data.txt").write_text("a\n1\n")
    for name, message in [
        ("none.csv", "cannot read '.*none.csv': no such file"),
        ("empty.csv", "empty.csv' is empty: it has 0 bytes"),
        ("folder.parquet", "at least one data file is needed, there is none in"),
        ("data.txt", r"a data file's name must end in \.csv"),
    ]:
        with pytest.raises(FileError, match=message):
            data.measure(tmp_path / name)


def test_what_a_format_cannot_hold_is_refused(tmp_path):
    nested = pa.table({"x": [1.0, 2.0], "l": [[1], [2]]})
    with pytest.raises(KindError, match=r"a CSV file cannot hold column 'l' of list<.*>; write Parquet or Arrow"):
        data.scale(nested, tmp_path / "out.csv")
    assert names(tmp_path) == []


def test_replacing_raises_what_was_raised(tmp_path):
    with pytest.raises(DataError, match="mine"), replacing(tmp_path / "f.csv"):
        raise DataError("mine")
    with pytest.raises(ZeroDivisionError), replacing(tmp_path / "f.csv"):
        raise ZeroDivisionError
    assert names(tmp_path) == []


def test_ahead_passes_errors_on_and_stops_its_thread():
    def failing():
        yield 1
        raise DataError("in the thread")

    items = prefetch(failing())
    assert next(items) == 1
    with pytest.raises(DataError, match="in the thread"):
        next(items)

    closed = []

    def endless():
        try:
            while True:
                yield 0
        finally:
            closed.append(True)

    before = threading.active_count()
    items = prefetch(endless(), depth=2)
    assert next(items) == 0
    items.close()
    assert closed == [True]
    assert threading.active_count() == before


def test_ahead_really_runs_ahead():
    made = []

    def items():
        for i in range(3):
            made.append(i)
            yield i

    found = prefetch(items(), depth=2)
    assert next(found) == 0
    deadline = time.monotonic() + 10
    while len(made) < 3 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert made == [0, 1, 2]
    assert list(found) == [1, 2]
