"""The files of a folder go through one map into another folder, several at once, those that are not there yet.

Each output is written under a temporary name, renamed when it is whole, and then noted in the journal. A run that dies
in between has written one file more than it has noted: that one is written again.
"""

import re
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeAlias

from gammabeta.affine import Affine
from gammabeta.data.dataset import Part
from gammabeta.data.files import OutputError, replacing, writing
from gammabeta.data.first_pass import Progress
from gammabeta.data.journal import FOLDER, Files, Journal, Line, Mark, fingerprint
from gammabeta.data.second_pass import Written, unscaled, write_mapped
from gammabeta.data.sources import check_output, opened
from gammabeta.data.state import Ranges, Statistics
from gammabeta.errors import DataError, FileError, GammabetaError

Bad: TypeAlias = dict[str, str]
"""Files that cannot be read or mapped, by name, and why."""

_PART = re.compile(r"\.(.+)\.[0-9a-f]{8}\.part")  # as `replacing` names what is not whole yet


class Stopped(Exception):  # noqa: N818
    """The run is ending: leave the file."""


class Work:
    """What is to do, and what is done.

    Args:
        parts: the files, and what they were when the run began.
        known, affine: the columns to map, and their map.
        out: the folder to write into, which this run has locked.
        bad: files that were found bad before.
        progress: called with the bytes of what is done and of all.
    """

    def __init__(
        self,
        parts: Mapping[Part, Mark],
        known: Statistics | Ranges,
        affine: Affine,
        out: Path,
        bad: Bad,
        progress: Progress,
    ) -> None:
        self._parts, self._known, self._affine, self._out = parts, known, affine, out
        self._map = fingerprint(known.names, affine)
        self._bad, self._progress = dict(bad), progress
        self._journal = Journal(out)
        self._to_do = [part for part, mark in parts.items() if not self._is_done(part.name, mark)]
        self._size = sum(mark.size for mark in parts.values())
        self._done = self._size - sum(parts[part].size for part in self._to_do)
        self._lock, self._stopping = threading.Lock(), threading.Event()

    def _is_done(self, name: str, mark: Mark) -> bool:
        line = self._journal.lines.get(name)
        return line is not None and (line.source, line.map) == (mark, self._map)

    def run(self, workers: int, skip_bad: bool, left_out: Sequence[str]) -> Written:
        """Write what is to do, so many files at once.

        Raises: as `apply`, of the first bad file by name, unless bad files are skipped. What is finished is kept.
        """
        self._clean()
        pool = ThreadPoolExecutor(workers, "gammabeta-file")
        try:
            for part, future in [(part, pool.submit(self._write, part)) for part in self._to_do]:
                try:
                    future.result()
                except OutputError:
                    raise
                except GammabetaError as error:
                    if not skip_bad:
                        raise
                    self._bad[part.name] = str(error)
        finally:
            self._stopping.set()
            pool.shutdown(cancel_futures=True)
        return self._written(left_out)

    def _clean(self) -> None:
        """Remove what killed runs left half-written."""
        outputs = [Path(name) for name in (*(part.name for part in self._parts), *self._journal.lines)]
        begun = {(name.parent, name.name[:200]) for name in outputs}
        for folder in {Path(FOLDER), *(name.parent for name in outputs)}:
            for path in (self._out / folder).glob(".*.part"):
                match = _PART.fullmatch(path.name)
                if match and (folder == Path(FOLDER) or (folder, match[1]) in begun):
                    path.unlink(missing_ok=True)

    def _write(self, part: Part) -> None:
        """Write a file, if it is still what it was when the run began, and note it."""
        out = self._out / part.name
        with writing(out):
            out.parent.mkdir(parents=True, exist_ok=True)
            if out.exists() and out.samefile(part.path):
                raise OutputError(f"{str(out)!r} leads to the file that is to be read; take another folder")
        source = opened(part.path)
        check_output(out, source)
        with replacing(out) as temporary:
            written = write_mapped(source, self._known, self._affine, temporary, out, self._told())
            if Mark.of(part.path) != self._parts[part]:
                raise FileError(f"{str(part.path)!r} was changed while it was read; run again once it stays as it is")
        with self._lock:
            self._journal.add(Line(part.name, self._parts[part], self._map, Mark.of(out), written.rows))

    def _told(self) -> Progress:
        """The progress of one file, as part of the whole."""
        before = 0

        def told(done: int, size: int) -> None:
            nonlocal before
            if self._stopping.is_set():
                raise Stopped
            with self._lock:
                self._done += done - before
                before = done
                self._progress(self._done, self._size)

        return told

    def _written(self, left_out: Sequence[str]) -> Written:
        """What became of all files."""
        bad = sorted(self._bad.items())
        good = [part for part in self._parts if part.name not in self._bad]
        if not good:
            raise DataError(
                f"at least one file must be fit to be scaled, none of {len(bad)} is; the first: {bad[0][1]}"
            )
        lines = self._journal.lines
        written = sum(part.name not in self._bad for part in self._to_do)
        stale = tuple(sorted(set(lines) - {part.name for part in good}))
        files = Files(written, len(good) - written, tuple(bad), stale, tuple(left_out))
        rows = sum(lines[part.name].rows for part in good)
        return Written(self._out, rows, self._known, *unscaled(opened(good[0].path), self._known.names), files)
