"""The files of a data set, several at a time: while one waits for its disk or is decoded, another is computed with."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from itertools import islice
from threading import Event

from gammabeta.data.agree import Agreement
from gammabeta.data.dataset import DataSet, Part
from gammabeta.data.entry import Entry, entry_of
from gammabeta.data.first_pass import Progress, quiet
from gammabeta.data.source import Chunk
from gammabeta.data.sources import opened
from gammabeta.data.state import Recipe, Statistics
from gammabeta.data.total import Total
from gammabeta.errors import FileError
from gammabeta.kernels import threads

AT_ONCE = 2  # files at most, on any number of processors: each has some 40 MB of its chunks in memory
TICK = 0.1  # seconds from one report of progress to the next

Outcome = tuple[Part, Entry | FileError]


class _Stopped(Exception):  # noqa: N818
    """Nobody waits for this file any more."""


def measure_set(
    found: DataSet,
    columns: Sequence[str] | None,
    exclude: Sequence[str] | None,
    recipe: Recipe | None,
    progress: Progress,
) -> Statistics:
    """The statistics of all the rows of a data set. Arguments and errors are those of `measure`."""
    total = Total(found.where, columns, exclude)
    places = {part.name: i for i, part in enumerate(found.parts)}
    for part, outcome in each(found.parts, columns, exclude, progress):
        if isinstance(outcome, FileError):
            raise outcome
        total.add(places[part.name], part.path, outcome)
    return total.statistics(recipe)


def each(
    parts: Sequence[Part],
    columns: Sequence[str] | None,
    exclude: Sequence[str] | None,
    progress: Progress = quiet,
) -> Iterator[Outcome]:
    """Every file's entry, or why it cannot be read, in the order in which they are done.

    What else goes wrong is raised at once. Whoever stops early, be it by Ctrl-C, leaves no thread at work.
    """
    meter, stop = _Bytes(parts, progress), Event()
    left = iter(parts)
    at_once = min(threads.count(), AT_ONCE)
    busy = at_once == threads.count() and len(parts) >= at_once
    with ThreadPoolExecutor(at_once, "gammabeta-file", threads.alone if busy else None) as pool:

        def begin(part: Part) -> tuple[Future[Entry | FileError], Part]:
            return pool.submit(_read, part, columns, exclude, meter.of(part, stop)), part

        running = dict(map(begin, islice(left, at_once)))
        try:
            while running:
                for future in wait(running, TICK, FIRST_COMPLETED).done:
                    part = running.pop(future)
                    running |= map(begin, islice(left, 1))
                    meter.finish(part)
                    yield part, future.result()
                meter.report()
        finally:
            stop.set()


def _read(
    part: Part, columns: Sequence[str] | None, exclude: Sequence[str] | None, progress: Progress
) -> Entry | FileError:
    try:
        return entry_of(part, columns, exclude, progress)
    except FileError as error:
        return error


class _Bytes:
    """How many bytes of all files are read; threads tell of theirs, the caller reports."""

    def __init__(self, parts: Sequence[Part], progress: Progress) -> None:
        self._sizes = {part.name: _size(part) for part in parts}
        self._size, self._progress = sum(self._sizes.values()), progress
        self._done: dict[str, int] = {}

    def of(self, part: Part, stop: Event) -> Callable[[int, int], None]:
        """What the thread that reads a file calls."""

        def told(done: int, size: int) -> None:
            if stop.is_set():
                raise _Stopped
            self._done[part.name] = min(done, self._sizes[part.name])

        return told

    def finish(self, part: Part) -> None:
        """A file has been read, or been given up."""
        self._done[part.name] = self._sizes[part.name]

    def report(self) -> None:
        """Tell the caller how much of all has been read."""
        self._progress(sum(list(self._done.values())), self._size)


def _size(part: Part) -> int:
    try:
        return part.path.stat().st_size
    except OSError:  # it is said where the file is read
        return 0


def scan_set(found: DataSet, columns: Sequence[str] | None) -> Iterator[Chunk]:
    """The rows of a data set in order, as `scan` gives those of a file; `start` and `done` go on from file to file."""
    agreement = Agreement(columns, None)
    rows = done = 0
    for place, part in enumerate(found.parts):
        source = opened(part.path)
        source.learn()
        agreement.look(place, part.path, source.columns)
        size, last = source.size, 0
        for chunk in source.chunks(None if columns is None else list(columns)):
            last = chunk.start + chunk.rows
            chunk.start, chunk.done = rows + chunk.start, done + chunk.done
            yield chunk
        rows, done = rows + last, done + size
