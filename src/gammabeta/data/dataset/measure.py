"""The first pass over a data set: several files at a time, so that one is computed with while another is read."""

from collections.abc import Iterator, Sequence

from gammabeta.data.core.options import ProgressFn, ignore_progress
from gammabeta.data.core.read_options import ReadOptions
from gammabeta.data.core.source import Chunk
from gammabeta.data.core.statistics import Recipe, Statistics
from gammabeta.data.dataset.accumulator import StatisticsAccumulator
from gammabeta.data.dataset.discovery import DataSet, Part
from gammabeta.data.dataset.file_statistics import FileStatistics, measure_file
from gammabeta.data.dataset.schema import SchemaCheck
from gammabeta.data.formats.registry import open_source
from gammabeta.data.io.parallel import ItemProgressFn, map_concurrently
from gammabeta.data.io.prefetch import prefetch
from gammabeta.errors import FileError

AT_ONCE = 2  # files at most, on any number of processors: each has some 40 MB of its chunks in memory

Outcome = tuple[Part, FileStatistics | FileError]


def measure_set(
    found: DataSet,
    columns: Sequence[str] | None,
    exclude: Sequence[str] | None,
    recipe: Recipe | None,
    progress: ProgressFn,
) -> Statistics:
    """The statistics of all the rows of a data set. Arguments and errors are those of `measure`."""
    total = StatisticsAccumulator(found.where, columns, exclude, found.read.union)
    places = {part.name: i for i, part in enumerate(found.parts)}
    for part, outcome in each(found.parts, columns, exclude, found.read, progress):
        if isinstance(outcome, FileError):
            raise outcome
        total.add(places[part.name], part.path, outcome)
    return total.statistics(recipe)


def each(
    parts: Sequence[Part],
    columns: Sequence[str] | None,
    exclude: Sequence[str] | None,
    read: ReadOptions,
    progress: ProgressFn = ignore_progress,
) -> Iterator[Outcome]:
    """Each file with its statistics, or the error that it cannot be read, in the order in which they end."""
    sizes = [size_of(part) for part in parts]
    size = sum(sizes)

    def read_file(part: Part, report_progress: ItemProgressFn) -> FileStatistics | FileError:
        try:
            return measure_file(part, columns, exclude, lambda done, size: report_progress(done), read)
        except FileError as error:
            return error

    yield from map_concurrently(read_file, parts, sizes, AT_ONCE, lambda done: progress(done, size))


def size_of(part: Part) -> int:
    """The size of a file in bytes; 0 where it cannot be asked."""
    try:
        return part.path.stat().st_size
    except OSError:  # it is said where the file is read
        return 0


def scan_set(found: DataSet, columns: Sequence[str] | None) -> Iterator[Chunk]:
    """The chunks of a data set, in order, as `scan` gives them; `start` and `done` go on from file to file."""
    return prefetch(_chunks(found, columns))


def _chunks(found: DataSet, columns: Sequence[str] | None) -> Iterator[Chunk]:
    schema = SchemaCheck(columns, None, found.read.union)
    rows = done = 0
    for place, part in enumerate(found.parts):
        source = open_source(part.path, read=found.read)
        source.learn()
        schema.look(place, part.path, source.columns)
        size, last = source.size, 0
        there = {column.name for column in source.columns}  # a union's columns may be missing in a file
        for chunk in source.chunks(None if columns is None else [name for name in columns if name in there]):
            last = chunk.start + chunk.rows
            chunk.start, chunk.done = rows + chunk.start, done + chunk.done
            yield chunk
        rows, done = rows + last, done + size
