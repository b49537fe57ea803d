"""Files larger than the memory they may take: resident memory stays under 500 MB, whatever the file's layout."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

pytestmark = pytest.mark.slow

LIMIT = 500  # MB, resident, with the interpreter, NumPy and Arrow
SIZE = 600_000_000  # bytes of numbers

TOLD = """
import re, sys
from pathlib import Path
print(re.search(r"VmHWM:\\s*(\\d+)", Path("/proc/self/status").read_text())[1], file=sys.stderr)
"""
SCALE = """
import sys
from gammabeta.cli import main
assert main(["scale", *sys.argv[1:]]) == 0
"""


def peak(*arguments: object, code: str = SCALE + TOLD) -> int:
    """The most resident memory, in MB, that a program takes: `gammabeta scale`.

    Of files that are not in the system's cache, as those larger than memory are not: what was just written lies there
    in pages of up to 2 MB, each of which counts whole once a byte of it is mapped.
    """
    for path in arguments:
        if isinstance(path, Path) and path.exists():
            with path.open("rb") as file:
                os.fsync(file.fileno())
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    command = [sys.executable, "-c", code, *map(str, arguments)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert result.returncode == 0, result.stderr
    return int(result.stderr.split()[-1]) // 1024


@pytest.fixture(autouse=True)
def _told_by_proc():
    if not Path("/proc/self/status").exists():
        pytest.skip("the peak of a process is read from /proc, which this system lacks")


def parquet(path: Path, columns: int, group: int | None, **options: object) -> Path:
    """A Parquet file of `SIZE` bytes of noise, row group by row group."""
    rows = SIZE // 4 // columns
    rng = np.random.default_rng(0)
    table = pa.table({f"c{i}": rng.standard_normal(rows, np.float32) for i in range(columns)})
    pq.write_table(table, path, row_group_size=group or rows, **options)
    return path


@pytest.mark.parametrize(
    ("columns", "group"),
    [
        pytest.param(50, 1 << 20, id="row groups", marks=pytest.mark.long),
        pytest.param(50, None, id="one row group"),
        pytest.param(1, None, id="one column", marks=pytest.mark.long),
        pytest.param(2000, None, id="wide, one row group"),
        pytest.param(2000, 5000, id="wide, row groups", marks=pytest.mark.long),
    ],
)
def test_parquet(tmp_path, columns, group):
    source = parquet(tmp_path / "in.parquet", columns, group)
    assert source.stat().st_size > LIMIT * 2**20
    assert peak(source, "-o", tmp_path / "out.parquet") < LIMIT
    assert (tmp_path / "out.parquet").stat().st_size > LIMIT * 2**20


@pytest.mark.parametrize(
    "group",
    [pytest.param(1 << 20, id="row groups", marks=pytest.mark.long), pytest.param(None, id="one row group")],
)
def test_a_dataset(tmp_path, group):
    """Statistics of what Arrow reads: it decodes row groups whole, and would keep of a file all that it has read."""
    parquet(tmp_path / "in.parquet", 50, group)
    code = """
import sys
import pyarrow.dataset
from gammabeta import data
data.measure(pyarrow.dataset.dataset(sys.argv[1]))
"""
    assert peak(tmp_path / "in.parquet", code=code + TOLD) < LIMIT


@pytest.mark.parametrize(
    "batch", [pytest.param(1 << 16, id="batches", marks=pytest.mark.long), pytest.param(None, id="one batch")]
)
def test_arrow(tmp_path, batch):
    rng = np.random.default_rng(0)
    table = pa.table({f"c{i}": rng.standard_normal(SIZE // 400, np.float32) for i in range(100)})
    with pa.ipc.new_file(tmp_path / "in.arrow", table.schema) as writer:
        writer.write_table(table, batch)
    del table
    assert peak(tmp_path / "in.arrow", "-o", tmp_path / "out.arrow") < LIMIT


@pytest.mark.parametrize("order", [pytest.param("C", marks=pytest.mark.long), "F"])
def test_npy(tmp_path, order):
    shape = (SIZE // 400, 100)
    x = np.lib.format.open_memmap(tmp_path / "in.npy", "w+", np.float32, shape, fortran_order=order == "F")
    x[:] = np.random.default_rng(0).standard_normal(shape, np.float32)
    del x
    assert peak(tmp_path / "in.npy", "-o", tmp_path / "out.npy") < LIMIT


@pytest.mark.parametrize("name", ["in.csv", "in.csv.gz"])
def test_csv(tmp_path, name):
    line = ",".join(f"{value:.6f}" for value in np.random.default_rng(0).standard_normal(20)) + ",word\n"
    block = line.encode() * 10_000
    with pa.output_stream(tmp_path / name) as stream:
        stream.write((",".join(f"c{i}" for i in range(20)) + ",word\n").encode())
        for _ in range(int(SIZE / len(block))):
            stream.write(block)
    assert peak(tmp_path / name, "-o", tmp_path / "out.csv") < LIMIT


def test_strings_that_a_dictionary_hides(tmp_path):
    rows = 300_000
    words = pa.array(["long text " * 400, "other text " * 400])
    pick = pa.array(np.arange(rows) % 2)
    table = pa.table({"x": np.arange(float(rows)), "s": pa.DictionaryArray.from_arrays(pick, words)})
    pq.write_table(table, tmp_path / "in.parquet", store_schema=False)  # 1.2 GB of text once it is decoded
    assert peak(tmp_path / "in.parquet", "-o", tmp_path / "out.parquet") < LIMIT
