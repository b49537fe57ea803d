"""Files of any size, scaled exactly: a first pass adds up a statistic, a second applies its affine map.

    from gammabeta import data

    data.moments("table.parquet").mean                       # every numeric column, in bounded memory
    data.scale("table.parquet", "scaled.parquet", stats="stats.json")
    data.apply("stats.json", "new.csv", "new-scaled.csv")    # columns are found by name
    data.invert("stats.json", "scaled.parquet", "back.parquet")
    data.scale("folder", "scaled")                           # many files, by the statistics of all
    data.update("events.json", "events/")                    # many files: only new and changed ones are read again

CSV, Parquet, Arrow IPC (Feather), `.npy` and `.npz`, here or elsewhere; Zarr arrays, folders of images, frames,
queries, loaders and whatever comes in chunks (docs/sources.md). What `gammabeta` does on the command line is in these
functions. `gammabeta.data.dask` and `gammabeta.data.spark` do the same where those engines hold the data.
"""

from importlib import import_module

from gammabeta.data.api import (
    apply,
    extrema,
    gather,
    gather_groups,
    invert,
    measure,
    measure_by,
    moments,
    preview,
    scale,
    scan,
    update,
)
from gammabeta.data.core.read_options import ReadOptions
from gammabeta.data.core.results import Files, Updated, Variables, Written
from gammabeta.data.core.source import Chunk, Column
from gammabeta.data.core.statistics import Ranges, Recipe, Statistics
from gammabeta.data.core.statistics_io import load, save
from gammabeta.data.dataset.discovery import DataSet, Part, data_set
from gammabeta.data.formats.geotiff import geotiff
from gammabeta.data.formats.images import images
from gammabeta.data.formats.iterables import batches
from gammabeta.data.formats.npz import npz
from gammabeta.data.formats.xarray import to_xarray
from gammabeta.data.formats.zarr import zarr
from gammabeta.data.passes.groupby import GroupStatistics, load_groups, save_groups
from gammabeta.data.passes.preview import Preview

__all__ = [
    "Chunk",
    "Column",
    "DataSet",
    "Files",
    "GroupStatistics",
    "Part",
    "Preview",
    "Ranges",
    "ReadOptions",
    "Recipe",
    "Statistics",
    "Updated",
    "Variables",
    "Written",
    "apply",
    "batches",
    "data_set",
    "extrema",
    "gather",
    "gather_groups",
    "geotiff",
    "images",
    "invert",
    "load",
    "load_groups",
    "measure",
    "measure_by",
    "moments",
    "npz",
    "preview",
    "save",
    "save_groups",
    "scale",
    "scan",
    "to_xarray",
    "update",
    "zarr",
]


def __getattr__(name: str) -> object:
    if name in ("dask", "spark"):
        return import_module(f"gammabeta.data.{name}")
    raise AttributeError(f"module 'gammabeta.data' has no attribute {name!r}")
