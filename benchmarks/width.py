"""Files of many columns and few rows, beside pandas' own reading.

python benchmarks/width.py                # verifies, times, prints the table and writes RESULTS.md
python benchmarks/width.py --small        # a tenth of the columns, and nothing is kept
"""

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path
from time import process_time
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from results import machine, table, write

from gammabeta import data

ROWS = 20
COLUMNS = {"csv": (1_000, 2_000, 4_000, 8_000), "parquet": (5_000, 20_000, 50_000), "npy": (5_000, 20_000, 50_000)}
PEERS: dict[str, Callable[[Path], Any]] = {"csv": pd.read_csv, "parquet": pd.read_parquet, "npy": np.load}


def best(work: Callable[[], Any]) -> float:
    """The least processor time of three, in seconds."""
    taken = []
    for _ in range(3):
        start = process_time()
        work()
        taken.append(process_time() - start)
    return min(taken)


def put(path: Path, values: np.ndarray) -> None:
    names = [f"c{i}" for i in range(values.shape[1])]
    if path.suffix == ".csv":
        pd.DataFrame(values, columns=names).to_csv(path, index=False)
    elif path.suffix == ".parquet":
        pq.write_table(pa.table(dict(zip(names, values.T, strict=True))), path)
    else:
        np.save(path, values)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--small", action="store_true", help="a tenth of the columns, and nothing is kept")
    small, rows = parser.parse_args().small, []
    with tempfile.TemporaryDirectory() as folder:
        for form, widths in COLUMNS.items():
            for width in (n // 10 if small else n for n in widths):
                values = np.random.default_rng(width).normal(size=(ROWS, width))
                path = Path(folder, f"{width}.{form}")
                put(path, values)
                np.testing.assert_allclose(data.measure(path).moments.mean, values.mean(axis=0), rtol=1e-9, atol=1e-12)
                ours, theirs = best(lambda: data.measure(path)), best(lambda: PEERS[form](path))  # noqa: B023
                rows.append([f"{form}, {width:,}", f"{ours:.2f}", f"{theirs:.3f}", f"{ours / width * 1e6:.0f}"])
    text = table(["format, columns", "`data.measure`, s", "pandas or NumPy reads, s", "µs a column"], rows)
    print(text)
    if not small:
        write("Files of many columns", f"{machine('pandas', 'pyarrow', 'numpy')} {ROWS} rows, CPU seconds.\n\n{text}")


if __name__ == "__main__":
    main()
