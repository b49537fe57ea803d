"""The scalers on data frames, sparse matrices and weights, beside scikit-learn's in the same run.

python benchmarks/frames.py               # verifies, times, prints the table and writes RESULTS.md
python benchmarks/frames.py --quick       # a tenth of the columns, and nothing is kept
"""

import argparse
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
from results import gaussian, least, machine, table, write
from scipy import sparse
from sklearn import preprocessing as sk

import gammabeta as gb

Case = tuple[str, int, Callable[[Any], Callable[[], Any]]]  # what, how many runs, and the work of a library
COLUMNS = 200  # nullable ones: the time of each is told too
TYPES = ("Int64", "Float64", "boolean", "int64[pyarrow]", "double[pyarrow]")


def matrix(rows: int, columns: int) -> tuple[Any, np.ndarray]:
    """A CSR matrix of which 1 % is stored, and weights for its rows."""
    random = np.random.default_rng(0)
    return sparse.random(rows, columns, 0.01, "csr", random_state=random), random.random(rows)


def cases(part: int) -> Iterator[Case]:
    """Each case; of wide data one `part`-th of the columns."""
    x = gaussian(100, 5_000 // part, "float64")
    names = [f"c{i}" for i in range(x.shape[1])]
    for library, frame in (("pandas", pd.DataFrame(x, columns=names)), ("polars", pl.DataFrame(x, schema=names))):
        yield f"fit, {library} {x.shape}", 30, lambda of, frame=frame: lambda: of.StandardScaler().fit(frame)
    tall = pd.DataFrame(gaussian(200, 30, "float64"), columns=names[:30])
    row = tall.iloc[:1]

    def transform(of: Any) -> Callable[[], Any]:
        scaler = of.StandardScaler().fit(tall)
        return lambda: scaler.transform(row)

    yield "transform, pandas (1, 30)", 500, transform
    for rows, columns, weighted in ((20_000, 2_000, True), (20_000, 2_000, False), (2_000, 200_000 // part, False)):
        m, weights = matrix(rows, columns)
        given = weights if weighted else None
        yield (
            f"fit, CSR ({rows}, {columns}), 1 %{', weighted' * weighted}",
            10,
            lambda of, m=m, given=given: lambda: of.StandardScaler(with_mean=False).fit(m, sample_weight=given),
        )
    dense = gaussian(100_000, 30, "float64")
    weights = np.random.default_rng(1).random(len(dense))
    yield (
        f"fit, array {dense.shape}, weighted",
        10,
        lambda of: lambda: of.StandardScaler().fit(dense, sample_weight=weights),
    )
    yield from nullable(COLUMNS // part)


def nullable(columns: int) -> Iterator[Case]:
    """Columns of pandas' own types and of Arrow's, with and without nulls."""
    numbers = pd.DataFrame(np.random.default_rng(2).integers(0, 2, (100, columns)))
    for dtype in TYPES:
        for nulls in (False, True):
            frame = numbers.set_axis([f"c{i}" for i in range(columns)], axis=1).astype(dtype)
            frame.iloc[3] = None if nulls else frame.iloc[4]
            name = f"{columns} columns {dtype}{', nulls' * nulls}"
            yield f"fit, {name}", 5, lambda of, frame=frame: lambda: of.MinMaxScaler().fit(frame)

            def transform(of: Any, frame: Any = frame) -> Callable[[], Any]:
                scaler = of.MinMaxScaler().fit(frame)
                return lambda: scaler.transform(frame)

            yield f"transform, {name}", 5, transform


def verified(ours: Any, theirs: Any) -> None:
    """The same numbers: scikit-learn's own rounding, over at most 100,000 rows of size 100, is allowed."""
    if isinstance(ours, np.ndarray):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-10)
        return
    np.testing.assert_allclose(ours.scale_, theirs.scale_, rtol=1e-9)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true", help="a tenth of the columns, and nothing is kept")
    quick, rows = parser.parse_args().quick, []
    for name, runs, work in cases(10 if quick else 1):
        calls = work(gb), work(sk)
        verified(*(call() for call in calls))
        ours, theirs = least(runs, *calls)
        count = int(name.split(", ")[1].split(" columns")[0]) if " columns " in name else None
        each = f"{1e3 * ours / count:.0f}" if count else ""
        rows.append([name, f"{ours:.3g}", f"{theirs:.3g}", f"{ours / theirs:.2f}", each])
    head = ["", "gammabeta ms", "scikit-learn ms", "of scikit-learn's time", "µs a column"]
    text = table(head, rows)
    print(text)
    if not quick:
        of = machine("gammabeta", "scikit-learn", "pandas", "polars", "scipy", "numpy")
        write("Frames, sparse matrices and weights", f"{of} The least of 5 runs or more, in turn.\n\n{text}")


if __name__ == "__main__":
    main()
