"""The check that the columns of a data set's files agree.

A column may be of another type of numbers in another file: sums are exact whatever the type, so that integers and
floats of any width add up, and the data set's type is what `Statistics` of both would be of. What is numbers in one
file may not be words or dates in another, nor missing there, unless the union of all columns is asked for; without a
value it may be, where a format then knows no type (CSV, or Arrow's null).
"""

from collections.abc import Sequence
from functools import reduce
from pathlib import Path

from gammabeta.data.core.columns import asked, matches
from gammabeta.data.core.source import Column
from gammabeta.data.core.statistics import joined
from gammabeta.errors import DataError


def meant(
    available: Sequence[Column],
    columns: Sequence[str] | None,
    exclude: Sequence[str] | None,
    path: Path,
    union: bool = False,
) -> set[str]:
    """The names selected in one file of several: excluded names need not be in it, nor any others in a `union`."""
    names = [column.name for column in available]
    if columns is not None and union:
        columns = [name for name in columns if matches(name, names)]
    try:
        return asked(names, columns, [name for name in exclude or () if matches(name, names)], path)
    except DataError as error:
        raise DataError(f"{error}; where other files have it, count it as missing here: --union") from None


class SchemaCheck:
    """A check of the columns of several files, given one after the other in any order.

    columns, exclude: which columns, as for `measure`; union: they may be missing in some files. `numbers` holds those
    that are of numbers in the files so far.
    """

    def __init__(self, columns: Sequence[str] | None, exclude: Sequence[str] | None, union: bool = False) -> None:
        self._columns, self._exclude, self._union = columns, exclude, union
        self._layouts: dict[tuple[Column, ...], tuple[int, Path]] = {}
        self.numbers: dict[str, tuple[Column, Path]] = {}
        self._others: dict[str, tuple[Column, Path]] = {}

    def look(self, place: int, path: Path, columns: tuple[Column, ...]) -> None:
        """Check a file's columns. place: its position in the data set, from 0.

        Raises:
            DataError: they do not agree with those of another file, or one that is asked for is not there.
        """
        seen = self._layouts.get(columns)
        if seen is None:
            self._compare(path, columns)
        if seen is None or place < seen[0]:
            self._layouts[columns] = place, seen[1] if seen else path

    def _compare(self, path: Path, columns: tuple[Column, ...]) -> None:
        names = meant(columns, self._columns, self._exclude, path, self._union)
        here = {column.name: column for column in columns if column.name in names and column.skip_reason != "empty"}
        for name, column in here.items():
            other = (self._others if not column.skip_reason else self.numbers).get(name)
            if other is not None:
                raise _differ(column, path, *other)
        everything = {column.name for column in columns}
        for name, (_, known) in self.numbers.items():
            if name not in everything and not self._union:
                raise _lacking(name, path, known)
        for name, column in here.items():
            if column.skip_reason:
                self._others.setdefault(name, (column, path))
            elif name not in self.numbers:
                if not self._union:
                    self._see_to_it_that_all_have(name, path)
                self.numbers[name] = column, path

    def _see_to_it_that_all_have(self, name: str, path: Path) -> None:
        for layout, (_, earlier) in self._layouts.items():
            if all(column.name != name for column in layout):
                raise _lacking(name, earlier, path)

    def together(self) -> list[Column]:
        """The columns of all files, the first file's first, each with one type for all."""
        kinds: dict[str, set[Column]] = {}
        for layout, _ in sorted(self._layouts.items(), key=lambda item: item[1][0]):
            for column in layout:
                kinds.setdefault(column.name, set()).add(column)
        return [_together(found) for found in kinds.values()]


def _together(kinds: set[Column]) -> Column:
    """One column for all the types in which it came, whatever their order."""
    in_order = sorted(kinds, key=lambda column: column.type)
    numbers = [column for column in in_order if not column.skip_reason]
    return reduce(joined, numbers) if numbers else in_order[-1]


def _differ(column: Column, path: Path, known: Column, first: Path) -> DataError:
    return DataError(
        f"a column must be of numbers in every file or in none, {column.name!r} is {_kind(known)} in {str(first)!r} "
        f"and {_kind(column)} in {str(path)!r}; convert one, or leave the column out"
    )


def _kind(column: Column) -> str:
    return f"of {column.type}" if column.skip_reason in ("", "not numeric") else f"{column.skip_reason} ({column.type})"


def _lacking(name: str, path: Path, first: Path) -> DataError:
    return DataError(
        f"every file must have the columns that are scaled, {name!r} of {str(first)!r} is missing in {str(path)!r}; "
        "leave out the column, or the file, or count what is not there as missing: --union"
    )
