"""Files of any size, scaled exactly: a first pass adds up a statistic, a second applies its affine map.

    from gammabeta import data

    data.moments("table.parquet").mean                       # every numeric column, in bounded memory
    data.scale("table.parquet", "scaled.parquet", stats="stats.json")
    data.apply("stats.json", "new.csv", "new-scaled.csv")    # columns are found by name
    data.invert("stats.json", "scaled.parquet", "back.parquet")

CSV, Parquet, Arrow IPC (Feather) and `.npy`. What `gammabeta` does on the command line is in these functions.
`gammabeta.data.dask` and `gammabeta.data.spark` do the same where those engines hold the data.
"""

from importlib import import_module

from gammabeta.data.first_pass import extrema, measure, moments, scan
from gammabeta.data.look import Preview, preview
from gammabeta.data.second_pass import Written, apply, invert, scale
from gammabeta.data.source import Chunk, Column
from gammabeta.data.state import Recipe, Statistics
from gammabeta.data.store import gather, load, save

__all__ = [
    "Chunk",
    "Column",
    "Preview",
    "Recipe",
    "Statistics",
    "Written",
    "apply",
    "extrema",
    "gather",
    "invert",
    "load",
    "measure",
    "moments",
    "preview",
    "save",
    "scale",
    "scan",
]


def __getattr__(name: str) -> object:
    if name in ("dask", "spark"):
        return import_module(f"gammabeta.data.{name}")
    raise AttributeError(f"module 'gammabeta.data' has no attribute {name!r}")
