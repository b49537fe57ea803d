"""Which columns are meant: those named, or all that are numbers, but for those left out."""

from collections.abc import Sequence
from fnmatch import fnmatchcase

from gammabeta.data.remote import Place
from gammabeta.data.source import Column
from gammabeta.data.state import listed
from gammabeta.errors import DataError, KindError


def selected(
    available: Sequence[Column], columns: Sequence[str] | None, exclude: Sequence[str] | None, path: Place
) -> tuple[Column, ...]:
    """The columns to scale, in the file's order.

    Names may be patterns such as "mean *"; a column of just that name goes before the pattern.

    Raises:
        DataError: a name that is no column, or no numeric column left.
        KindError: a column named in `columns` is not of numbers.
    """
    names = [column.name for column in available]
    wanted = set(names) if columns is None else _matching(columns, names, path)
    wanted -= _matching(exclude or (), names, path)
    barred = [column for column in available if column.name in wanted and column.barred]
    if columns is not None:
        for column in barred:
            if column.name in columns:
                raise KindError(
                    f"columns to scale must be of numbers, {column.name!r} in {str(path)!r} is {column.barred} "
                    f"({column.type}); leave it out or convert it"
                )
    chosen = tuple(column for column in available if column.name in wanted and not column.barred)
    if not chosen:
        kinds = ", ".join(f"{column.name}: {column.type}" for column in available[:6])
        raise DataError(
            f"at least one numeric column is needed, {str(path)!r} has none to scale ({kinds or 'no columns'})"
        )
    return chosen


def _matching(wanted: Sequence[str], names: Sequence[str], path: Place) -> set[str]:
    found = set()
    for name in wanted:
        matches = [name] if name in names else [known for known in names if fnmatchcase(known, name)]
        if not matches:
            raise DataError(f"there is no column {name!r} in {str(path)!r}; it has {listed(names)}")
        found.update(matches)
    return found
