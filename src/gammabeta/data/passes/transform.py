"""The second pass: one source is read again and written with its columns scaled."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gammabeta.affine import Affine
from gammabeta.data.core import arrow_numpy
from gammabeta.data.core.infinities import infinity_error, row_place
from gammabeta.data.core.options import ProgressFn
from gammabeta.data.core.results import Written
from gammabeta.data.core.sink import scaled_schema
from gammabeta.data.core.source import Chunk, Column, Restart, Scaling, Source
from gammabeta.data.core.statistics import Ranges, Statistics, listed
from gammabeta.data.formats.registry import check_output, sink_for
from gammabeta.data.io.paths import replacing
from gammabeta.data.io.prefetch import prefetch
from gammabeta.data.io.remote import Place
from gammabeta.errors import DataError, KindError
from gammabeta.kernels import thread_pool

PlacesFn = Callable[[Chunk], NDArray[np.intp]]  # the place of each row's map


def map_source(source: Source, known: Statistics, affine: Affine, out: Path, progress: ProgressFn) -> Written:
    """Write an open source with the columns of `known` mapped. Errors are those of `gammabeta.data.apply`."""
    check_output(out, source)
    with replacing(out) as temporary:
        return write_mapped(source, known, affine, temporary, out, progress)


def write_mapped(
    source: Source,
    known: Statistics | Ranges,
    affine: Affine,
    temporary: Path,
    out: Path,
    progress: ProgressFn,
    places: PlacesFn | None = None,
) -> Written:
    """Write the file `out`, at the path `temporary`, with the columns of `known` mapped. places: as for `write`."""
    while True:
        _check_columns(known, source)
        try:
            return write(source, known, affine, temporary, out, progress, places)
        except Restart:
            continue


def _check_columns(known: Statistics | Ranges, source: Source) -> None:
    """Refuse a source that lacks a column of `known`, or where one is no longer numeric."""
    by_name = {column.name: column for column in source.columns}
    missing = [name for name in known.names if name not in by_name]
    if missing and not source.read.union:
        raise DataError(
            f"every column that has statistics must be in {str(source.path)!r}, {listed(missing)} not; "
            "choose columns with: gammabeta stats S.json --exclude NAME -o T.json"
        )
    for column in known.columns:
        now = by_name.get(column.name, column)
        if now.skip_reason not in ("", "empty", "the index"):
            raise KindError(
                f"column {now.name!r} must be of numbers as it was ({column.type}), "
                f"in {str(source.path)!r} it is {now.type}"
            )


def write(
    source: Source,
    known: Statistics | Ranges,
    affine: Affine,
    temporary: Path,
    out: Path,
    progress: ProgressFn,
    places: PlacesFn | None = None,
) -> Written:
    """Write the file. places: of which of several maps each row of a chunk takes its own; the map is then (maps, k)."""
    by_name = {column.name: column for column in source.columns}
    source.scratch = out.resolve().parent
    # a CSV column without one value has no type, and nothing to scale; one of a union may not be there
    at = [i for i, name in enumerate(known.names) if name in by_name and by_name[name].skip_reason != "empty"]
    names = tuple(known.names[i] for i in at)
    schema = scaled_schema(source.schema, names)
    scaling = Scaling(names, affine if len(at) == len(known.names) else affine[..., at], schema)
    sink = sink_for(temporary, out, schema, source, names)
    rows = 0
    try:
        with source.unchanged():
            for chunk in prefetch(
                _scaled(source, scaling, places), in_caller_thread=source.in_caller_thread or thread_pool.count() == 1
            ):
                sink.write(chunk)
                rows += chunk.rows
                progress(chunk.done, source.size)
        sink.close()
    except BaseException:
        with suppress(Exception):
            sink.abort()
        raise
    return Written(out, rows, known, *unscaled(source, names))


def unscaled(source: Source, names: Sequence[str]) -> tuple[tuple[Column, ...], tuple[Column, ...]]:
    """The columns of `names` that become float64, and the columns that are not in `names`."""
    chosen = set(names)
    floats = {field.name for field in source.schema if arrow_numpy.scaled_type(field.type) == field.type}
    to_float = chosen - floats
    converted = tuple(column for column in source.columns if column.name in to_float)
    return converted, source.left_out(chosen)


def _scaled(source: Source, scaling: Scaling, places: PlacesFn | None) -> Iterator[Chunk]:
    unknown = np.isnan(scaling.affine.center)
    for chunk in prefetch(source.chunks(), in_caller_thread=source.in_caller_thread or thread_pool.count() == 1):
        own = scaling
        if places is not None:
            own = Scaling(scaling.names, scaling.affine[places(chunk)], scaling.schema)
        if unknown.any():
            _refuse_unknown(source.path, chunk, own)
        yield image(chunk, own, source.path, omit=source.read.infinite == "omit")


def _refuse_unknown(path: Place, chunk: Chunk, scaling: Scaling) -> None:
    """Raise for the first value whose column, or whose group in it, has statistics of no value: it would become NaN."""
    for i, name in enumerate(scaling.names):
        values, unknown = chunk[name], np.isnan(scaling.affine.center[..., i])
        found = np.flatnonzero(~np.isnan(values) & unknown) if unknown.any() else np.empty(0, int)
        if len(found):
            at = int(found[0])
            raise DataError(
                f"values are scaled by statistics of at least one value, those of column {name!r} are of none, and "
                f"{str(path)!r} has {values[at]} in {row_place(chunk.row_of(name, at))}; leave the column out, or "
                "measure data, groups and weights in which it counts"
            )


def image(chunk: Chunk, scaling: Scaling, path: Place, omit: bool = False) -> Chunk:
    """A copy of the chunk with its columns scaled. DataError for an infinite value, unless `omit`, or result."""
    result = chunk.scaled(scaling)
    for name in scaling.names:
        if result.suspect:
            _refuse_infinity(path, chunk, result, name, omit)
    return result


def _refuse_infinity(path: Place, before: Chunk, after: Chunk, name: str, omit: bool) -> None:
    values, results = before[name], after[name]
    at = arrow_numpy.first_infinity(np.where(np.isinf(values), 0, results) if omit else results)
    if at < 0:
        return  # it stood where there is no value, or an infinity stays one
    if np.isinf(values[at]):
        raise infinity_error(name, float(values[at]), before.row_of(name, at), path)
    raise DataError(
        f"column {name!r} of {str(path)!r} must stay within {results.dtype}, but {values[at]} in "
        f"{row_place(before.row_of(name, at))} would leave it; convert the column to float64"
    )
