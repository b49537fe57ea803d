"""CSV files that are small and unpack to more than anybody has: one clear error, in bounded memory."""

import bz2
import gzip
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest

from gammabeta import data
from gammabeta.data.formats import csv, npy
from gammabeta.errors import FileError

MEASURED = """
import sys
from pathlib import Path
from gammabeta.cli import main
status = main(["stats", sys.argv[1]])
known = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
most = int(known["VmHWM"].split()[0]) << 10  # ru_maxrss begins with the parent's
print(status, most)
"""


def packed(suffix, parts):
    if suffix == ".zst":
        found = pa.BufferOutputStream()
        with pa.CompressedOutputStream(found, "zstd") as stream:
            for part in parts:
                stream.write(part)
        return found.getvalue().to_pybytes()
    packer = bz2.BZ2Compressor(1) if suffix == ".bz2" else gzip.zlib.compressobj(1, wbits=31)
    return b"".join([packer.compress(part) for part in parts]) + packer.flush()


@pytest.mark.skipif(sys.platform != "linux", reason="there is no /proc")
@pytest.mark.parametrize("suffix", [".gz", ".bz2", ".zst"])
@pytest.mark.parametrize(
    ("first", "told"),
    [
        (
            b"",
            "must name the columns in fewer than 16,777,216 characters, it goes on; is it a CSV file, and is each",
        ),
        (b"a,b\n1,2\n", "a row must be of fewer than 67,108,864 bytes, one goes on; is there a quote that nothing"),
    ],
)
def test_a_line_of_300_megabytes(tmp_path, suffix, first, told):
    path = tmp_path / f"x.csv{suffix}"
    path.write_bytes(packed(suffix, [first, *[b"a" * 2**20] * 300]))
    assert path.stat().st_size < 2**21
    done = subprocess.run([sys.executable, "-c", MEASURED, path], capture_output=True, text=True, timeout=300)
    status, most = map(int, done.stdout.split())
    assert status == 2 and told in done.stderr and done.stderr.count("\n") == 1
    assert most < (1 << 29 if not first else 3 << 29)  # a bare run takes 200 MB


def test_a_header_of_many_lines(tmp_path, monkeypatch):
    monkeypatch.setattr(csv, "LARGEST_HEADER", 100)
    (tmp_path / "x.csv").write_text('"' + "a\n" * 30 + '",b\n1,2\n')
    assert data.measure(tmp_path / "x.csv").names[1] == "b"
    (tmp_path / "x.csv").write_text('"' + "a\n" * 60 + '",b\n1,2\n')
    with pytest.raises(FileError, match="in fewer than 100 characters"):
        data.measure(tmp_path / "x.csv")


def test_a_name_that_is_longer_than_names_are(tmp_path):
    (tmp_path / "x.csv").write_text("a" * 200_000 + ",b\n1,2\n")
    with pytest.raises(FileError, match=r"must name the columns: field larger than field limit"):
        data.measure(tmp_path / "x.csv")


def test_columns_are_counted(tmp_path, monkeypatch):
    monkeypatch.setattr(csv, "MAX_COLUMNS", 3)
    (tmp_path / "x.csv").write_text("a,b,c\n1,2,3\n")
    assert data.measure(tmp_path / "x.csv").rows == 1
    (tmp_path / "x.csv").write_text("a,b,c,d\n1,2,3,4\n")
    with pytest.raises(FileError, match=r"must have at most 3 columns, .* has 4; write Parquet, or an array in .npy"):
        data.measure(tmp_path / "x.csv")


def test_the_bounds_that_the_documentation_names():
    told = (Path(__file__).parents[3] / "docs/sources.md").read_text("utf-8")
    bounds = (csv.LARGEST_HEADER, csv.LARGEST_BLOCK, csv.MAX_COLUMNS, npy.FEATURES, npy.FEATURES_OF_NOTHING)
    for bound in bounds:
        assert f"{bound:,}" in told
