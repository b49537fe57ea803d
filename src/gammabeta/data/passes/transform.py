"""The second pass: a file's columns are mapped, and the file is written anew."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from gammabeta.affine import Affine
from gammabeta.data.core import arrow_numpy
from gammabeta.data.core.options import RunOptions
from gammabeta.data.core.sink import outcome
from gammabeta.data.core.source import Chunk, Column, Restart, Scaling, Source
from gammabeta.data.core.statistics import Ranges, Recipe, Statistics, listed
from gammabeta.data.core.statistics_io import load, statistics_path
from gammabeta.data.dataset.discovery import data_set, is_data_set
from gammabeta.data.dataset.manifest import Files
from gammabeta.data.dataset.update import Finished, silent
from gammabeta.data.formats.registry import check_output, opened, sink_for
from gammabeta.data.io.paths import changed, replacing
from gammabeta.data.io.peekable import single_pass_error
from gammabeta.data.io.prefetch import ahead
from gammabeta.data.io.remote import Place
from gammabeta.data.passes.measure import Input, Progress, infinite, measure, quiet
from gammabeta.data.passes.minmax import ranges
from gammabeta.errors import DataError, KindError
from gammabeta.kernels import thread_pool


@dataclass(frozen=True)
class Written:
    """What became of a file, or of many.

    `statistics`: what the columns were scaled by, no more than `Ranges` if footers told them; `rows`: how many were
    written; `converted`: the columns that were integers or decimals and are float64 now; `passed`: those that were left
    as they were. Of many files `path` is the folder, the columns are those of the first, and `files` tells of each.
    """

    path: Path
    rows: int
    statistics: Statistics | Ranges
    converted: tuple[Column, ...]
    passed: tuple[Column, ...]
    files: Files | None = None


def scale(
    source: Input,
    out: str | Path,
    *,
    recipe: Recipe | None = None,
    columns: Sequence[str] | None = None,
    exclude: Sequence[str] | None = None,
    stats: str | Path | None = None,
    footers: bool = True,
    workers: int | None = None,
    skip_bad: bool = False,
    progress: Progress = quiet,
    finished: Finished = silent,
) -> Written:
    """Scale numeric columns of a file, or of many, by their own exact statistics, in two passes and bounded memory.

        y = (x − mean) / std    or    y = (x − min) / (max − min) · (b − a) + a

    Args:
        source: a CSV, Parquet, Arrow IPC (Feather) or `.npy` file; a table, frame or query that can be read twice; or
            several files as for `measure`.
        out: the file to write, perhaps `source` itself; its extension says the format. It appears when it is whole. Of
            several files the folder to write them to, under their own names, apart from the source.
        recipe: how to scale; standardization by the population's standard deviation (ddof = 0) without it.
        columns, exclude: which columns, as for `measure`.
        stats: where to keep the statistics, for `apply` and `invert`.
        footers: in min-max scaling without `stats`, go by the footer of a Parquet file and read it once. See `extrema`.
        workers: of several files so many at once; as many as there are processors without it, 4 at most.
        skip_bad: of several files leave out those that cannot be read, and go on.
        progress: called with the bytes read so far and the bytes to read, the file's size twice.
        finished: called with the files done, the files there are and the rows written, after each of several files.

    Floats keep their type, integers and decimals become float64; all other columns, the order of columns, missing
    values, metadata and, in Parquet, compression stay. A constant column becomes zeros (its scale is 1), one without
    values stays without. Of several files those are kept that are done, whatever ends the process: the same call goes
    on from there. The statistics are those of `update`, in `out` if `stats` names no other place.

    Raises:
        FileError: the file cannot be read, or the output not be written.
        DataError: ±inf, an unknown column, no numeric column, no rows.
        KindError: a column named in `columns` is not of numbers, or `out` cannot hold what `source` does.

    >>> import tempfile, pyarrow as pa, pyarrow.parquet as pq
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     done = scale(pa.table({"age": [20, 30, 40], "name": ["a", "b", "c"]}), f"{folder}/scaled.parquet")
    ...     pq.read_table(done.path)["age"].to_pylist()
    [-1.224744871391589, 0.0, 1.224744871391589]
    """
    if is_data_set(source):
        from gammabeta.data.dataset.transform import scale_folder

        manner = RunOptions(workers, skip_bad, progress, finished)
        return scale_folder(data_set(source), Path(out), columns, exclude, recipe, stats, footers, manner)
    source, out = opened(source), Path(out)
    check_output(out, source)
    if source.once:
        raise DataError(single_pass_error(str(source.path)))
    with ExitStack() as stack:
        kept = stack.enter_context(replacing(statistics_path(stats))) if stats is not None else None
        temporary = stack.enter_context(replacing(out))
        found: Statistics | Ranges
        if footers and kept is None and recipe is not None and recipe.method == "minmax":
            found = ranges(source, columns, exclude, recipe=recipe, progress=_first_half(progress))
        else:
            found = measure(source, columns, exclude, recipe=recipe, progress=_first_half(progress))
            if kept is not None:
                kept.write_text(found.to_json(), "utf-8")
        if not found.rows:
            raise DataError(f"at least one row is needed to scale by, {str(source.path)!r} has none")
        written = _write(source, found, found.affine(), temporary, out, _second_half(progress))
        if written.rows != found.rows:  # the times of some file systems are of whole seconds
            raise changed(source.path, f"it had {found.rows:,} rows and then {written.rows:,}")
        return written


def apply(
    stats: Statistics | str | Path,
    source: Input,
    out: str | Path,
    *,
    workers: int | None = None,
    skip_bad: bool = False,
    progress: Progress = quiet,
    finished: Finished = silent,
) -> Written:
    """Scale another file by statistics that were taken before. Columns are found by name, in any order.

    Args:
        stats: `Statistics`, or the file that `scale` or `measure(...)` wrote them to; it says how to scale too.
        source, out, workers, skip_bad, progress, finished: as for `scale`.

    Columns that have no statistics pass through. A column may have changed from one numeric type to another.

    Raises:
        StateError: the stats file is none, is damaged or of another version.
        DataError: a column is missing, or holds ±inf.
        KindError: a column is no longer of numbers.

    >>> import tempfile, pyarrow as pa, pyarrow.parquet as pq
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     found = measure(pa.table({"a": [0.0, 2.0]}))
    ...     done = apply(found, pa.table({"b": ["x"], "a": [5]}), f"{folder}/scaled.parquet")
    ...     pq.read_table(done.path).to_pylist()
    [{'b': 'x', 'a': 4.0}]
    """
    return _mapped(stats, source, out, lambda affine: affine, RunOptions(workers, skip_bad, progress, finished))


def invert(
    stats: Statistics | str | Path,
    source: Input,
    out: str | Path,
    *,
    workers: int | None = None,
    skip_bad: bool = False,
    progress: Progress = quiet,
    finished: Finished = silent,
) -> Written:
    """Take a scaled file back to its original units. Arguments, result and errors are those of `apply`.

        x = y · std + mean    or    x = (y − a) / (b − a) · (max − min) + min

    Columns stay floats: values that were integers come back within rounding, and as float64.

    >>> import tempfile, pyarrow as pa, pyarrow.parquet as pq
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     found = measure(pa.table({"a": [0.0, 2.0]}))
    ...     done = invert(found, pa.table({"a": [4.0]}), f"{folder}/original.parquet")
    ...     pq.read_table(done.path).to_pylist()
    [{'a': 5.0}]
    """
    return _mapped(stats, source, out, Affine.inverse, RunOptions(workers, skip_bad, progress, finished))


def _mapped(
    stats: Statistics | str | Path,
    source: Input,
    out: str | Path,
    direction: Callable[[Affine], Affine],
    manner: RunOptions,
) -> Written:
    known = stats if isinstance(stats, Statistics) else load(stats)
    if not known.rows:
        raise DataError("statistics of at least one row are needed to scale by, these are of none")
    affine = direction(known.affine())
    if is_data_set(source):
        from gammabeta.data.dataset.transform import map_folder

        return map_folder(known, affine, data_set(source), Path(out), manner)
    source, out = opened(source), Path(out)
    check_output(out, source)
    with replacing(out) as temporary:
        return write_mapped(source, known, affine, temporary, out, manner.progress)


def write_mapped(
    source: Source, known: Statistics | Ranges, affine: Affine, temporary: Path, out: Path, progress: Progress
) -> Written:
    """Write, under its temporary name, the file `out`: the columns that are known mapped, and all others."""
    while True:
        _check_columns(known, source)
        try:
            return _write(source, known, affine, temporary, out, progress)
        except Restart:
            continue


def _check_columns(known: Statistics | Ranges, source: Source) -> None:
    """Refuse a file that lacks a fitted column, or where one is not of numbers any more."""
    here = {column.name: column for column in source.columns}
    missing = [name for name in known.names if name not in here]
    if missing:
        raise DataError(
            f"every column that has statistics must be in {str(source.path)!r}, {listed(missing)} not; "
            "choose columns with: gammabeta stats S.json --exclude NAME -o T.json"
        )
    for column in known.columns:
        now = here[column.name]
        if now.skip_reason == "not numeric":
            raise KindError(
                f"column {now.name!r} must be of numbers as it was ({column.type}), "
                f"in {str(source.path)!r} it is {now.type}"
            )


def _write(
    source: Source, known: Statistics | Ranges, affine: Affine, temporary: Path, out: Path, progress: Progress
) -> Written:
    here = {column.name: column for column in source.columns}
    # a CSV column without one value has no type, and nothing to scale
    source.scratch = out.resolve().parent
    names = tuple(name for name in known.names if here[name].skip_reason != "empty")
    at = [i for i, name in enumerate(known.names) if here[name].skip_reason != "empty"]
    schema = outcome(source.schema, names)
    scaling = Scaling(names, affine if len(at) == len(known.names) else affine[at], schema)
    sink = sink_for(temporary, out, schema, source, names)
    rows = 0
    try:
        with source.unchanged():
            for chunk in ahead(_scaled(source, scaling), here=source.here or thread_pool.count() == 1):
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
    """Of the columns, those of `names` that become float64, and those that are not in `names`."""
    chosen = set(names)
    floats = {field.name for field in source.schema if pa.types.is_floating(field.type)}
    turned = chosen - floats
    converted = tuple(column for column in source.columns if column.name in turned)
    return converted, tuple(column for column in source.columns if column.name not in chosen)


def _scaled(source: Source, scaling: Scaling) -> Iterator[Chunk]:
    for chunk in ahead(source.chunks(), here=source.here or thread_pool.count() == 1):
        yield image(chunk, scaling, source.path)


def image(chunk: Chunk, scaling: Scaling, path: Place) -> Chunk:
    """The chunk with its columns mapped. Raises `DataError` for an infinity that goes in or comes out."""
    result = chunk.scaled(scaling)
    for name in scaling.names:
        if result.suspect:
            _refuse_infinity(path, chunk, result, name)
    return result


def _refuse_infinity(path: Place, before: Chunk, after: Chunk, name: str) -> None:
    values, results = before[name], after[name]
    at = arrow_numpy.first_infinity(results)
    if at < 0:
        return  # it stood where there is no value
    if np.isinf(values[at]):
        raise infinite(name, float(values[at]), before.start + at, path)
    raise DataError(
        f"column {name!r} of {str(path)!r} must stay within {results.dtype}, but {values[at]} in row "
        f"{before.start + at + 1} (the first row of data is 1) would leave it; convert the column to float64"
    )


def _first_half(progress: Progress) -> Progress:
    return lambda done, size: progress(done, 2 * size)


def _second_half(progress: Progress) -> Progress:
    return lambda done, size: progress(size + done, 2 * size)
