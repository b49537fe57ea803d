"""The least and greatest values alone: from the footer of a Parquet file, where it can be believed."""

from collections.abc import Sequence

from gammabeta.data.core.columns import selected
from gammabeta.data.core.options import ProgressFn, ignore_progress
from gammabeta.data.core.source import Column, Source
from gammabeta.data.core.statistics import Ranges, Recipe, Statistics
from gammabeta.data.formats.array import ArraySource
from gammabeta.data.passes.measure import measure_source, measured
from gammabeta.data.passes.measure_array import of_features
from gammabeta.statistics import Extrema


def source_extrema(source: Source, columns: Sequence[str] | None, footers: bool) -> Extrema:
    """The extrema of an open source: shape (k,), or the features' shape of an array of which no columns are named."""
    if isinstance(source, ArraySource) and columns is None:
        return of_features(source, ignore_progress)[2]
    return (ranges(source, columns) if footers else measure_source(source, columns)).extrema


def ranges(
    source: Source,
    columns: Sequence[str] | None = None,
    exclude: Sequence[str] | None = None,
    recipe: Recipe | None = None,
    progress: ProgressFn = ignore_progress,
) -> Statistics | Ranges:
    """What min-max scaling needs: extrema from the file's footer where it states them, else from the values.

    Arguments and errors are those of `gammabeta.data.measure`. All statistics come back if all columns had to be read.
    """
    chosen = selected(source.measurable(), columns, exclude, source.path)
    weighted = source.read.weights is not None  # rows of a weight of 0 are not looked at
    from_footer = {} if weighted else source.footer_minmax([column.name for column in chosen])
    if not from_footer:
        return measure_source(source, columns, exclude, recipe, progress)
    known = completed(from_footer, source, chosen, progress)
    return Ranges(chosen, source.rows or 0, Extrema.stack(list(known.values())), recipe or Recipe("minmax"))


def completed(
    from_footer: dict[str, Extrema], source: Source, columns: Sequence[Column], progress: ProgressFn
) -> dict[str, Extrema]:
    """Each column's extrema, in that order: as the file states them, or from its values."""
    others = tuple(column for column in columns if column.name not in from_footer)
    read = measured(source, others, None, progress).extrema if others else None
    found = from_footer | {column.name: read[i] for i, column in enumerate(others) if read is not None}
    return {column.name: found[column.name] for column in columns}
