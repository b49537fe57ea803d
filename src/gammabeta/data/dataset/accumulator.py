"""A running sum of the statistics of a data set's files."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from gammabeta.data.core.columns import selected
from gammabeta.data.core.source import NOT_SELECTED, Column
from gammabeta.data.core.statistics import Recipe, Statistics
from gammabeta.data.dataset.file_statistics import FileStatistics
from gammabeta.data.dataset.schema import SchemaCheck, meant
from gammabeta.statistics import Extrema, Moments
from gammabeta.statistics.concat import concat

Columns = tuple[Column, ...]

WAITING = 1 << 14  # columns whose statistics are held until they are added up, of all files together


class StatisticsAccumulator:
    """The running sum of files' statistics, which may be added in any order.

    where: what the data set is called; columns, exclude: which columns, as for `measure`; union: as `ReadOptions`.
    """

    def __init__(
        self, where: str, columns: Sequence[str] | None, exclude: Sequence[str] | None, union: bool = False
    ) -> None:
        self._where, self._columns, self._exclude, self._union = where, columns, exclude, union
        self._agreement = SchemaCheck(columns, exclude, union)
        none = np.empty((0, 0))
        self._sum = Statistics((), 0, Moments.of(none), Extrema.of(none))
        self._waiting: list[Statistics] = []  # of the same columns
        self._covered: dict[tuple[Columns, Columns], bool] = {}

    def covers(self, entry: FileStatistics, path: Path) -> bool:
        """Whether a file's recorded statistics include all the columns that are selected."""
        pair = entry.columns, entry.statistics.columns
        if pair not in self._covered:
            names = meant(entry.columns, self._columns, self._exclude, path, self._union)
            known = set(entry.statistics.names)
            asked = [column for column in entry.columns if column.name in names and not column.skip_reason]
            self._covered[pair] = all(column.name in known for column in asked)
        return self._covered[pair]

    def add(self, place: int, path: Path, entry: FileStatistics) -> None:
        """Add a file. place: its position in the data set, from 0.

        Raises:
            DataError: its columns do not agree with those of another file, or one that is asked for is not there.
        """
        self._agreement.look(place, path, entry.columns)
        found, names = entry.statistics, [name for name in entry.statistics.names if name in self._agreement.numbers]
        if len(names) < len(found.names):
            found = found.select(names)
        waiting = self._waiting
        if waiting and (waiting[0].columns != found.columns or (len(waiting) + 1) * len(found.names) > WAITING):
            self._add_up()
        self._waiting.append(found)

    def _add_up(self) -> None:
        """Add the waiting statistics to the sum, all of them in one call."""
        alike, self._waiting = self._waiting, []
        if len(alike) > 1 and alike[0].names:
            moments = Moments.stack([found.moments for found in alike]).total()
            extrema = Extrema.stack([found.extrema for found in alike]).total()
            infinite = tuple(map(sum, zip(*(found.infinite for found in alike if found.infinite), strict=True)))
            rows = sum(found.rows for found in alike)
            alike = [replace(alike[0], rows=rows, moments=moments, extrema=extrema, infinite=infinite)]
        for found in alike:
            self._sum = _filled(self._sum, found) + _filled(found, self._sum)

    def statistics(self, recipe: Recipe | None) -> Statistics:
        """The statistics of all files, the columns in the order of the data set's first file.

        Raises:
            DataError: there is no column of numbers.
            KindError: a column named in `columns` has no value anywhere.
        """
        self._add_up()
        together = self._agreement.together()
        columns = selected(together, self._columns, self._exclude, Path(self._where))
        found = self._sum.select([column.name for column in columns])
        chosen, told = set(found.names), {column.name: column for column in self._sum.left_out}
        others = [column for column in together if column.name not in chosen]
        left_out = tuple(
            told.get(column.name) or column._replace(skip_reason=column.skip_reason or NOT_SELECTED)
            for column in others
        )
        return replace(found, columns=columns, recipe=recipe or Recipe(), left_out=left_out)


def _filled(found: Statistics, other: Statistics) -> Statistics:
    """Statistics extended by the columns that only `other` has, as columns without a value."""
    if found.names == other.names:
        return found
    more = tuple(column for column in other.columns if column.name not in set(found.names))
    none = np.empty((0, len(more)))
    moments, extrema = concat([(found.moments, found.extrema), (Moments.of(none), Extrema.of(none))])
    infinite = found.infinite and (*found.infinite, *(0 for _ in more))
    return replace(found, columns=found.columns + more, moments=moments, extrema=extrema, infinite=infinite)
