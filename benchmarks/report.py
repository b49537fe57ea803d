"""`gammabeta report` on a Parquet file of 1 GB, beside PyArrow reading it once.

python benchmarks/report.py                 # verifies, times, prints the table and writes RESULTS.md
python benchmarks/report.py --size 100      # a smaller file, in MB, and nothing is kept
"""

import argparse
import json
import re
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

COLUMNS = 25
ROUNDS = 5

READ = """
import pyarrow.parquet as pq
for batch in pq.ParquetFile({source!r}, pre_buffer=False).iter_batches():
    pass
"""
COMMAND = "import sys; sys.argv[1:] = {arguments}; from gammabeta.cli import main; status = main()"
PEAK = """
from pathlib import Path
status = Path("/proc/self/status")
print(status.read_text().split("VmHWM:")[1].split()[0] if status.exists() else 0)
"""
PARTIES = {
    "PyArrow: `iter_batches`, `pre_buffer=False`": READ,
    "PyArrow: `iter_batches`": READ.replace(", pre_buffer=False", ""),
    "`gammabeta stats`": COMMAND.replace("{arguments}", "['stats', {source!r}]"),
    "`gammabeta report`": COMMAND.replace("{arguments}", "['report', {source!r}, '-o', {out!r}]"),
    "`gammabeta report` of the file against itself": COMMAND.replace(
        "{arguments}", "['report', {source!r}, {source!r}, '-o', {out!r}]"
    ),
}


def make(path: Path, megabytes: int) -> None:
    """A Parquet file of noise as PyArrow writes it: what does not compress is the hardest to keep up with."""
    rows = megabytes * 10**6 // (4 * COLUMNS)
    rng = np.random.default_rng(0)
    columns = {f"c{i}": rng.standard_normal(rows, np.float32) * (i + 1) + 10 * i for i in range(COLUMNS)}
    pq.write_table(pa.table(columns), path)


def run(party: str, source: Path, out: Path) -> tuple[float, int]:
    """Seconds that a process takes from its start to its end, and its peak of resident memory in MB."""
    code = PARTIES[party].format(source=str(source), out=str(out)) + PEAK
    start = perf_counter()
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return perf_counter() - start, int(result.stdout.split()[-1]) // 1024


def verify(source: Path, out: Path) -> None:
    """The page's numbers must be the exact ones, its counts NumPy's, and its quantiles within what it says of them."""
    text = re.search('<script type="application/json" id="data">(.*?)</script>', out.read_text("utf-8"))
    assert text
    columns = json.loads(text[1])["columns"]
    found = data.measure(source)
    assert [column["mean"] for column in columns] == found.moments.mean.tolist()
    for column in (columns[0], columns[-1]):
        x = np.sort(pq.read_table(source, columns=[column["name"]])[column["name"]].to_numpy()).astype(np.float64)
        assert sum(column["histogram"]["counts"]) == len(x)
        for q, value in zip((0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99), column["quantiles"], strict=True):
            assert abs(x[int(q * len(x))] - value) <= column["quantile_error"]
        z = (x - x.mean()) / x.std()
        np.testing.assert_allclose(
            [column["skewness"], column["kurtosis"]], [(z**3).mean(), (z**4).mean() - 3], atol=1e-9
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=1000, help="of the numbers in the file, in MB")
    size = parser.parse_args().size
    with tempfile.TemporaryDirectory() as folder:
        source, out = Path(folder) / "in.parquet", Path(folder) / "out.html"
        make(source, size)
        run("`gammabeta report`", source, out)
        verify(source, out)
        times: dict[str, list[float]] = {party: [] for party in PARTIES}
        peaks = dict.fromkeys(PARTIES, 0)
        for _ in range(ROUNDS):
            for party in PARTIES:  # in turns, so that what else the machine does falls on all
                taken, peak = run(party, source, out)
                times[party].append(taken)
                peaks[party] = max(peaks[party], peak)
    reference = min(times[next(iter(PARTIES))])
    rows = [
        [party, f"{min(taken):.2f}", f"{min(taken) / reference:.2f}", f"{peaks[party]:,}"]
        for party, taken in times.items()
    ]
    shown = table(["a process, from start to end", "seconds", "over the first", "peak MB"], rows)
    text = (
        f"A Parquet file of {size:,} MB of float32 in {COLUMNS} columns, snappy, as `pyarrow.parquet.write_table` "
        f"makes it; the best of {ROUNDS}, taken in turns, warm cache. The script that draws the charts is in the "
        f"user's cache: making it takes 1.3 s once.\n\n{shown}\n\n{machine('numpy', 'pyarrow')}"
    )
    if size == 1000:
        write("A report", text)
    else:
        print(re.sub(r"\n\n+", "\n\n", text))


if __name__ == "__main__":
    main()
