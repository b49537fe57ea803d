"""Files of any size, scaled exactly: a first pass adds up a statistic, a second applies its affine map.

    from gammabeta import data

    data.moments("table.parquet").mean                       # every numeric column, in bounded memory
    data.scale("table.parquet", "scaled.parquet", stats="stats.json")
    data.apply("stats.json", "new.csv", "new-scaled.csv")    # columns are found by name
    data.invert("stats.json", "scaled.parquet", "back.parquet")
    data.update("events/", "events.json")                    # many files: only new and changed ones are read again

CSV, Parquet, Arrow IPC (Feather) and `.npy`. What `gammabeta` does on the command line is in these functions.
"""

from gammabeta.data.dataset import DataSet, Part, data_set
from gammabeta.data.first_pass import extrema, measure, moments, scan
from gammabeta.data.ledger import Updated, update
from gammabeta.data.look import Preview, preview
from gammabeta.data.second_pass import Written, apply, invert, scale
from gammabeta.data.source import Chunk, Column
from gammabeta.data.state import Recipe, Statistics
from gammabeta.data.store import gather, load, save

__all__ = [
    "Chunk",
    "Column",
    "DataSet",
    "Part",
    "Preview",
    "Recipe",
    "Statistics",
    "Updated",
    "Written",
    "apply",
    "data_set",
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
    "update",
]
