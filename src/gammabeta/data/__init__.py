"""Files of any size, scaled exactly: a first pass adds up a statistic, a second applies its affine map.

    from gammabeta import data

    data.moments("table.parquet").mean                       # every numeric column, in bounded memory
    data.scale("table.parquet", "scaled.parquet", stats="stats.json")
    data.apply("stats.json", "new.csv", "new-scaled.csv")    # columns are found by name
    data.invert("stats.json", "scaled.parquet", "back.parquet")

CSV, Parquet, Arrow IPC (Feather) and `.npy`. What `gammabeta` does on the command line is in these functions.
"""

from gammabeta.data.measure import extrema, measure, moments, scan
from gammabeta.data.preview import Preview, preview
from gammabeta.data.source import Chunk, Column
from gammabeta.data.state import Recipe, Statistics
from gammabeta.data.store import gather, load, save
from gammabeta.data.transform import Written, apply, invert, scale

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
