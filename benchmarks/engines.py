"""Mean and deviation of every column on Dask's threads and on local Spark, beside those engines' own and a plain copy.

python benchmarks/engines.py            # prints the table and writes RESULTS.md
python benchmarks/engines.py 200000     # so many rows, to see that it runs; writes nothing
"""

import os
import sys
import time
import warnings

import dask
import dask.array as da
import numpy as np
import pyarrow as pa
from results import gaussian, machine, table, write

import gammabeta as gb
from gammabeta.data import dask as exact

ROWS, COLUMNS, CHUNK = 4_000_000, 20, 250_000


def best(work, repeats: int = 3) -> float:
    """The shortest of some runs, in seconds."""
    work()
    taken = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        taken.append(time.perf_counter() - start)
    return min(taken)


def on_dask(x: np.ndarray) -> dict[str, float]:
    chunked = da.from_array(x, chunks=(CHUNK, COLUMNS))
    assert exact.moments(chunked) == gb.Moments.of(x)
    scaler = exact.StandardScaler().fit(chunked)
    assert np.array_equal(scaler.transform(chunked).compute(), gb.StandardScaler().fit_transform(x))
    return {
        "`Moments.of`, no engine": best(lambda: gb.Moments.of(x)),
        "`gammabeta.data.dask.moments`": best(lambda: exact.moments(chunked)),
        "Dask's own `mean` and `std`, accumulated in float32": best(
            lambda: dask.compute(chunked.mean(axis=0), chunked.std(axis=0))
        ),
        "… accumulated in float64": best(
            lambda: dask.compute(chunked.mean(axis=0, dtype=float), chunked.std(axis=0, dtype=float))
        ),
    }


def on_spark(x: np.ndarray) -> dict[str, float]:
    os.environ |= {"PYSPARK_PYTHON": sys.executable, "SPARK_LOCAL_IP": "127.0.0.1"}
    warnings.filterwarnings("ignore", "PySpark does not yet fully support pandas")
    from pyspark.sql import SparkSession, functions

    from gammabeta.data import spark

    options = {"spark.ui.enabled": "false", "spark.ui.showConsoleProgress": "false", "spark.driver.memory": "3g"}
    session = SparkSession.builder.master("local[2]").config(map=options).getOrCreate()
    session.sparkContext.setLogLevel("OFF")
    names = [f"c{i}" for i in range(x.shape[1])]
    df = session.createDataFrame(pa.table(dict(zip(names, x.T, strict=True)))).repartition(4).cache()
    df.count()
    assert spark.moments(df) == gb.Moments.of(x)
    own = [f(name) for name in names for f in (functions.avg, functions.stddev_pop)]
    found = {
        "`gammabeta.data.spark.measure`": best(lambda: spark.measure(df)),
        "Spark's own `avg` and `stddev_pop`": best(lambda: df.agg(*own).collect()),
    }
    session.stop()
    return found


def main(rows: int) -> None:
    x = gaussian(rows, COLUMNS, "float32")
    some = x[: rows // 8]
    taken = [(name, seconds, x.nbytes) for name, seconds in {"a plain copy": best(x.copy), **on_dask(x)}.items()]
    taken += [(name, seconds, some.nbytes) for name, seconds in on_spark(some).items()]
    lines = [[name, f"{seconds:.3f}", f"{size / seconds / 1e9:.3g}"] for name, seconds, size in taken]
    said = f"{rows:,} × {COLUMNS} float32 in chunks of {CHUNK:,} rows for Dask, an eighth of it, cached, for Spark."
    text = f"{machine('gammabeta', 'dask', 'pyspark', 'numpy')}\n\n{said}\n\n{table(['', 's', 'GB/s'], lines)}"
    if rows == ROWS:
        write("Engines", text)
    else:
        print(text)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else ROWS)
