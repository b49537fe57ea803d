"""`gammabeta scale` on a Parquet file of 1 GB, beside PyArrow reading it twice and writing it once.

python benchmarks/files.py                 # verifies, times, prints the table and writes RESULTS.md
python benchmarks/files.py --size 100      # a smaller file, in MB, and nothing is kept
"""

import argparse
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

COLUMNS = 50
ROUNDS = 3

OURS = "import sys; from gammabeta.cli import main; sys.argv[1:] = {arguments}; status = main()"
SCALE = OURS.replace("{arguments}", "['scale', {source!r}, '-o', {out!r}]")
STATS = OURS.replace("{arguments}", "['stats', {source!r}]")
ARROW = """
import pyarrow.parquet as pq
for _ in range(2):
    table = None
    table = pq.read_table({source!r})
pq.write_table(table, {out!r}{options})
"""
SKLEARN = """
import pyarrow as pa, pyarrow.parquet as pq
from sklearn.preprocessing import StandardScaler
scaler, file = StandardScaler(copy=False), pq.ParquetFile({source!r})
for batch in file.iter_batches(100_000):
    scaler.partial_fit(batch.to_pandas().to_numpy())
with pq.ParquetWriter({out!r}, file.schema_arrow) as writer:
    for batch in file.iter_batches(100_000):
        scaled = scaler.transform(batch.to_pandas().to_numpy())
        writer.write_batch(pa.RecordBatch.from_arrays(list(scaled.T), schema=file.schema_arrow))
"""
PEAK = """
from pathlib import Path
status = Path("/proc/self/status")
print(status.read_text().split("VmHWM:")[1].split()[0] if status.exists() else 0)
"""

PARTIES = {
    "PyArrow: read, read, write without dictionaries": ARROW.replace("{options}", ", use_dictionary=False"),
    "PyArrow: read, read, write as it does by default": ARROW.replace("{options}", ""),
    "iter_batches with scikit-learn's partial_fit and transform": SKLEARN,
    "`gammabeta scale`": SCALE,
    "`gammabeta stats` (the first pass alone)": STATS,
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
    """The output must be what NumPy makes of a column in float64, within float32's rounding."""
    for name in ("c0", f"c{COLUMNS - 1}"):
        x = pq.read_table(source, columns=[name])[name].to_numpy().astype(np.float64)
        y = pq.read_table(out, columns=[name])[name].to_numpy()
        assert y.dtype == np.float32
        np.testing.assert_allclose(y, (x - x.mean()) / x.std(), rtol=2e-7, atol=1e-9)
    assert np.abs(data.moments(out).mean).max() < 1e-6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=1000, help="of the numbers in the file, in MB")
    size = parser.parse_args().size
    with tempfile.TemporaryDirectory() as folder:
        source, out = Path(folder) / "in.parquet", Path(folder) / "out.parquet"
        make(source, size)
        run("`gammabeta scale`", source, out)
        verify(source, out)
        times: dict[str, list[float]] = {party: [] for party in PARTIES}
        peaks = dict.fromkeys(PARTIES, 0)
        for _ in range(ROUNDS):
            for party in PARTIES:  # in turns, so that what else the machine does falls on all
                taken, peak = run(party, source, out)
                times[party].append(taken)
                peaks[party] = max(peaks[party], peak)
                out.unlink(missing_ok=True)
    reference = min(times[next(iter(PARTIES))])
    rows = [
        [party, f"{min(taken):.2f}", f"{min(taken) / reference:.2f}", f"{peaks[party]:,}"]
        for party, taken in times.items()
    ]
    shown = table(["a process, from start to end", "seconds", "over the first", "peak MB"], rows)
    text = (
        f"A Parquet file of {size:,} MB of float32 in {COLUMNS} columns, snappy, as `pyarrow.parquet.write_table` "
        f"makes it; the best of {ROUNDS}, taken in turns, warm cache. PyArrow computes nothing; gammabeta scales "
        f"by exact statistics.\n\n{shown}\n\n{machine('numpy', 'pyarrow', 'scikit-learn')}"
    )
    if size == 1000:
        write("A Parquet file", text)
    else:
        print(re.sub(r"\n\n+", "\n\n", text))


if __name__ == "__main__":
    main()
