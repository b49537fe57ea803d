"""Selection of columns by names, patterns and exclusions."""

from collections.abc import Sequence
from fnmatch import fnmatchcase

from gammabeta.data.core.source import Column
from gammabeta.data.core.statistics import no_column
from gammabeta.data.io.remote import Place
from gammabeta.errors import DataError, KindError


def selected(
    available: Sequence[Column], columns: Sequence[str] | None, exclude: Sequence[str] | None, path: Place
) -> tuple[Column, ...]:
    """The numeric columns selected by `columns` and `exclude`, in the file's order.

    Names may be patterns such as "mean *"; a column of just that name goes before the pattern.

    Raises:
        DataError: a name that is no column, or no numeric column left.
        KindError: a column named in `columns` is not of numbers.
    """
    if columns is None and not exclude and available and not any(column.skip_reason for column in available):
        return tuple(available)
    names = [column.name for column in available]
    wanted = asked(names, columns, exclude, path)
    unfit = [column for column in available if column.name in wanted and column.skip_reason]
    if columns is not None:
        for column in unfit:
            if column.name in columns:
                raise KindError(
                    f"columns to scale must be of numbers, {column.name!r} in {str(path)!r} is {column.skip_reason} "
                    f"({column.type}); leave it out or convert it"
                )
    chosen = tuple(column for column in available if column.name in wanted and not column.skip_reason)
    if not chosen:
        kinds = ", ".join(f"{column.name}: {column.type}" for column in available[:6])
        raise DataError(
            f"at least one numeric column is needed, {str(path)!r} has none to scale ({kinds or 'no columns'})"
        )
    return chosen


def asked(names: Sequence[str], columns: Sequence[str] | None, exclude: Sequence[str] | None, path: Place) -> set[str]:
    """The names selected by `columns` and `exclude`, whatever their type. DataError for unknown names."""
    wanted = set(names) if columns is None else _matching(columns, names, path)
    return wanted - _matching(exclude or (), names, path)


def matches(pattern: str, names: Sequence[str]) -> list[str]:
    """The names that match a name or a pattern such as "mean *"; an exact name goes before the pattern.

    A list's name stands for all its places.

    >>> matches("action", ["action[0]", "action[1]", "reward"])
    ['action[0]', 'action[1]']
    """
    if pattern in names:
        return [pattern]
    return [name for name in names if fnmatchcase(name, pattern) or name.startswith(f"{pattern}[")]


def _matching(wanted: Sequence[str], names: Sequence[str], path: Place) -> set[str]:
    found = set()
    for name in wanted:
        known = matches(name, names)
        if not known:
            raise DataError(no_column(name, names, path))
        found.update(known)
    return found
