"""Data larger than memory: one Parquet file of 2 GB and 200 of 10 MB, beside polars, DuckDB and scikit-learn.

python benchmarks/large.py                     # every section: verifies, times, prints and writes RESULTS.md
python benchmarks/large.py --only ledger       # one of them
python benchmarks/large.py --size 100          # smaller data, in MB, and nothing is kept
python benchmarks/large.py --folder /data/tmp  # where the data go, and stay: the next run finds them there
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from statistics import median
from time import perf_counter

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from results import machine, table, write

COLUMNS = 50
FILES = 200
FULL = 2000  # MB of numbers
VERSIONS = ("numpy", "pyarrow", "polars", "duckdb", "scikit-learn")

# Each takes a list of paths and gives mean, standard deviation, least and greatest value of every column.
POLARS = """
import polars as pl
def work(paths):
    every = pl.all().cast(pl.Float64)
    asked = [every.mean().name.suffix(" mean"), every.std(ddof=0).name.suffix(" std"),
             every.min().name.suffix(" min"), every.max().name.suffix(" max")]
    found = pl.scan_parquet(paths).select(asked).collect(engine="streaming").row(0)
    return [found[i * len(found) // 4 : (i + 1) * len(found) // 4] for i in range(4)]
"""
DUCKDB = """
import duckdb
def work(paths):
    names = duckdb.read_parquet(paths).columns
    of = lambda function: ", ".join(f"{function}({name}::DOUBLE)" for name in names)
    asked = ", ".join(map(of, ("avg", "stddev_pop", "min", "max")))
    found = duckdb.sql(f"SELECT {asked} FROM read_parquet({paths})").fetchall()[0]
    return [found[i * len(names) : (i + 1) * len(names)] for i in range(4)]
"""
SKLEARN = """
import pyarrow.parquet as pq
from sklearn.preprocessing import StandardScaler
def work(paths):
    scaler = StandardScaler()
    for path in paths:
        for batch in pq.ParquetFile(path).iter_batches(100_000):
            scaler.partial_fit(batch.to_pandas().to_numpy())
    return [scaler.mean_, scaler.scale_]
"""
ARROW = """
import pyarrow.parquet as pq
def work(paths):
    for path in paths:
        for batch in pq.ParquetFile(path, pre_buffer=False, buffer_size=1 << 16).iter_batches(100_000):
            pass
    return []
"""
OURS = """
from gammabeta import data
def work(paths):
    found = data.measure(paths if len(paths) > 1 else paths[0])
    return [found.moments.mean, found.moments.std, found.extrema.min, found.extrema.max]
"""
RUN = """
import json, re, sys
from pathlib import Path
from time import perf_counter
paths = json.loads(sys.argv[1])
start = perf_counter()
found = work(paths)
taken = perf_counter() - start
status = Path("/proc/self/status")
peak = int(re.search(r"VmHWM:\\s*(\\d+)", status.read_text())[1]) // 1024 if status.exists() else 0
print(json.dumps({"seconds": taken, "peak": peak, "found": [list(map(float, part)) for part in found]}))
"""
PARTIES = {
    "`gammabeta.data.measure`: exact": OURS,
    "polars, streaming, cast to float64": POLARS,
    "DuckDB, cast to DOUBLE": DUCKDB,
    "iter_batches with scikit-learn's partial_fit": SKLEARN,
    "PyArrow reads, and computes nothing": ARROW,
}
ROUNDS = {party: 1 if code is SKLEARN else 3 for party, code in PARTIES.items()}  # it takes half a minute

LEDGER = """
import json, sys
from pathlib import Path
from time import perf_counter
from gammabeta import data
folder, stats, other = map(Path, sys.argv[1:])
data.measure(other)  # loads the kernels
def timed():
    start = perf_counter()
    found = data.update(folder, stats)
    return perf_counter() - start, found
full, _ = timed()
updates = []
for path in sorted(folder.iterdir())[:5]:
    content, before = other.read_bytes(), path.read_bytes()
    path.write_bytes(content)
    taken, found = timed()
    assert len(found.read) == 1
    updates.append(taken)
    path.write_bytes(before)
    data.update(folder, stats)
nothing, found = timed()
assert found.statistics == data.measure(folder)
print(json.dumps({"full": full, "one": updates, "none": nothing}))
"""
COMMAND = """
import sys
from gammabeta.cli import main
sys.argv[1:] = ["stats", {folder!r}, "-o", {stats!r}]
sys.exit(main())
"""


class Data:
    """The files, made where they are not yet: noise as PyArrow writes it, which nothing compresses."""

    def __init__(self, folder: Path, megabytes: int) -> None:
        self.rows = megabytes * 10**6 // (4 * COLUMNS)
        self.one = folder / "one.parquet"
        self.many = folder / "many"
        if not self.one.exists():
            rng = np.random.default_rng(0)
            step = min(self.rows, 1 << 20)
            with pq.ParquetWriter(self.one, self._table(rng, 1).schema) as writer:
                for start in range(0, self.rows, step):
                    writer.write_table(self._table(rng, min(step, self.rows - start)))
        self.many.mkdir(exist_ok=True)
        for i in range(FILES):
            if not (self.many / f"{i:03d}.parquet").exists():
                pq.write_table(self._table(np.random.default_rng(i), self.rows // FILES), self._part(i))

    def _part(self, i: int) -> Path:
        return self.many / f"{i:03d}.parquet"

    def _table(self, rng: np.random.Generator, rows: int) -> pa.Table:
        return pa.table({f"c{j}": rng.standard_normal(rows, np.float32) * (j + 1) + 10 * j for j in range(COLUMNS)})

    @property
    def parts(self) -> list[Path]:
        return [self._part(i) for i in range(FILES)]


def run(code: str, *arguments: str) -> tuple[dict[str, object], float]:
    """What a process says at its end, and the seconds from its start to its end."""
    start = perf_counter()
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1]), perf_counter() - start


def scan(made: Data) -> str:
    """The exact statistics of all columns beside those of others, of one file and of many."""
    texts = []
    for title, paths in (("One file", [made.one]), (f"{FILES} files", made.parts)):
        given = json.dumps(list(map(str, paths)))
        seconds: dict[str, float] = {}
        peaks: dict[str, int] = {}
        found = {}
        for turn in range(max(ROUNDS.values())):  # in turns, so that what else the machine does falls on all
            for party, code in PARTIES.items():
                if turn < ROUNDS[party]:
                    told, _ = run(code + RUN, given)
                    seconds[party] = min(seconds.get(party, np.inf), told["seconds"])
                    peaks[party] = max(peaks.get(party, 0), told["peak"])
                    found[party] = told["found"]
        verify(found)
        first = seconds[next(iter(PARTIES))]
        rows = [[party, f"{s:.2f}", f"{s / first:.2f}", f"{peaks[party]:,}"] for party, s in seconds.items()]
        texts.append(f"{title}:\n\n" + table(["mean, std, min, max", "seconds", "over ours", "peak MB"], rows))
    return "\n\n".join(texts)


def verify(found: dict[str, list[list[float]]]) -> None:
    """Others must be as near to the exact values as roundings in float64 let them be."""
    exact, *others = [parts for parts in found.values() if parts]
    for parts in others:
        # n roundings of 2⁻⁵³, n ≤ 1e7, on sums of squares that are up to 1 + mean²/std² ≤ 101 times the variance's
        for part, ours in zip(parts, exact, strict=False):
            np.testing.assert_allclose(part, ours, rtol=101 * 1e7 * 2**-53)


def ledger(made: Data) -> str:
    """What an update costs after one of the files has changed."""
    with tempfile.TemporaryDirectory() as folder:
        stats, other = str(Path(folder) / "stats.json"), Path(folder) / "other.parquet"
        pq.write_table(made._table(np.random.default_rng(10**6), made.rows // FILES), other)
        told, _ = run(LEDGER, str(made.many), stats, str(other))
        one = median(told["one"])
        command = COMMAND.format(folder=str(made.many), stats=stats)
        Path(folder, "stats.ledger").unlink()
        whole = timed(command)
        made.parts[0].touch()
        again = timed(command)
    rows = [
        ["all files", f"{told['full']:.3f}", "100 %", f"{whole:.2f}"],
        ["one of them has changed", f"{one:.3f}", f"{one / told['full']:.1%}", f"{again:.2f}"],
        ["none has", f"{told['none']:.3f}", f"{told['none'] / told['full']:.1%}", ""],
    ]
    header = [f"`data.update` of {FILES} files", "seconds", "of all", "`gammabeta stats`, start to end"]
    return table(header, rows)


def timed(command: str) -> float:
    """The seconds of a process from its start to its end."""
    start = perf_counter()
    subprocess.run([sys.executable, "-c", command], capture_output=True, check=True)
    return perf_counter() - start


SECTIONS: dict[str, tuple[str, Callable[[Data], str]]] = {
    "scan": ("Statistics of large data", scan),
    "ledger": ("A ledger", ledger),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=FULL, help="of the numbers in the one file, and in the many, in MB")
    parser.add_argument("--only", choices=SECTIONS, help="one section")
    parser.add_argument("--folder", type=Path, help="where the data go, and stay")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = (given.folder or Path(temporary)) / f"{given.size}MB"
        folder.mkdir(parents=True, exist_ok=True)
        made = Data(folder, given.size)
        about = (
            f"{made.rows:,} rows of float32 in {COLUMNS} columns, {given.size:,} MB, as one Parquet file and as "
            f"{FILES}; noise, as PyArrow writes it by default; warm cache; a process each, timed once it has imported "
            "what it needs; the best of 3, taken in turns (scikit-learn's once)."
        )
        for name in [given.only] if given.only else SECTIONS:
            title, section = SECTIONS[name]
            text = f"{about}\n\n{section(made)}\n\n{machine(*VERSIONS)}"
            if given.size == FULL:
                write(title, text)
            else:
                print(f"\n## {title}\n\n{text}")


if __name__ == "__main__":
    main()
