"""Options and callbacks of a run over one file or many."""

from collections.abc import Callable
from dataclasses import dataclass

ProgressFn = Callable[[int, int], None]  # bytes read, of how many
FileDoneFn = Callable[[int, int, int], None]  # files done, of how many, and the rows that were read of them


def ignore_progress(done: int, size: int) -> None:
    """The default `ProgressFn`: does nothing."""


def ignore_file_done(done: int, files: int, rows: int) -> None:
    """The default `FileDoneFn`: does nothing."""


@dataclass(frozen=True)
class RunOptions:
    """Options of a run over many files.

    workers: files in parallel (None: as many as processors); skip_bad: record unreadable files instead of raising;
    report_progress, on_file_done: called as in `scale`.
    """

    workers: int | None
    skip_bad: bool
    report_progress: ProgressFn
    on_file_done: FileDoneFn
