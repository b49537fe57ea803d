"""`gammabeta scale` on a folder of Parquet files, beside PyArrow reading and writing them; min-max from footers.

python benchmarks/folder.py                         # 200 files of 10 MB, one of 2 GB; writes RESULTS.md
python benchmarks/folder.py --files 20 --size 100   # smaller: so many files, one file of so many MB; nothing is kept
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from time import perf_counter

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from results import machine, table, write

from gammabeta import data

COLUMNS = 50
MEGABYTES = 10  # of numbers in each of many files
ROUNDS = 2
FOOTERS = 20  # times that footers are read

ARROW = """
import sys
from pathlib import Path
import pyarrow.parquet as pq
for path in Path({source!r}).glob("*.parquet"):
    pq.write_table(pq.read_table(path), Path({out!r}) / path.name{options})
"""
OURS = """
import sys
sys.argv = ["gammabeta", {verb}, {source!r}, "-o", {out!r}{options}]
from gammabeta.cli import main
main()
"""
PEAK = """
from pathlib import Path
status = Path("/proc/self/status")
print(status.read_text().split("VmHWM:")[1].split()[0] if status.exists() else 0)
"""

SCALE = OURS.replace("{verb}", "'scale'")
PARTIES = {
    "PyArrow: read, write as it does by default": ARROW.replace("{options}", ""),
    "PyArrow: read, write without dictionaries": ARROW.replace("{options}", ", use_dictionary=False"),
    "`gammabeta scale`": SCALE.replace("{options}", ""),
    "`gammabeta scale`, all of it done already": SCALE.replace("{options}", ""),
    "`gammabeta scale --method minmax`, by footers": SCALE.replace("{options}", ", '--method', 'minmax'"),
}
AGAIN = list(PARTIES)[3]


def noise(rows: int, seed: int) -> pa.Table:
    """What does not compress is the hardest to keep up with."""
    rng = np.random.default_rng(seed)
    return pa.table({f"c{i}": rng.standard_normal(rows, np.float32) * (i + 1) + 10 * i for i in range(COLUMNS)})


def make(folder: Path, files: int) -> None:
    """Files as a writer makes them that knows numbers which do not repeat."""
    for i in range(files):
        found = noise(MEGABYTES * 10**6 // (4 * COLUMNS), i)
        pq.write_table(found, folder / f"{i:03}.parquet", use_dictionary=False)


def run(party: str, source: Path, out: Path) -> tuple[float, int]:
    """Seconds that a process takes from its start to its end, and its peak of resident memory in MB."""
    code = PARTIES[party].format(source=str(source), out=str(out)) + PEAK
    start = perf_counter()
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return perf_counter() - start, int(result.stdout.split()[-1]) // 1024


def verify(source: Path, out: Path) -> None:
    """The outputs must be what NumPy makes of a column of all files in float64, within float32's rounding."""
    for name in ("c0", f"c{COLUMNS - 1}"):
        x, y = (
            np.concatenate(
                [pq.read_table(path, columns=[name])[name].to_numpy() for path in sorted(f.glob("*.parquet"))]
            )
            for f in (source, out)
        )
        wide = x.astype(np.float64)
        assert y.dtype == np.float32
        np.testing.assert_allclose(y, (wide - wide.mean()) / wide.std(), rtol=2e-7, atol=1e-9)


def folders(root: Path, files: int) -> str:
    """The table about many files."""
    source, out = root / "in", root / "out"
    source.mkdir()
    out.mkdir()
    make(source, files)
    run("`gammabeta scale`", source, out)
    verify(source, out)
    times: dict[str, list[float]] = {party: [] for party in PARTIES}
    peaks = dict.fromkeys(PARTIES, 0)
    for _ in range(ROUNDS):
        for party in PARTIES:  # in turns, so that what else the machine does falls on all
            if party != AGAIN:
                shutil.rmtree(out)
                out.mkdir()
            os.sync()  # nobody waits for what another has left to be written
            taken, peak = run(party, source, out)
            times[party].append(taken)
            peaks[party] = max(peaks[party], peak)
    first, second = (min(times[party]) for party in list(PARTIES)[:2])
    rows = [
        [party, f"{min(taken):.2f}", f"{min(taken) / first:.2f}", f"{min(taken) / second:.2f}", f"{peaks[party]:,}"]
        for party, taken in times.items()
    ]
    header = ["a process, from start to end", "seconds", "over the first", "over the second", "peak MB"]
    return table(header, rows)


def footers(root: Path, size: int) -> str:
    """How long it takes to learn the extrema of one large file."""
    path = root / "large.parquet"
    rows = size * 10**6 // (4 * COLUMNS)
    with pq.ParquetWriter(path, noise(1, 0).schema, use_dictionary=False) as writer:
        for i in range(0, rows, 2**20):
            writer.write_table(noise(min(2**20, rows - i), i))
    found, start = data.extrema(path), perf_counter()
    for _ in range(FOOTERS):
        data.extrema(path)
    by_footers = (perf_counter() - start) / FOOTERS
    start = perf_counter()
    read = data.extrema(path, footers=False)
    by_reading = perf_counter() - start
    assert (found.min == read.min).all() and (found.max == read.max).all()
    return (
        f"The extrema of one file of {size:,} MB of float32 in {COLUMNS} columns, {rows:,} rows: "
        f"{by_footers * 1e3:.1f} ms by its footer (the mean of {FOOTERS}), {by_reading:.2f} s by reading it "
        "(once, with the moments)."
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=200, help=f"of {MEGABYTES} MB of numbers each")
    parser.add_argument("--size", type=int, default=2000, help="of the numbers in the one large file, in MB")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        shown = folders(Path(folder), given.files)
        shutil.rmtree(Path(folder) / "in")
        shutil.rmtree(Path(folder) / "out")
        told = footers(Path(folder), given.size)
    text = (
        f"{given.files} Parquet files of {MEGABYTES} MB of float32 in {COLUMNS} columns, snappy, no dictionaries; the "
        f"best of {ROUNDS}, taken in turns, warm cache. PyArrow reads and writes once and computes nothing; gammabeta "
        "reads twice, first for the exact statistics of all files.\n\n"
        f"{shown}\n\n{told}\n\n{machine('numpy', 'pyarrow')}"
    )
    if (given.files, given.size) == (200, 2000):
        write("A folder of Parquet files", text)
    else:
        print(text)


if __name__ == "__main__":
    main()
