"""Scaling of a folder's files by one map into another folder, several at once, without those that are done.

Each output is written under a temporary name, renamed when it is whole, and then recorded. A run that dies in between
has written one file more than it has recorded: that one is written again.
"""

import threading
from collections import defaultdict
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from gammabeta.affine import Affine
from gammabeta.data.core.file_stamp import FileStamp, stamp_if_there
from gammabeta.data.core.options import ProgressFn, RunOptions
from gammabeta.data.core.results import Files, Written
from gammabeta.data.core.statistics import Ranges, Statistics
from gammabeta.data.dataset.discovery import DataSet, Part, none_good
from gammabeta.data.dataset.manifest import FOLDER, Line, Manifest, fingerprint, linked
from gammabeta.data.dataset.measure import AT_ONCE
from gammabeta.data.formats.registry import check_output, open_source
from gammabeta.data.io import part_files
from gammabeta.data.io.paths import OutputError, replacing, writing
from gammabeta.data.passes.transform import unscaled, write_mapped
from gammabeta.errors import FileError
from gammabeta.kernels import thread_pool

MANY = 4  # files for each worker: so many keep all processors busy, but for a short while at the end

_ABSENT = FileStamp(0, 0)


class Stopped(Exception):  # noqa: N818
    """Raised in a worker to leave its file, since the run is ending."""


def stamped(source: DataSet) -> dict[Part, FileStamp]:
    """The stamps of a data set's files as they are now."""
    return {part: stamp_if_there(part.path) or _ABSENT for part in source.parts}


class FileJobs:
    """The files to write, and those written, of one run into a folder.

    Args:
        source, stamps: the files, and what they were when the run began.
        known, affine: the columns to map, and their map.
        out: the folder to write into, which this run has locked.
        bad: the files that were found to be unreadable before, and why.
        options: how it is done.
    """

    def __init__(
        self,
        source: DataSet,
        stamps: Mapping[Part, FileStamp],
        known: Statistics | Ranges,
        affine: Affine,
        out: Path,
        bad: Mapping[str, str],
        options: RunOptions,
    ) -> None:
        self._source, self._stamps, self._known, self._affine = source, stamps, known, affine
        self._out, self._bad, self._options = out, dict(bad), options
        self._map = fingerprint(known.names, affine, source.read)
        self._manifest = Manifest(out)
        self._to_do = [part for part in source.parts if part.name not in bad and not self._is_done(part)]
        self._done = len(source.parts) - len(bad) - len(self._to_do)
        self._size = sum(stamps[part].size for part in self._to_do)
        self._read = self._rows = 0
        self._lock, self._failed, self._stopping = threading.Lock(), threading.Event(), threading.Event()
        self._workers = options.workers or min(thread_pool.count(), AT_ONCE)
        self._turn = threading.Semaphore(self._workers)  # to compute

    def _is_done(self, part: Part) -> bool:
        line = self._manifest.lines.get(part.name)
        return line is not None and (line.source, line.map) == (self._stamps[part], self._map)

    def run(self) -> Written:
        """Write all files that are not done; returns what became of them.

        Raises: as `apply`, of the first file by name that has an error, unless it is one that cannot be read and those
        are skipped. What is finished is kept.
        """
        self._clean()
        busy = self._workers >= thread_pool.count() and len(self._to_do) >= MANY * self._workers
        alone = thread_pool.alone if busy else None
        waiting = 0 if self._options.workers else 1  # for its file to be on the disk, meanwhile
        pool = ThreadPoolExecutor(self._workers + waiting, "gammabeta-file", alone)
        try:
            for part, future in [(part, thread_pool.submit(pool, self._begin, part)) for part in self._to_do]:
                try:
                    future.result()
                except FileError as error:
                    if not self._is_left_out(error):
                        raise
                    self._bad[part.name] = str(error)
        finally:
            self._stopping.set()
            pool.shutdown(cancel_futures=True)
        return self._written()

    def _clean(self) -> None:
        """Remove what killed runs left half-written."""
        begun: dict[Path, set[str]] = defaultdict(set)
        for name in (*(part.name for part in self._source.parts), *self._manifest.lines):
            begun[Path(name).parent].add(Path(name).name)
        for folder, names in begun.items():
            if not linked(self._out, folder):
                part_files.clear(self._out / folder, names)
        part_files.clear(self._out / FOLDER, None)

    def _begin(self, part: Part) -> None:
        """Write a file in a worker, unless the error of another file has ended the run already."""
        if self._failed.is_set():
            raise Stopped
        try:
            self._write(part)
        except BaseException as error:
            if not self._is_left_out(error):
                self._failed.set()
            raise

    def _is_left_out(self, error: BaseException) -> bool:
        """Whether the run goes on without the file that has this error."""
        return self._options.skip_bad and isinstance(error, FileError) and not isinstance(error, OutputError)

    def _write(self, part: Part) -> None:
        """Write a file, if it is still what it was when the run began, and record it."""
        out, source = self._out / part.name, open_source(part.path, read=self._source.read)
        with writing(out):
            out.parent.mkdir(parents=True, exist_ok=True)
            if out.exists() and out.samefile(part.path):
                raise OutputError(f"{str(out)!r} leads to the file that is to be read; take another folder")
        check_output(out, source)
        with replacing(out, durable=True, clear=False) as temporary:  # what is recorded must not be lost
            with self._turn:
                rows = write_mapped(source, self._known, self._affine, temporary, out, self._file_progress()).rows
            if stamp_if_there(part.path) != self._stamps[part]:
                raise FileError(f"{str(part.path)!r} was changed meanwhile; run again when nothing writes to it")
        with self._lock:
            self._manifest.add(Line(part.name, self._stamps[part], self._map, stamp_if_there(out) or _ABSENT, rows))
            self._rows += rows
            self._done += 1
            self._options.on_file_done(self._done, len(self._source.parts), self._rows)

    def _file_progress(self) -> ProgressFn:
        """A `ProgressFn` for one file that reports the progress of the whole run."""
        before = 0

        def report(done: int, size: int) -> None:
            nonlocal before
            if self._stopping.is_set():
                raise Stopped
            with self._lock:
                self._read += done - before
                before = done
                self._options.report_progress(self._read, self._size)

        return report

    def _written(self) -> Written:
        """The result of the run, of all files."""
        good = [part for part in self._source.parts if part.name not in self._bad]
        if not good:
            raise none_good(self._bad)
        lines, names = self._manifest.lines, {part.name for part in good}
        written = sum(part.name in names for part in self._to_do)
        files = Files(written, len(good) - written, self._bad, tuple(sorted(set(lines) - names)), self._left_out())
        rows = sum(lines[name].rows for name in names)
        first = open_source(good[0].path, read=self._source.read)
        return Written(self._out, rows, self._known, *unscaled(first, self._known.names), files)

    def _left_out(self) -> tuple[str, ...]:
        """Names of files not copied: what is no data, and such as `_metadata`, which would no longer be true."""
        others = [path.name for path in self._source.root.glob("_*") if path.is_file()]
        return tuple(sorted([*self._source.ignored, *others]))
