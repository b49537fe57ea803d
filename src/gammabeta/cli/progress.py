"""The progress bar: rates and time left, on a terminal, once the work has taken a second."""

from contextlib import suppress
from time import monotonic
from types import TracebackType
from typing import TYPE_CHECKING

from gammabeta.cli import terminal

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

PATIENCE = 1.0  # seconds
REDRAW = 0.1  # seconds between two pictures


class Meter:
    """A progress bar: a `ProgressFn` whose `on_file_done` is a `FileDoneFn`."""

    def __init__(self) -> None:
        self._start = self._drawn = monotonic()
        self._on = terminal.is_watched()
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        self._files = ""
        self.files = (0, 0)

    def __call__(self, done: int, size: int) -> None:
        now = monotonic()
        if not self._on or now - self._start < PATIENCE:
            return
        if self._bar is None:
            self._begin(done, size)
        if self._bar is not None and self._task is not None:
            due = now - self._drawn >= REDRAW
            self._drawn = now if due else self._drawn
            self._bar.update(self._task, completed=done, total=size, files=self._files, refresh=due)

    def on_file_done(self, done: int, files: int, rows: int) -> None:
        """A `FileDoneFn`: shows the number of files done and the rate of rows."""
        self.files = done, files
        rate = rows / max(monotonic() - self._start, 1e-3)
        self._files = f"{done:,}/{files:,} files, {rate:,.0f} rows/s"

    def _begin(self, done: int, size: int) -> None:
        from rich.progress import (
            BarColumn,
            DownloadColumn,
            Progress,
            TextColumn,
            TimeRemainingColumn,
            TransferSpeedColumn,
        )

        files = TextColumn("{task.fields[files]}", markup=False)
        columns = (BarColumn(), DownloadColumn(), TransferSpeedColumn(), files, TimeRemainingColumn())
        # drawn when it is told of something: no thread, which the system may not start
        self._bar = Progress(*columns, console=terminal.watched(), transient=True, auto_refresh=False)
        self._task = self._bar.add_task("", completed=done, total=size, files=self._files)
        self._bar.start()

    def __enter__(self) -> "Meter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            with suppress(OSError):  # a terminal that has been closed
                self._bar.stop()
