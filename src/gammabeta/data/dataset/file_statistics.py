"""The statistics of one file of a data set, with its stamp and columns."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gammabeta.data.core.columns import selected
from gammabeta.data.core.file_stamp import FileStamp, stamp_of
from gammabeta.data.core.options import ProgressFn
from gammabeta.data.core.read_options import PLAIN, ReadOptions
from gammabeta.data.core.source import Column, Restart, Source
from gammabeta.data.core.statistics import Recipe, Statistics
from gammabeta.data.dataset.discovery import Part
from gammabeta.data.dataset.schema import meant
from gammabeta.data.formats.registry import open_source
from gammabeta.data.io.paths import changed
from gammabeta.data.passes.measure import measured
from gammabeta.errors import StateError
from gammabeta.statistics import Extrema, Moments, serialization


def name_of_record(value: Any) -> str:
    """The name of a file in a recorded line. StateError if no file can have it."""
    if not isinstance(value, str) or not value or "\0" in value:
        raise StateError(f"the name of a file must be text without NUL, got {serialization.shown(value)}")
    try:
        os.fsencode(value)
    except UnicodeEncodeError:
        raise StateError(
            f"the name of a file must be one that the system takes, got {serialization.shown(value)}"
        ) from None
    return value


@dataclass(frozen=True)
class FileStatistics:
    """What was measured of a file: its stamp, all its `columns`, and the `statistics` of those selected."""

    stamp: FileStamp
    columns: tuple[Column, ...]
    statistics: Statistics


def measure_file(
    part: Part,
    columns: Sequence[str] | None,
    exclude: Sequence[str] | None,
    progress: ProgressFn,
    read: ReadOptions = PLAIN,
) -> FileStatistics:
    """Measure a file of a data set.

    Raises:
        FileError: it cannot be read, or something wrote to it meanwhile.
        DataError: ±inf, or a column named in `columns` is not there.
        KindError: such a column is not of numbers.
    """
    before = stamp_of(part.path)
    source = open_source(part.path, read=read)
    while True:
        try:
            chosen = taken(source.measurable(), columns, exclude, part.path, read.union)
            found = measured(source, chosen, None, progress) if chosen else _nothing(source)
            break
        except Restart:
            continue
    if stamp_of(part.path) != before:
        raise changed(part.path)
    return FileStatistics(before, source.measurable(), found)


def taken(
    available: Sequence[Column],
    columns: Sequence[str] | None,
    exclude: Sequence[str] | None,
    path: Path,
    union: bool = False,
) -> tuple[Column, ...]:
    """The numeric columns selected in one file, perhaps none: other files may have the values that this one lacks."""
    names = meant(available, columns, exclude, path, union)
    present = [column for column in available if column.name in names and column.skip_reason != "empty"]
    literal = [column.name for column in present if column.name in (columns or ())]
    if literal:
        selected(present, literal, None, path)  # refuses what is not of numbers
    return tuple(column for column in present if not column.skip_reason)


def _nothing(source: Source) -> Statistics:
    """The statistics of a file that has rows, but no value in a column of numbers."""
    rows = sum(chunk.rows for chunk in source.chunks())
    none = np.empty((0, 0))
    return Statistics((), rows, Moments.of(none), Extrema.of(none), Recipe(), source.read, source.left_out(()))
