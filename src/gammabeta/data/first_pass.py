"""The first pass: the exact statistics of a file's columns."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from gammabeta.data import vectors
from gammabeta.data.ahead import ahead
from gammabeta.data.select import selected
from gammabeta.data.source import Chunk, Column, Restart, Source
from gammabeta.data.sources import opened
from gammabeta.data.state import Ranges, Recipe, Statistics, listed
from gammabeta.data.vectors import Vector
from gammabeta.errors import DataError
from gammabeta.statistics import Extrema, Moments

Progress = Callable[[int, int], None]  # bytes read, of how many
Both = tuple[Moments, Extrema]


def quiet(done: int, size: int) -> None:
    """Report no progress."""


def measure(
    source: Source | pa.Table | str | Path,
    columns: Sequence[str] | None = None,
    exclude: Sequence[str] | None = None,
    *,
    recipe: Recipe | None = None,
    progress: Progress = quiet,
) -> Statistics:
    """The exact count, mean, variance, minimum and maximum of a file's numeric columns, in bounded memory.

    Args:
        source: a CSV, Parquet, Arrow IPC (Feather) or `.npy` file, or an Arrow table.
        columns: the columns to look at, names or patterns; without it every column of integers, floats or decimals.
        exclude: the columns to leave out, names or patterns.
        recipe: how the columns are to be scaled, kept with the statistics; standardization without it.
        progress: called with the bytes read so far and the size of the file.

    Missing values (nulls, NaN, empty cells) are left out, column by column. Decimals count as the nearest float64.

    Raises:
        FileError: the file cannot be read as what its name says.
        DataError: ±inf, an unknown column, no numeric column.
        KindError: a column named in `columns` is not of numbers.

    >>> import pyarrow as pa
    >>> found = measure(pa.table({"height": [1.5, None, 2.5], "name": ["a", "b", "c"]}))
    >>> found.names, found.moments.count, found.moments.mean
    (('height',), array([2.]), array([2.]))
    """
    source = opened(source)
    while True:
        try:
            return _measured(source, selected(source.columns, columns, exclude, source.path), recipe, progress)
        except Restart:
            continue


def _measured(source: Source, columns: tuple[Column, ...], recipe: Recipe | None, progress: Progress) -> Statistics:
    names = tuple(column.name for column in columns)
    totals: dict[tuple[str, ...], Both] = {}
    rows = dict.fromkeys(names, 0)
    for group, piece in ahead(source.pieces(names)):
        for name in group:
            rows[name] += piece.rows
        for at, values in piece.present(group):
            both = both_of(values)
            if both[0].infinities.any():
                _refuse_infinity(source.path, piece, group)
            key = tuple(group[i] for i in at)
            totals[key] = added(totals[key], both) if key in totals else both
        progress(piece.done, source.size)
    moments, extrema = in_order(totals, names)
    return Statistics(columns, rows[names[0]], moments, extrema, recipe or Recipe())


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
    single: dict[str, Both] = dict.fromkeys(names, both_of(np.empty(0)))
    for key, (moments, extrema) in totals.items():
        for i, name in enumerate(key):
            part = (moments[i], extrema[i]) if len(key) > 1 else (moments, extrema)
            single[name] = added(single[name], part)
    return Moments.stack([m for m, _ in single.values()]), Extrema.stack([e for _, e in single.values()])


def _refuse_infinity(path: Path, piece: Chunk, names: Sequence[str]) -> None:
    for name in names:
        values = piece[name]
        at = vectors.first_infinity(values)
        if at >= 0:
            raise infinite(name, float(values[at]), piece.start + at, path)


def infinite(name: str, value: float, row: int, path: Path) -> DataError:
    """The error that says where an infinity is. row: from 0."""
    return DataError(
        f"values must be finite or missing, column {name!r} of {str(path)!r} holds {value} in row {row + 1} "
        "(the first row of data is 1); remove it or leave it empty"
    )


def moments(source: Source | pa.Table | str | Path, columns: Sequence[str] | None = None) -> Moments:
    """The exact moments of a file's numeric columns, or of those named: shape (k,), in the file's order. See `measure`.

    >>> import pyarrow as pa
    >>> moments(pa.table({"a": [1.0, 3.0], "b": [10, 20]})).mean
    array([ 2., 15.])
    """
    return measure(source, columns).moments


def extrema(
    source: Source | pa.Table | str | Path, columns: Sequence[str] | None = None, *, footers: bool = True
) -> Extrema:
    """The least and greatest values of a file's numeric columns, or of those named: shape (k,). See `measure`.

    Args:
        source, columns: as for `measure`.
        footers: go by the footer of a Parquet file, and read those columns alone for which it says nothing that can be
            believed. It does not say how many values are NaN: the count of a column of floats is then NaN, not known.

    >>> import pyarrow as pa
    >>> extrema(pa.table({"a": [1.0, 3.0], "b": [10, 20]})).max
    array([ 3., 20.])
    """
    return (ranges(source, columns) if footers else measure(source, columns)).extrema


def ranges(
    source: Source | pa.Table | str | Path,
    columns: Sequence[str] | None = None,
    exclude: Sequence[str] | None = None,
    *,
    recipe: Recipe | None = None,
    progress: Progress = quiet,
) -> Statistics | Ranges:
    """What min-max scaling goes by: from the file's own word where it has one, from its values where not.

    Args, errors: as for `measure`. All statistics come back if all columns had to be read.
    """
    source = opened(source)
    chosen = selected(source.columns, columns, exclude, source.path)
    stated = source.stated([column.name for column in chosen])
    if not stated:
        return measure(source, columns, exclude, recipe=recipe, progress=progress)
    unstated = [column.name for column in chosen if column.name not in stated]
    if unstated:
        read = measure(source, unstated, progress=progress).extrema
        stated |= {name: read[i] for i, name in enumerate(unstated)}
    found = Extrema.stack([stated[column.name] for column in chosen])
    return Ranges(chosen, source.rows or 0, found, recipe or Recipe("minmax"))


def scan(source: Source | pa.Table | str | Path, columns: Sequence[str] | None = None) -> Iterator[Chunk]:
    """The rows of a file in order, in chunks that fit in memory.

    `chunk[name]` is a numeric column as a NumPy array of shape (rows,), float64 with NaN where integers are missing;
    `chunk.batch` is the whole chunk as an Arrow record batch; `chunk.start` the number of its first row, from 0.

    Raises: as `measure`, but infinities pass.

    >>> import pyarrow as pa
    >>> sum(Moments.of(chunk["a"]) for chunk in scan(pa.table({"a": [1.0, 3.0]}))).mean
    array(2.)
    """
    source = opened(source)
    source.learn()
    names = None
    if columns is not None:
        known = [column.name for column in source.columns]
        for name in columns:
            if name not in known:
                raise DataError(f"there is no column {name!r} in {str(source.path)!r}; it has {listed(known)}")
        names = list(columns)
    yield from ahead(source.chunks(names))
