"""The first pass: the exact statistics of a file's columns, or of a data set's."""

from collections.abc import Callable, Iterator, Sequence
from typing import TypeAlias

import numpy as np

from gammabeta.axes import Axis
from gammabeta.data.core import arrow_numpy
from gammabeta.data.core.arrow_numpy import Vector
from gammabeta.data.core.columns import selected
from gammabeta.data.core.source import Chunk, Column, Restart, Source
from gammabeta.data.core.statistics import Recipe, Statistics, listed
from gammabeta.data.dataset.discovery import data_set, is_data_set
from gammabeta.data.formats.array import ArraySource
from gammabeta.data.formats.registry import Data, opened
from gammabeta.data.io.parallel import Told, map_concurrently
from gammabeta.data.io.prefetch import ahead
from gammabeta.data.io.remote import Place
from gammabeta.data.passes.measure_array import of_features
from gammabeta.errors import DataError
from gammabeta.kernels import thread_pool
from gammabeta.statistics import Extrema, Moments
from gammabeta.statistics.concat import concat, of_columns

Input: TypeAlias = Data  # and what stands for several files
Progress = Callable[[int, int], None]  # bytes read, of how many
Both = tuple[Moments, Extrema]
Group = tuple[str, ...]
Totals = dict[Group, Both]

AT_ONCE = 4  # shares of a file's columns at most, on any number of processors: each takes some 30 MB


def quiet(done: int, size: int) -> None:
    """Report no progress."""


def measure(
    source: Input,
    columns: Sequence[str] | None = None,
    exclude: Sequence[str] | None = None,
    *,
    axis: Axis | None = None,
    recipe: Recipe | None = None,
    progress: Progress = quiet,
) -> Statistics:
    """The exact count, mean, variance, minimum and maximum of numeric columns of a file, or of many, in bounded memory.

    Args:
        source: a CSV, Parquet, Arrow IPC (Feather), `.npy` or `.npz` file, here or at an address; a Zarr array, a
            folder of images; a table, frame, lazy frame or query; an array; an iterable of chunks (docs/sources.md). Or
            several files of one format: a folder, a pattern such as "data/**/*.parquet", or a list of paths. Hive's
            partitions are no columns.
        columns: the columns to look at, names or patterns; without it every column of integers, floats or decimals.
        exclude: the columns to leave out, names or patterns.
        axis: of an array, the axes that are reduced, as in NumPy; the first without it. The columns are what is left.
        recipe: how the columns are to be scaled, kept with the statistics; standardization without it.
        progress: called with the bytes read so far and the bytes to read, 0 where they are not known.

    Columns are found by name, and must be of numbers in every file if they are in one, of whatever type.
    Missing values (nulls, NaN, empty cells) are left out, column by column. Decimals count as the nearest float64.

    Raises:
        FileError: the file cannot be read as what its name says.
        DataError: ±inf, an unknown column, no numeric column, files whose formats or columns differ.
        KindError: a column named in `columns` is not of numbers, or this is no kind of data.

    >>> import pyarrow as pa
    >>> found = measure(pa.table({"height": [1.5, None, 2.5], "name": ["a", "b", "c"]}))
    >>> found.names, found.moments.count, found.moments.mean
    (('height',), array([2.]), array([2.]))
    """
    if axis is None and is_data_set(source):
        from gammabeta.data.dataset.measure import measure_set

        return measure_set(data_set(source), columns, exclude, recipe, progress)
    source = opened(source, axis)
    while True:
        try:
            return measured(source, selected(source.columns, columns, exclude, source.path), recipe, progress)
        except Restart:
            continue


def measured(source: Source, columns: tuple[Column, ...], recipe: Recipe | None, progress: Progress) -> Statistics:
    """The statistics of some columns of numbers, one at least. Raises `Restart` where the source says so."""
    names = tuple(column.name for column in columns)
    if isinstance(source, ArraySource):
        return _measured_array(source, columns, recipe, progress)
    totals: Totals = {}
    rows = dict.fromkeys(names, 0)
    with source.unchanged():
        for part, found in _parts(source, names, progress):
            rows |= found
            for key, both in part.items():
                totals[key] = added(totals[key], both) if key in totals else both
    moments, extrema = in_order(totals, names)
    return Statistics(columns, rows[names[0]], moments, extrema, recipe or Recipe())


def _parts(source: Source, names: tuple[str, ...], progress: Progress) -> Iterator[tuple[Totals, dict[str, int]]]:
    """The totals of blocks of columns, and the rows of each column, of every share of the columns."""

    def share(group: tuple[str, ...], told: Told) -> tuple[Totals, dict[str, int]]:
        return _total(source, source.pieces(group), lambda done: told(done * len(group) // len(names)))

    alone = thread_pool.count() == 1
    shares = [] if alone else source.shares(names)
    if len(shares) <= 1:
        pieces = ahead(source.pieces(names), here=source.here or alone)
        yield _total(source, pieces, lambda done: progress(done, source.size))
        return
    sizes = [source.size * len(group) // len(names) for group in shares]
    for _, found in map_concurrently(share, shares, sizes, AT_ONCE, lambda done: progress(done, source.size)):
        yield found


def _total(source: Source, pieces: Iterator[tuple[Group, Chunk]], told: Told) -> tuple[Totals, dict[str, int]]:
    totals: Totals = {}
    rows: dict[str, int] = {}
    for group, piece in pieces:
        for name in group:
            rows[name] = rows.get(name, 0) + piece.rows
        both = of_columns(piece.columns(group))
        if both[0].infinities.any():
            _refuse_infinity(source.path, piece, group)
        totals[group] = added(totals[group], both) if group in totals else both
        told(piece.done)
    return totals, rows


def _measured_array(
    source: ArraySource, columns: tuple[Column, ...], recipe: Recipe | None, progress: Progress
) -> Statistics:
    rows, moments, extrema = of_features(source, progress)
    places = [source.place[column.name] for column in columns]
    index = np.unravel_index(places, source.features) if source.features else np.newaxis
    return Statistics(columns, rows, moments[index], extrema[index], recipe or Recipe())


def both_of(values: Vector) -> Both:
    """Moments and extrema of a block: of shape () for one column, (k,) for more."""
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    return Moments.of(values), Extrema.of(values)


def added(a: Both, b: Both) -> Both:
    """The statistics of two blocks of the same columns together."""
    return a[0] + b[0], a[1] + b[1]


def in_order(totals: dict[tuple[str, ...], Both], names: tuple[str, ...]) -> Both:
    """The totals of blocks as one of shape (k,), in the order of the names."""
    if list(totals) == [names] and len(names) > 1:
        return totals[names]
    met = [name for key in totals for name in key]
    if sorted(met) == sorted(names):
        moments, extrema = concat(list(totals.values()))
        place = {name: i for i, name in enumerate(met)}
        at = [place[name] for name in names]
        return moments[at], extrema[at]
    single: dict[str, Both] = dict.fromkeys(names, both_of(np.empty(0)))
    for key, (moments, extrema) in totals.items():
        for i, name in enumerate(key):
            part = (moments[i], extrema[i]) if len(key) > 1 else (moments, extrema)
            single[name] = added(single[name], part)
    return Moments.stack([m for m, _ in single.values()]), Extrema.stack([e for _, e in single.values()])


def _refuse_infinity(path: Place, piece: Chunk, names: Sequence[str]) -> None:
    for name in names:
        values = piece[name]
        at = arrow_numpy.first_infinity(values)
        if at >= 0:
            raise infinite(name, float(values[at]), piece.start + at, path)


def infinite(name: str, value: float, row: int, path: Place) -> DataError:
    """The error that says where an infinity is. row: from 0."""
    return DataError(
        f"values must be finite or missing, column {name!r} of {str(path)!r} holds {value} in row {row + 1} "
        "(the first row of data is 1); remove it or leave it empty"
    )


def moments(source: Input, columns: Sequence[str] | None = None, *, axis: Axis | None = None) -> Moments:
    """The exact moments of the numeric columns, or of those named: shape (k,), in the file's order. See `measure`.

    Those of an array are in the features' shape, as `Moments.of(array, axis)`, unless columns are named.

    >>> import pyarrow as pa
    >>> moments(pa.table({"a": [1.0, 3.0], "b": [10, 20]})).mean
    array([ 2., 15.])
    """
    if axis is not None or not is_data_set(source):
        source = opened(source, axis)
        if isinstance(source, ArraySource) and columns is None:
            return of_features(source, quiet)[1]
    return measure(source, columns).moments


def scan(source: Input, columns: Sequence[str] | None = None) -> Iterator[Chunk]:
    """The rows of a file, or of a data set's files, in order, in chunks that fit in memory.

    `chunk[name]` is a numeric column as a NumPy array of shape (rows,), float64 with NaN where integers are missing;
    `chunk.batch` is the whole chunk as an Arrow record batch; `chunk.start` the number of its first row, from 0.

    Raises: as `measure`, but infinities pass.

    >>> import pyarrow as pa
    >>> sum(Moments.of(chunk["a"]) for chunk in scan(pa.table({"a": [1.0, 3.0]}))).mean
    array(2.)
    """
    if is_data_set(source):
        from gammabeta.data.dataset.measure import scan_set

        yield from ahead(scan_set(data_set(source), columns))
        return
    source = opened(source)
    source.learn()
    names = None
    if columns is not None:
        known = [column.name for column in source.columns]
        for name in columns:
            if name not in known:
                raise DataError(f"there is no column {name!r} in {str(source.path)!r}; it has {listed(known)}")
        names = list(columns)
    with source.unchanged():
        yield from ahead(source.chunks(names), here=source.here)
