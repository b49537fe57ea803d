"""Tables whose pages are tested, with names that try to get out of the page; and the page of a table, written."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from sklearn.datasets import load_breast_cancer

from gammabeta import report

HOSTILE = [
    "</script><script>window.hacked=1</script>",
    '<img src=x onerror="window.hacked=2">',
    "<!--<script>window.hacked=3",
    "\"'><svg onload=window.hacked=4>",
    "{{ 7 * 7 }} {% raw %} ${window.hacked=5} `",
    "javascript:window.hacked=6",
    "datum.hacked; window.hacked=7",
    "\u2028\u2029\x00\n\u202eright to left",
    "long " * 400,
    "__proto__",
    "",
]


def cancer() -> pa.Table:
    found = load_breast_cancer()
    columns = {str(name): found.data[:, i] for i, name in enumerate(found.feature_names)}
    return pa.table(columns | {"diagnosis": [str(found.target_names[i]) for i in found.target]})


def hostile() -> pa.Table:
    rng = np.random.default_rng(0)
    columns = {name: rng.normal(size=500) for name in HOSTILE}
    columns[HOSTILE[0]] = np.full(500, 0.1)
    columns |= {
        "infinite": np.concatenate([rng.normal(size=499), [np.inf]]),
        "outlier": np.concatenate([rng.normal(size=499), [1e30]]),
        "tiny": rng.normal(size=500) * 1e-310,
        "huge": rng.normal(size=500) * 1e300,
        "altitude": 8000 + rng.normal(size=500),
        "empty": np.full(500, np.nan),
        "dice": rng.integers(1, 7, 500),
        "row": np.arange(500),
    }
    return pa.table(columns | {"<b>words</b>": ["<script>window.hacked=8</script>"] * 500})


def written(folder: Path, table: pa.Table, against: pa.Table | None = None, name: str = "t") -> Path:
    pq.write_table(table, folder / f"{name}.parquet")
    if against is not None:
        pq.write_table(against, folder / f"{name}-2.parquet")
    report.write(
        folder / f"{name}.parquet",
        folder / f"{name}.html",
        against=None if against is None else folder / f"{name}-2.parquet",
    )
    return folder / f"{name}.html"
