"""The registry of formats: finds the source for data of any kind, and the sink for an output's name."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import pyarrow as pa

from gammabeta.axes import Axis
from gammabeta.backends import masked
from gammabeta.backends.ann_data import is_ann_data
from gammabeta.backends.named_dims import Dim, is_data_array, is_dataset, is_tree, reduced_axes
from gammabeta.data.core.read_options import PLAIN, ReadOptions
from gammabeta.data.core.sink import Sink
from gammabeta.data.core.source import Source
from gammabeta.data.formats.array import ArraySource, as_array, is_array
from gammabeta.data.formats.array_like import array_like, is_array_like, is_sparse, refuse_group
from gammabeta.data.formats.csv import CsvSink, CsvSource
from gammabeta.data.formats.flat import FlatSource, flat
from gammabeta.data.formats.geotiff import geotiff, is_geotiff
from gammabeta.data.formats.hdf5 import hdf5_at, is_hdf5
from gammabeta.data.formats.images import holds_images, images
from gammabeta.data.formats.ipc import ArrowSink, ArrowSource
from gammabeta.data.formats.iterables import batches
from gammabeta.data.formats.npy import NpySink, NpySource
from gammabeta.data.formats.npz import npz_at
from gammabeta.data.formats.parquet import ParquetSink, ParquetSource
from gammabeta.data.formats.record_batches import table_of
from gammabeta.data.formats.samples import is_map_style
from gammabeta.data.formats.sliced_array import GridSource
from gammabeta.data.formats.table import TableSource
from gammabeta.data.formats.xarray import DataArraySource, one_array
from gammabeta.data.formats.zarr import is_store, is_zarr, within_store, zarr, zarr_at
from gammabeta.data.io.paths import KNOWN, existing, kind_of, state_of
from gammabeta.data.io.remote import Place, Remote, located
from gammabeta.errors import DataError, FileError, KindError

Data: TypeAlias = Any  # whatever `open_source` knows: a type for each would need every library


def open_source(
    source: Data,
    axis: Axis | None = None,
    dim: Dim | None = None,
    read: ReadOptions | None = None,
    weights: Any = None,
) -> Source:
    """The source for data of any kind.

    axis: the axes of an array that are reduced; dim: a DataArray's, by name; read: how a file is read; weights:
    of a DataArray, by name.

    Raises:
        DataError: there are an axis and a dimension, or no such dimension; weights that do not go with the array.
        FileError: there is no such file, its extension is not known, or it is not what it says.
        KindError: it is no kind of data that is known, there is an axis and no array, or options of CSV and no CSV.
    """
    found = source if isinstance(source, Source) else _source_of(source, read or PLAIN)
    if not isinstance(found, ArraySource | CsvSource | FlatSource):
        found = flat(found, read.flatten if read else ())
    elif read is not None and not isinstance(found, FlatSource):
        _refuse_of_tables(read, found)
    if read is not None and found.read == PLAIN:
        found.read = read
    if read is not None and not isinstance(found, CsvSource) and read.of_csv():
        raise KindError(f"{', '.join(read.of_csv())} go with CSV files, {str(found.path)!r} is none; leave them out")
    if weights is not None:
        if not isinstance(found, DataArraySource):
            raise KindError(f"weights go with an xarray DataArray or Dataset, got {type(source).__name__}")
        found = found.weighted(weights)
    if dim is not None:
        if axis is not None or not isinstance(found, DataArraySource):
            got = (
                f"axis={axis!r} too" if axis is not None else f"{type(source).__name__}, whose dimensions have no names"
            )
            raise DataError(f"dim names dimensions of an xarray DataArray, in the place of axis, got {got}")
        return found.over(reduced_axes(found, dim))
    if axis is None:
        return found
    if not isinstance(found, ArraySource):
        raise KindError(f"axis goes with arrays, {str(found.path)!r} is a table, of which the rows are reduced")
    return found.over(axis)


def _refuse_of_tables(read: ReadOptions, found: Source) -> None:
    """Refuse the options of tables for an array, and that of lists for CSV."""
    given = [name for name in ("flatten", "infinite", "weights") if getattr(read, name) != getattr(PLAIN, name)]
    for name in given:
        if isinstance(found, ArraySource) or name == "flatten":
            what = "tables that have columns of lists" if name == "flatten" else "tables"
            raise KindError(f"{name} goes with {what}, {str(found.path)!r} is none; leave it out")


def kept_options(read: ReadOptions, source: Any) -> ReadOptions:
    """Options that statistics keep, as far as they go with another source: those of CSV with CSV alone."""
    if not isinstance(source, str | Path | Remote):
        return read.beyond_csv()
    try:
        return read if kind_of(located(source)).format == "csv" else read.beyond_csv()
    except FileError:  # the name does not say it, so the options must
        return read


def _source_of(source: Any, read: ReadOptions) -> Source:
    if isinstance(source, str | Path | Remote):
        return _source_at(located(source), read)
    if isinstance(source, pa.Table):
        return TableSource(source, "table")
    if is_array(source):
        return GridSource(as_array(source), Path(type(source).__name__))
    if is_data_array(source):
        return DataArraySource(masked.read(source))
    if is_dataset(source):
        return DataArraySource(masked.read(one_array(source)))
    if is_tree(source):
        raise KindError("data must be of one node of a DataTree, got the tree; pass tree[name].to_dataset()")
    if is_zarr(source):
        return zarr(source)
    found = table_of(_as_arrow(source))
    if found is not None:
        return found
    source = source.X if is_ann_data(source) else source
    refuse_group(source)
    if is_array_like(source) or is_sparse(source):
        return array_like(source)
    if (isinstance(source, Iterable) or is_map_style(source)) and not isinstance(source, bytes | Mapping):
        return batches(source)
    raise KindError(
        "data must be a file, an array, a table, something that speaks Arrow or an iterable of chunks, "
        f"got {type(source).__name__}"
    )


def _as_arrow(x: Any) -> Any:
    """A column of pandas' as what speaks Arrow; all else as it is."""
    if hasattr(x, "__arrow_array__"):
        return pa.array(x)
    return x.to_frame() if hasattr(x, "to_frame") and not hasattr(x, "__arrow_c_stream__") else x


def _source_at(path: Place, read: ReadOptions) -> Source:
    path = within_store(path)
    if is_store(path):
        return zarr_at(path)
    if is_hdf5(path):
        return hdf5_at(path)
    if isinstance(path, Path) and is_geotiff(path):
        return geotiff(path)
    if isinstance(path, Path) and path.is_dir() and holds_images(path):
        return images(path)
    form = read.format or kind_of(existing(path)).format
    existing(path)
    if isinstance(path, Path) and not path.is_file():
        raise FileError(
            f"data are read more than once, and {str(path)!r} can be read once: it is a pipe or a device; "
            "write them to a file first"
        )
    state = state_of(path)
    found = _source_of_file(path, form, read)
    found.state, found.read = state, read
    return found


def _source_of_file(path: Place, form: str, read: ReadOptions) -> Source:
    if form == "parquet":
        return ParquetSource(path)
    if form == "arrow":
        return ArrowSource(path)
    if form == "npy":
        return NpySource(path)
    if form == "npz":
        return npz_at(path)
    if form == "csv":
        return CsvSource(path, read)
    raise FileError(f"a data file is needed, {str(path)!r} is named as statistics are; data ends in {KNOWN}")


def check_output(target: Path, source: Source) -> None:
    """Refuse, before any work, an output whose name has no known format, or one that cannot hold the source.

    Raises:
        FileError: the extension is not known.
        KindError: an array would have to become a table, or a table an array.
    """
    form = _output_format(target, source)
    if form == "statistics":
        raise FileError(f"the scaled data cannot go to {str(target)!r}: its name must end in {KNOWN}")
    if form == "npz":
        raise FileError(
            f"the scaled data cannot go to {str(target)!r}: no .npz is written, choose .npy or a table's format"
        )
    one_array = isinstance(source, ArraySource)
    if one_array and source.rows is None:
        raise KindError(
            f"{str(source.path)!r} can be measured, and not be scaled: there is no file for the result to be"
        )
    if (form == "npy") != one_array:
        kind = "one array" if one_array else "a table"
        raise KindError(f"{str(source.path)!r} holds {kind} and cannot become {str(target)!r}; keep to its extension")


def _output_format(target: Path, source: Source) -> str:
    """The format of an output by its name, or that of the source where both are named alike and neither says it."""
    try:
        return kind_of(target).format
    except FileError:
        if source.read.format is None or target.suffix != source.path.suffix:
            raise
        return source.read.format


def sink_for(temporary: Path, target: Path, schema: pa.Schema, source: Source, scaled: Sequence[str]) -> Sink:
    """The sink that writes a file of `target`'s format, at the path `temporary`."""
    form = _output_format(target, source)
    if isinstance(source, FlatSource):
        schema, scaled, source = source.nested_schema(schema), source.tops(scaled), source.inner
    if form == "parquet":
        return ParquetSink(temporary, schema, source, scaled)
    if form == "arrow":
        return ArrowSink(temporary, schema, source, target)
    if form == "npy" and isinstance(source, ArraySource):
        return NpySink(temporary, source)
    return CsvSink(temporary, schema, source, target)
