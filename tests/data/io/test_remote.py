"""Files at an address, on fsspec's memory and local file systems: read as files here are, and only what is needed."""

import gzip
import sys
from pathlib import Path

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
import pytest
import zarr
from fsspec.implementations.memory import MemoryFileSystem
from fsspec.spec import AbstractBufferedFile
from pyarrow import fs

from gammabeta import Moments, data
from gammabeta.cli import main
from gammabeta.data.io.remote import Remote, located
from gammabeta.errors import DataError, FileError

rng = np.random.default_rng(2)
ROWS = 3000
TABLE = pa.table(
    {"x": rng.normal(1e6, 1, ROWS), "i": rng.integers(0, 2**60, ROWS), "word": [f"w{i}" for i in range(ROWS)]}
)
ARRAY = rng.normal(size=(500, 3, 2)).astype(np.float32)


def write(path):
    """A file of the kind that its name says."""
    if path.suffix == ".parquet":
        pq.write_table(TABLE, path)
    elif path.suffix in (".arrow", ".feather"):
        pa.feather.write_feather(TABLE, path, compression="zstd" if path.suffix == ".arrow" else "lz4")
    elif path.suffix == ".npy":
        np.save(path, ARRAY)
    elif path.suffix == ".npz":
        np.savez_compressed(path, x=ARRAY)
    else:
        text = TABLE.to_pandas().to_csv(index=False).encode()
        path.write_bytes(gzip.compress(text) if path.suffix == ".gz" else text)


NAMES = ["t.parquet", "t.arrow", "t.feather", "t.csv", "t.csv.gz", "t.npy", "t.npz"]


@pytest.fixture(name="memory")
def _memory():
    """fsspec's file system in memory, left empty."""
    system = fsspec.filesystem("memory")
    yield system
    system.rm("/", recursive=True)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("scheme", ["memory", "file", "local"])
def test_a_file_elsewhere_is_as_one_here(tmp_path, memory, name, scheme):
    write(tmp_path / name)
    address = f"{scheme}://{tmp_path / name}"
    if scheme == "memory":
        address = f"memory://data/{name}"
        memory.pipe(f"/data/{name}", (tmp_path / name).read_bytes())
    assert data.measure(address) == data.measure(tmp_path / name)
    target = tmp_path / ("out.npy" if name.startswith("t.np") else f"out.{name.partition('.')[2]}")
    here = tmp_path / f"here-{target.name}"
    data.scale(address, target)
    data.scale(tmp_path / name, here)
    if not name.endswith(".gz"):  # whose header has the time
        assert target.read_bytes() == here.read_bytes()


def test_the_command_takes_addresses(tmp_path, memory, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("a.parquet", "b.parquet"):
        write(tmp_path / name)
        memory.pipe(f"/data/{name}", (tmp_path / name).read_bytes())
    assert main(["stats", "memory://data/a.parquet", "b.parquet", "-o", "s.json"]) == 0
    assert data.load("s.json") == data.measure("a.parquet") + data.measure("b.parquet")
    memory.pipe("/data/s.json", Path("s.json").read_bytes())
    assert main(["apply", "s.json", "memory://data/a.parquet", "-o", "out.parquet"]) == 0
    assert main(["stats", "memory://data/s.json", "-o", "again.json"]) == 0
    assert data.load("again.json") == data.load("memory://data/s.json")
    capsys.readouterr()
    for command, told in {
        "stats memory://data/none.parquet": "cannot read 'memory://data/none.parquet': no such file",
        "stats memory://data": "a data file is needed, but 'memory://data' is a folder",
        "stats nowhere://data/a.parquet": "cannot read 'nowhere://data/a.parquet': Protocol not known: nowhere",
        "scale b.parquet -o memory://data/out.parquet": "the output must be a file of this machine, got 'memory://data",
        "stats b.parquet -o memory://data/s.json": "the output must be a file of this machine, got 'memory://data",
    }.items():
        assert main(command.split()) == 2
        said = capsys.readouterr()
        assert told in said.err
        assert len(said.err.splitlines()) == 1


class Counted(MemoryFileSystem):
    """Files in memory that are fetched range by range, as from a server, which counts the bytes."""

    protocol = "counted"
    fetched = 0

    @classmethod
    def _strip_protocol(cls, path):
        return super()._strip_protocol(path.removeprefix("counted://"))

    def _open(self, path, mode="rb", **options):
        return CountedFile(self, path, mode, **options)


class CountedFile(AbstractBufferedFile):
    """A file of `Counted`."""

    def _fetch_range(self, start, end):
        content = self.fs.store[self.path].getvalue()[start:end]
        Counted.fetched += len(content)
        return content


def test_parquet_is_fetched_by_ranges(tmp_path, memory):
    fsspec.register_implementation("counted", Counted, clobber=True)
    columns = {f"c{i}": rng.normal(size=200_000) for i in range(10)}
    pq.write_table(pa.table(columns), tmp_path / "t.parquet", row_group_size=50_000)
    memory.pipe("/t.parquet", (tmp_path / "t.parquet").read_bytes())
    size = (tmp_path / "t.parquet").stat().st_size
    Counted.fetched = 0
    assert data.moments("counted://t.parquet", ["c3"]) == Moments.of(columns["c3"][:, None])
    assert 0 < Counted.fetched < 0.15 * size  # a tenth of the columns, and the footer more than once
    Counted.fetched = 0
    assert data.moments("counted://t.parquet") == Moments.of(np.column_stack(list(columns.values())))
    assert Counted.fetched < 1.1 * size


def test_arrow_file_systems_are_asked_first(tmp_path, monkeypatch):
    write(tmp_path / "t.parquet")
    local = fs.SubTreeFileSystem(str(tmp_path), fs.LocalFileSystem())
    asked = []

    def from_uri(address):
        asked.append(address)
        return local, "t.parquet"

    monkeypatch.setattr(Remote, "_of_arrow", staticmethod(from_uri))
    assert data.measure("s3://bucket/t.parquet") == data.measure(tmp_path / "t.parquet")
    assert asked == ["s3://bucket/t.parquet"]


def test_zarr_elsewhere(memory):
    stored = zarr.create_array("memory://data/x.zarr", shape=ARRAY.shape, chunks=(100, 2, 2), dtype="f4")
    stored[...] = ARRAY
    assert data.moments("memory://data/x.zarr", axis=(0, 2)) == Moments.of(ARRAY, (0, 2))
    group = zarr.open_group("memory://data/group.zarr")
    group.create_array("t", shape=ARRAY.shape, dtype="f4")[...] = ARRAY
    assert data.moments("memory://data/group.zarr/t") == Moments.of(ARRAY)
    stored.resize((600, 3, 2))
    with pytest.raises(DataError, match=r"'memory://data/x\.zarr' lacks 2 of 12, the first 'c/5/0/0'"):
        data.moments("memory://data/x.zarr")


def test_what_is_an_address(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for address in ("s3://bucket/a b.csv", "http://host:80/t.parquet?key=1", "zip://t.npy::memory://t.npz"):
        assert str(located(address)) == address
        assert isinstance(located(address), Remote)
    assert located("t.csv") == located(Path("t.csv")) == Path("t.csv")
    assert located("C:/data/t.csv") == Path("C:/data/t.csv")
    assert located("file:///data/a%20b.csv") == Path("/data/a b.csv")
    assert str(located(Path("s3://bucket/t.csv"))) == "s3://bucket/t.csv"
    (tmp_path / "s3:").mkdir()
    (tmp_path / "s3:" / "t.csv").touch()
    assert located(Path("s3:/t.csv")) == Path("s3:/t.csv")
    assert (located("http://host/t.csv.gz?x=a.b").suffixes, located("s3://b/t.pq").name) == ([".csv", ".gz"], "t.pq")


def test_no_password_is_told():
    address = Remote("ftp://user:secret@host/none.parquet")
    assert str(address) == "ftp://host/none.parquet"


def test_a_chain_of_addresses(tmp_path, memory):
    np.savez(tmp_path / "x.npz", x=ARRAY)
    memory.pipe("/x.npz", (tmp_path / "x.npz").read_bytes())
    assert data.moments("zip://x.npy::memory://x.npz", axis=(0, 1)) == Moments.of(ARRAY, (0, 1))


def test_addresses_without_fsspec(monkeypatch):
    monkeypatch.setitem(sys.modules, "fsspec", None)
    with pytest.raises(FileError, match=r"'memory://t\.csv' is read with fsspec: pip install 'gammabeta\[remote\]'"):
        data.measure("memory://t.csv")


def test_a_server_that_fails_is_told(memory, tmp_path, monkeypatch):
    fsspec.register_implementation("counted", Counted, clobber=True)
    write(tmp_path / "t.parquet")
    memory.pipe("/t.parquet", (tmp_path / "t.parquet").read_bytes())

    def fails(self, start, end):
        raise RuntimeError("503, slow down")

    monkeypatch.setattr(CountedFile, "_fetch_range", fails)
    with pytest.raises(FileError, match=r"'counted://t\.parquet' cannot be read as Parquet: 503, slow down"):
        data.measure("counted://t.parquet")
