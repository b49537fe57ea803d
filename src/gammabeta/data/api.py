"""The public verbs on data. Each asks once whether its source is one file or many, and calls `passes` or `dataset`.

One source goes to `passes`, many files go to `dataset`.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

from gammabeta.affine import Affine
from gammabeta.axes import Axis
from gammabeta.backends.named_dims import Dim, is_dataset
from gammabeta.data.core.options import FileDoneFn, ProgressFn, RunOptions, ignore_file_done, ignore_progress
from gammabeta.data.core.read_options import PLAIN, ReadOptions
from gammabeta.data.core.results import Updated, Variables, Written
from gammabeta.data.core.source import Chunk, Column, Source
from gammabeta.data.core.statistics import Recipe, Statistics
from gammabeta.data.core.statistics_io import load
from gammabeta.data.dataset.discovery import DataSet, Where, data_set, is_data_set
from gammabeta.data.dataset.gather import add_up, add_up_groups
from gammabeta.data.dataset.measure import measure_set, scan_set
from gammabeta.data.dataset.measure_arrays import measure_arrays
from gammabeta.data.dataset.minmax import ranges_of_set
from gammabeta.data.dataset.transform import map_folder, scale_folder
from gammabeta.data.dataset.update import update_set
from gammabeta.data.formats.registry import Data, kept_options, open_source
from gammabeta.data.formats.xarray import variables_of
from gammabeta.data.formats.zarr import group_of, sources_of_group
from gammabeta.data.io.remote import Place
from gammabeta.data.passes.groupby import GroupStatistics, is_grouped, load_groups, measure_groups
from gammabeta.data.passes.measure import measure_source, scan_source, source_moments
from gammabeta.data.passes.minmax import source_extrema
from gammabeta.data.passes.preview import Preview, preview_source
from gammabeta.data.passes.scale import scale_source
from gammabeta.data.passes.scale_by import Unseen, map_source_by, scale_source_by
from gammabeta.data.passes.transform import map_source
from gammabeta.errors import DataError, FileError, KindError

Input: TypeAlias = Data  # and what stands for several files


def measure(
    source: Input,
    columns: Sequence[str] | None = None,
    exclude: Sequence[str] | None = None,
    *,
    axis: Axis | None = None,
    recipe: Recipe | None = None,
    read: ReadOptions | None = None,
    weights: str | None = None,
    progress: ProgressFn = ignore_progress,
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
        read: how the file is written, where neither name nor content says it, and what lists, infinities and weights
            mean: `ReadOptions`, kept with the statistics.
        weights: the column that says how much each row counts, as in `Moments.of(x, weights=)`: `read` with it.
        progress: called with the bytes read so far and the bytes to read, 0 where they are not known.

    Columns are found by name, and must be of numbers in every file if they are in one, of whatever type.
    Missing values (nulls, NaN, empty cells) are left out, column by column. Decimals count as the nearest float64.
    The columns that are not measured are in `left_out`, each with the reason: of CSV the first cell that is no number.

    Raises:
        FileError: the file cannot be read as what its name says.
        DataError: ±inf, an unknown column, no numeric column, files whose formats or columns differ.
        KindError: a column named in `columns` is not of numbers, or this is no kind of data.

    >>> import pyarrow as pa
    >>> found = measure(pa.table({"height": [1.5, None, 2.5], "name": ["a", "b", "c"]}))
    >>> found.names, found.moments.count, found.moments.mean
    (('height',), array([2.]), array([2.]))
    """
    read = _weighted(read, weights)
    if is_data_set(source):
        found = data_set(source, read)
        if axis is not None:
            raise KindError(
                f"axis of many files is for moments and extrema, {found.where!r} is measured by its columns"
            )
        return measure_set(found, columns, exclude, recipe, progress)
    return measure_source(open_source(source, axis, read=read), columns, exclude, recipe, progress)


def moments(
    source: Input,
    columns: Sequence[str] | None = None,
    *,
    axis: Axis | None = None,
    dim: Dim | None = None,
    weights: Any = None,
    read: ReadOptions | None = None,
) -> Any:
    """The exact moments of the numeric columns, or of those named: shape (k,), in the file's order. See `measure`.

    Those of an array are in the features' shape, as `Moments.of(array, axis)`, unless columns are named.

    Args:
        source, columns, axis, read: as for `measure`.
        dim: of an xarray DataArray or Dataset, the names of the dimensions that are reduced, `...` for all;
            `to_xarray` labels the result by the others.
        weights: of a table, the name of the column that says how much each row counts; of a DataArray or Dataset, a
            DataArray of how much each value counts, such as the cosine of the latitude, of some of the array's
            dimensions. Finite and not negative, exact like everything.

    Returns:
        `Moments`; of a Dataset `Variables`, the mapping of each variable's name to its `Moments`, over those of the
        dimensions that it has. Variables that are not of numbers, or have none of them, are in its `left_out`. Of a
        Zarr group the same, array by array.

    Of several `.npy` files `axis` names the axes of each that are reduced: the others must be alike in all.

    Raises: as `measure`; DataError for weights that the array's dimensions, labels or lengths do not fit.

    >>> import pyarrow as pa
    >>> moments(pa.table({"a": [1.0, 3.0], "b": [10, 20]})).mean
    array([ 2., 15.])
    >>> moments(pa.table({"a": [1.0, 3.0], "times": [1, 3]}), weights="times").mean
    array([2.5])
    """
    if isinstance(weights, str):
        read, weights = _weighted(read, weights), None
    several = _several(source, columns, axis, dim, weights)
    if several is not None:
        return Variables({name: source_moments(one, None) for name, one in several[0].items()}, several[1])
    if is_data_set(source):
        found = _files(source, columns, axis, dim, weights, read)
        if axis is not None:
            return measure_arrays(found, axis)[0]
        return measure_set(found, columns, None, None, ignore_progress).moments
    return source_moments(open_source(source, axis, dim, read, weights), columns)


def extrema(
    source: Input,
    columns: Sequence[str] | None = None,
    *,
    axis: Axis | None = None,
    dim: Dim | None = None,
    footers: bool = True,
    read: ReadOptions | None = None,
) -> Any:
    """The least and greatest values of the numeric columns, or of those named: shape (k,), in the file's order.

    Those of an array are in the features' shape, as `Extrema.of(array, axis)`, unless columns are named; those of a
    Dataset are `Variables`, as for `moments`.

    Args:
        source, columns, axis, read: as for `measure`; dim as for `moments`.
        footers: go by the footers of Parquet files, and read those columns alone for which they say nothing that can be
            believed. They do not say how many values are NaN: the count of a column of floats is then NaN, not known.

    >>> import pyarrow as pa
    >>> extrema(pa.table({"a": [1.0, 3.0], "b": [10, 20]})).max
    array([ 3., 20.])
    """
    several = _several(source, columns, axis, dim, None)
    if several is not None:
        return Variables({name: source_extrema(one, None, footers) for name, one in several[0].items()}, several[1])
    if is_data_set(source):
        found = _files(source, columns, axis, dim, None, read)
        if axis is not None:
            return measure_arrays(found, axis)[1]
        if footers and found.format == "parquet" and found.read.weights is None:
            return ranges_of_set(found, columns, None, None, None).extrema
        return measure_set(found, columns, None, None, ignore_progress).extrema
    return source_extrema(open_source(source, axis, dim, read), columns, footers)


def _several(
    source: Input, columns: Sequence[str] | None, axis: Axis | None, dim: Dim | None, weights: Any
) -> tuple[Mapping[str, Source], tuple[Column, ...]] | None:
    """The sources of a Dataset's variables or a Zarr group's arrays, and what is left out; None for anything else."""
    group = None if is_dataset(source) else group_of(source)
    if group is None and not is_dataset(source):
        return None
    if columns is not None:
        raise KindError(f"columns are of one table or array, got {list(columns)} and several arrays; choose by name")
    if group is not None:
        if dim is not None or weights is not None:
            raise KindError(
                f"dim and weights go with xarray, {str(group)!r} is a Zarr group: say axis, or xarray.open_zarr"
            )
        found, left_out = sources_of_group(group)
        return {name: one if axis is None else one.over(axis) for name, one in found.items()}, left_out
    if axis is not None:
        raise KindError(
            f"axis goes with one array, got axis={axis!r} and a Dataset, whose dimensions have names; say dim"
        )
    return variables_of(source, dim, weights)


def _files(
    source: Where,
    columns: Sequence[str] | None,
    axis: Axis | None,
    dim: Dim | None,
    weights: Any,
    read: ReadOptions | None,
) -> DataSet:
    """The files of a data set, which have columns or, with `axis`, features."""
    found = data_set(source, read)
    if dim is not None or weights is not None:
        raise KindError(f"dim and weights go with xarray, {found.where!r} is of files; pass what xarray has opened")
    if axis is not None and columns is not None:
        raise KindError(
            f"with axis many files have features and no columns, got columns={list(columns)}; leave them out"
        )
    return found


def scan(source: Input, columns: Sequence[str] | None = None, *, read: ReadOptions | None = None) -> Iterator[Chunk]:
    """The rows of a file, or of a data set's files, in order, in chunks that fit in memory.

    `chunk[name]` is a numeric column as a NumPy array of shape (rows,), float64 with NaN where integers are missing;
    `chunk.batch` is the whole chunk as an Arrow record batch; `chunk.start` the number of its first row, from 0.

    Raises: as `measure`, but infinities pass.

    >>> import pyarrow as pa
    >>> sum(float(chunk["a"].sum()) for chunk in scan(pa.table({"a": [1.0, 3.0]})))
    4.0
    """
    if is_data_set(source):
        yield from scan_set(data_set(source, read), columns)
    else:
        yield from scan_source(open_source(source, read=read), columns)


def measure_by(
    source: Data,
    by: str | Sequence[str],
    columns: Sequence[str] | None = None,
    exclude: Sequence[str] | None = None,
    *,
    read: ReadOptions | None = None,
    progress: ProgressFn = ignore_progress,
) -> GroupStatistics:
    """The exact statistics of a file's numeric columns in each group of its rows, in one pass.

    Args:
        source, columns, exclude, read, progress: as for `measure`.
        by: the column of the groups' labels: text, integers, dates, flags, … . Rows without one are a group too. Or
            several columns, which make a group for each combination of theirs that there is.

    Raises:
        FileError: the file cannot be read as what its name says.
        DataError: ±inf, an unknown column, no numeric column, weights.
        KindError: labels of a type that has no order, such as lists.

    >>> import pyarrow as pa
    >>> table = pa.table({"store": ["a", "a", "b"], "day": [1, 2, 1], "sold": [5.0, 7.0, 9.0]})
    >>> measure_by(table, ["store", "day"], ["sold"]).group(("a", 2)).moments.mean
    array([7.])
    """
    return measure_groups(open_source(source, read=read), by, columns, exclude, progress)


def gather(
    paths: Sequence[str | Path],
    columns: Sequence[str] | None = None,
    exclude: Sequence[str] | None = None,
    *,
    recipe: Recipe | None = None,
    read: ReadOptions | None = None,
    progress: ProgressFn = ignore_progress,
) -> Statistics:
    """The statistics of all rows of several files: data files are read, stats files (`.json`) added as they are.

    Args:
        paths: data files and stats files in any mixture, one at least.
        columns, exclude: which columns, as for `measure`; of stats files too.
        recipe: how the columns are to be scaled. Without it the stats files say, or else standardization.
        read: how the data files are read, as for `measure`. Without it as the stats files say.
        progress: as for `measure`, for each file.

    Raises:
        DataError: the files are not of the same columns, or the stats files disagree about how to scale.
        FileError, StateError, KindError: as `measure` and `load`.

    >>> import tempfile, pyarrow as pa
    >>> from gammabeta.data import save
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save(measure(pa.table({"a": [1.0]})), f"{folder}/one.json")
    ...     float(gather([f"{folder}/one.json", f"{folder}/one.json"]).moments.count[0])
    2.0
    """

    def measure_path(path: Place, how: ReadOptions | None) -> Statistics:
        return measure(path, columns, exclude, read=how, progress=progress)

    return add_up(paths, columns, exclude, recipe, read, measure_path)


def gather_groups(
    paths: Sequence[str | Path],
    by: str | Sequence[str] | None,
    columns: Sequence[str] | None = None,
    exclude: Sequence[str] | None = None,
    *,
    read: ReadOptions | None = None,
    progress: ProgressFn = ignore_progress,
) -> GroupStatistics:
    """The statistics by group of several files together: data files, and stats files by group (`.json`).

    Args:
        paths: files, and data sets: folders and patterns.
        by: the column of the labels, or several, or a Hive partition, `year` in the folders `year=2024`; without it
            that of the first stats file.
        columns, exclude, read: as for `measure_by`, of the data files.

    Raises: as `measure_by` and `load_groups`, and DataError for files that do not add up, by name.
    """
    return add_up_groups([Path(path) for path in paths], by, columns, exclude, read, progress)


def update(
    stats: str | Path,
    where: Where,
    columns: Sequence[str] | None = None,
    exclude: Sequence[str] | None = None,
    *,
    recipe: Recipe | None = None,
    read: ReadOptions | None = None,
    skip_bad: bool = False,
    check: int | None = None,
    progress: ProgressFn = ignore_progress,
    on_file_done: FileDoneFn = ignore_file_done,
) -> Updated:
    """The statistics of a data set, kept in a stats file: they are `measure`'s of all files, but few of them are read.

    Args:
        stats: the `.json` file to write; the ledger lies beside it, as `.ledger`. Nothing else is needed to go on.
        where: a folder, a pattern such as "data/**/*.parquet", or a list of files; all of one format.
        columns, exclude, recipe, read: as for `measure`. A file is read again where a column is meant that was not
            before, or where it is to be read in another way.
        skip_bad: leave out files that cannot be read, and go on.
        check: the seed of a sample of the files, 1 in 100 and 5 at least, that are read although they seem to be known.
        progress: called with the bytes read so far and the bytes to read.
        on_file_done: called with the files done, the files there are and the rows read, after each file.

    A file counts as unchanged if its size and its time are. It is kept as soon as it has been read: whatever ends the
    process, the next call goes on from there. Both files are whole at any moment.

    Raises:
        FileError: files cannot be read (all others have been, and are kept), one was changed meanwhile, the ledger or
            the stats file cannot be written, or another process has the ledger.
        StateError: the ledger is damaged or of another version, or a file that was checked has other statistics.
        DataError, KindError: as `measure`.

    >>> import tempfile, pyarrow as pa, pyarrow.parquet as pq
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for name, values in {"a": [1.0, 2.0], "b": [6.0]}.items():
    ...         pq.write_table(pa.table({"x": values}), f"{folder}/{name}.parquet")
    ...     first = update(f"{folder}/stats.json", folder)
    ...     pq.write_table(pa.table({"x": [9.0, 9.0]}), f"{folder}/c.parquet")
    ...     Path(f"{folder}/b.parquet").unlink()
    ...     found = update(f"{folder}/stats.json", folder)
    >>> first.statistics.moments.mean, found.statistics.moments.mean, found.read, found.unchanged, found.gone
    (array([3.]), array([5.25]), ('c.parquet',), 1, ('b.parquet',))
    """
    if not isinstance(stats, str | Path) or Path(stats).suffix.lower() != ".json":
        raise FileError(
            f"update takes the stats file first and then the data, update(stats, where), got {stats!r} and {where!r}; "
            "the first must be a name that ends in .json"
        )
    return update_set(
        data_set(where, read),
        stats,
        columns,
        exclude,
        recipe=recipe,
        skip_bad=skip_bad,
        check=check,
        progress=progress,
        on_file_done=on_file_done,
    )


def scale(
    source: Input,
    out: str | Path,
    *,
    recipe: Recipe | None = None,
    columns: Sequence[str] | None = None,
    exclude: Sequence[str] | None = None,
    read: ReadOptions | None = None,
    weights: str | None = None,
    by: str | Sequence[str] | None = None,
    stats: str | Path | None = None,
    footers: bool = True,
    workers: int | None = None,
    skip_bad: bool = False,
    progress: ProgressFn = ignore_progress,
    on_file_done: FileDoneFn = ignore_file_done,
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
        read: how the file is read, as for `measure`. A CSV file is written as its source was: with its delimiter,
            decimal sign, encoding, the lines before the header, and words for missing values.
        weights: the column that says how much each row counts in the statistics; it passes through.
        by: the column of labels, or several, as for `measure_by`: each row of a file is scaled by its own group's
            statistics. `statistics` of the result are those of all rows.
        stats: where to keep the statistics, for `apply` and `invert`.
        footers: in min-max scaling without `stats`, go by the footer of a Parquet file and read it once. See `extrema`.
        workers: of several files so many at once; as many as there are processors without it, 4 at most.
        skip_bad: of several files leave out those that cannot be read, and go on.
        progress: called with the bytes read so far and the bytes to read, the file's size twice.
        on_file_done: called with the files done, the files there are and the rows written, after each of several files.

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
    read = _weighted(read, weights)
    if by is not None:
        found = _one_file(source, read)
        return scale_source_by(found, Path(out), by, columns, exclude, recipe, stats, progress)
    if is_data_set(source):
        options = RunOptions(workers, skip_bad, progress, on_file_done)
        return scale_folder(data_set(source, read), Path(out), columns, exclude, recipe, stats, footers, options)
    return scale_source(open_source(source, read=read), Path(out), columns, exclude, recipe, stats, footers, progress)


def _one_file(source: Input, read: ReadOptions | None) -> Source:
    """The open source of one file. DataError for several: they are not scaled by group."""
    if is_data_set(source):
        raise DataError(f"one file at a time is scaled by group, {str(source)!r} is several; scale a query of all")
    return open_source(source, read=read)


def _weighted(read: ReadOptions | None, weights: str | None) -> ReadOptions | None:
    """The options with a column of weights, if there is one."""
    return read if weights is None else replace(read or PLAIN, weights=weights)


def apply(
    stats: Statistics | GroupStatistics | str | Path,
    source: Input,
    out: str | Path,
    *,
    read: ReadOptions | None = None,
    unseen: Unseen = "raise",
    workers: int | None = None,
    skip_bad: bool = False,
    progress: ProgressFn = ignore_progress,
    on_file_done: FileDoneFn = ignore_file_done,
) -> Written:
    """Scale another file by statistics that were taken before. Columns are found by name, in any order.

    Args:
        stats: `Statistics`, or the file that `scale` or `measure(...)` wrote them to; it says how to scale too.
        source, out, workers, skip_bad, progress, on_file_done: as for `scale`.
        read: how the file is read, as for `measure`. Without it as the one was that the statistics are of.
        unseen: of statistics by group, what becomes of rows of other groups: "raise" refuses them, "whole" scales them
            by the statistics of all groups together.

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
    options = RunOptions(workers, skip_bad, progress, on_file_done)
    return _map(stats, source, Path(out), lambda affine: affine, read, options, unseen)


def invert(
    stats: Statistics | GroupStatistics | str | Path,
    source: Input,
    out: str | Path,
    *,
    read: ReadOptions | None = None,
    unseen: Unseen = "raise",
    workers: int | None = None,
    skip_bad: bool = False,
    progress: ProgressFn = ignore_progress,
    on_file_done: FileDoneFn = ignore_file_done,
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
    options = RunOptions(workers, skip_bad, progress, on_file_done)
    return _map(stats, source, Path(out), Affine.inverse, read, options, unseen)


def _map(
    stats: Statistics | GroupStatistics | str | Path,
    source: Input,
    out: Path,
    direction: Callable[[Affine], Affine],
    read: ReadOptions | None,
    options: RunOptions,
    unseen: Unseen,
) -> Written:
    if not isinstance(stats, Statistics | GroupStatistics) and is_grouped(Path(stats)):
        stats = load_groups(stats)
    if isinstance(stats, GroupStatistics):
        if not stats.rows:
            raise DataError("statistics of at least one row are needed to scale by, these are of none")
        found = _one_file(source, read or kept_options(stats.read, source))
        return map_source_by(found, stats, direction, unseen, out, options.report_progress)
    if unseen != "raise":
        raise DataError("unseen goes with statistics by group, these are of all rows; leave it out")
    known = stats if isinstance(stats, Statistics) else load(stats)
    if not known.rows:
        raise DataError("statistics of at least one row are needed to scale by, these are of none")
    affine = direction(known.affine())
    if is_data_set(source):
        return map_folder(known, affine, _kept_data_set(source, read, known.read), out, options)
    read = read or kept_options(known.read, source)
    return map_source(open_source(source, read=read), known, affine, out, options.report_progress)


def _kept_data_set(source: Where, read: ReadOptions | None, kept: ReadOptions) -> DataSet:
    """The data set, read as it is said or as the statistics keep it, if it is of CSV files."""
    found = data_set(source, read if read is not None or isinstance(source, DataSet) else kept)
    return found if read is not None or found.format == "csv" else replace(found, read=kept.beyond_csv())


def preview(
    source: Data,
    *,
    recipe: Recipe | None = None,
    columns: Sequence[str] | None = None,
    exclude: Sequence[str] | None = None,
    bins: int = 12,
    read: ReadOptions | None = None,
    progress: ProgressFn = ignore_progress,
) -> Preview:
    """The statistics of a file and the histograms of its columns before and after scaling; nothing is written.

    Args, errors: as for `scale`. Large files are sampled for the histograms, about 100,000 rows at even distances.

    >>> import pyarrow as pa
    >>> found = preview(pa.table({"a": [0.0, 1.0, 1.0, 4.0]}), bins=4)
    >>> found.before.tolist(), found.after.tolist(), found.low.round(2)
    ([[1, 2, 0, 1]], [[1, 2, 0, 1]], array([-1.]))
    """
    return preview_source(open_source(source, read=read), recipe, columns, exclude, bins, progress)
