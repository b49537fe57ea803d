"""The least and greatest values alone: from the footers of Parquet files, where those can be believed."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from gammabeta.axes import Axis
from gammabeta.data.core.columns import selected
from gammabeta.data.core.source import Column, Source
from gammabeta.data.core.statistics import Ranges, Recipe, Statistics
from gammabeta.data.dataset.discovery import DataSet, data_set, is_data_set
from gammabeta.data.dataset.file_statistics import taken
from gammabeta.data.dataset.schema import SchemaCheck
from gammabeta.data.formats.array import ArraySource
from gammabeta.data.formats.registry import opened
from gammabeta.data.passes.measure import Input, Progress, measure, measured, quiet
from gammabeta.data.passes.measure_array import of_features
from gammabeta.errors import FileError
from gammabeta.statistics import Extrema


def extrema(
    source: Input, columns: Sequence[str] | None = None, *, axis: Axis | None = None, footers: bool = True
) -> Extrema:
    """The least and greatest values of the numeric columns, or of those named: shape (k,), in the file's order.

    Those of an array are in the features' shape, as `Extrema.of(array, axis)`, unless columns are named.

    Args:
        source, columns, axis: as for `measure`.
        footers: go by the footers of Parquet files, and read those columns alone for which they say nothing that can be
            believed. They do not say how many values are NaN: the count of a column of floats is then NaN, not known.

    >>> import pyarrow as pa
    >>> extrema(pa.table({"a": [1.0, 3.0], "b": [10, 20]})).max
    array([ 3., 20.])
    """
    if axis is not None or not is_data_set(source):
        source = opened(source, axis)
        if isinstance(source, ArraySource) and columns is None:
            return of_features(source, quiet)[2]
    return (ranges(source, columns) if footers else measure(source, columns)).extrema


def ranges(
    source: Input,
    columns: Sequence[str] | None = None,
    exclude: Sequence[str] | None = None,
    *,
    recipe: Recipe | None = None,
    progress: Progress = quiet,
) -> Statistics | Ranges:
    """What min-max scaling goes by: from the files' own word where they have one, from their values where not.

    Args, errors: as for `measure`. All statistics come back if all columns had to be read.
    """
    if is_data_set(source):
        found = data_set(source)
        if found.format == "parquet":
            return ranges_of_set(found, columns, exclude, recipe, None)
        return measure(found, columns, exclude, recipe=recipe, progress=progress)
    source = opened(source)
    chosen = selected(source.columns, columns, exclude, source.path)
    stated = source.stated([column.name for column in chosen])
    if not stated:
        return measure(source, columns, exclude, recipe=recipe, progress=progress)
    known = _completed(stated, source, chosen, progress)
    return Ranges(chosen, source.rows or 0, Extrema.stack(list(known.values())), recipe or Recipe("minmax"))


def ranges_of_set(
    found: DataSet,
    columns: Sequence[str] | None,
    exclude: Sequence[str] | None,
    recipe: Recipe | None,
    bad: dict[str, str] | None,
) -> Ranges:
    """The ranges of a data set of Parquet files. bad: where the reasons go why files cannot be read, if that may be."""
    agreement, rows = SchemaCheck(columns, exclude), 0
    total: dict[str, Extrema] = {}
    for place, part in enumerate(found.parts):
        try:
            source = opened(part.path)
            chosen = taken(source.columns, columns, exclude, part.path)
            known = _completed(source.stated([column.name for column in chosen]), source, chosen, quiet)
        except FileError as error:
            if bad is None:
                raise
            bad[part.name] = str(error)
            continue
        agreement.look(place, part.path, source.columns)
        rows += source.rows or 0
        for name, extrema in known.items():
            total[name] = total[name] + extrema if name in total else extrema
    if bad and len(bad) == len(found.parts):
        raise none_good(bad)
    chosen = selected(agreement.together(), columns, exclude, Path(found.where))
    none = Extrema.of(np.empty(0))
    return Ranges(chosen, rows, Extrema.stack([total.get(c.name, none) for c in chosen]), recipe or Recipe("minmax"))


def none_good(bad: dict[str, str]) -> FileError:
    """The error that no file of a data set can be read. bad: why, by name."""
    return FileError(f"one file at least must be fit to be read, none of {len(bad)} is: {bad[min(bad)]}")


def _completed(
    stated: dict[str, Extrema], source: Source, columns: Sequence[Column], progress: Progress
) -> dict[str, Extrema]:
    """Each column's extrema, in that order: as the file states them, or from its values."""
    unstated = tuple(column for column in columns if column.name not in stated)
    read = measured(source, unstated, None, progress).extrema if unstated else None
    found = stated | {column.name: read[i] for i, column in enumerate(unstated) if read is not None}
    return {column.name: found[column.name] for column in columns}
