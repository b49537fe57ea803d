"""Labels of the groups of a table's rows: a column, or several columns together."""

import csv
import json
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gammabeta.data.core.source import Chunk, Column
from gammabeta.errors import DataError, KindError
from gammabeta.statistics.factorize import factorized

SEVERAL = "key"  # the type of a column that stands for several: its labels are JSON lists, ["a", 3]


def names_of(by: str | Sequence[str]) -> tuple[str, ...]:
    """The names of the columns of the labels, one at least. DataError for none, or one that comes twice."""
    names = (by,) if isinstance(by, str) else tuple(by)
    if not names or len(set(names)) < len(names) or not all(isinstance(name, str) for name in names):
        raise DataError(f"by must name columns, each once, got {by!r}")
    return names


def joined_column(columns: Sequence[Column]) -> Column:
    """One column for all that the labels are of: itself if there is one.

    >>> joined_column([Column("store", "string"), Column("day", "int64")])
    Column(name='store,day', type='key', skip_reason='')
    """
    if len(columns) == 1:
        return columns[0]
    return Column(",".join(_quoted(column.name) for column in columns), SEVERAL)


def columns_of_labels(by: Column) -> tuple[str, ...]:
    """The names of the columns that `joined_column` made one of.

    >>> columns_of_labels(Column("store,day", "key"))
    ('store', 'day')
    """
    return tuple(next(csv.reader([by.name]))) if by.type == SEVERAL else (by.name,)


def _quoted(name: str) -> str:
    doubled = name.replace('"', '""')
    return f'"{doubled}"' if set(name) & set(',"') else name


def labels_of_rows(chunk: Chunk, by: Sequence[str]) -> NDArray[Any]:
    """The label of each row of a chunk, (rows,): of several columns a JSON list of theirs."""
    if len(by) == 1:
        return labels_of(chunk.column(by[0]), by[0])
    texts: list[NDArray[Any]] = []
    places = np.zeros(chunk.rows, np.int64)
    for name in by:
        labels, codes, _ = factorized(labels_of(chunk.column(name), name))
        own = np.array([json.dumps(plain(label), ensure_ascii=False) for label in labels], object)
        distinct, places = np.unique(places * max(1, len(own)) + codes.small(), return_inverse=True)
        before, last = np.divmod(distinct, max(1, len(own)))
        texts = [part[before] for part in texts] + [own[last] if len(own) else own]
    lists = np.array([f"[{', '.join(parts)}]" for parts in zip(*texts, strict=True)], object)
    return lists[places] if len(lists) else lists


def label_of(values: Any) -> Any:
    """The label that `labels_of_rows` gives to rows of these values: a tuple or list of several, or one value."""
    return (
        json.dumps([plain(value) for value in values], ensure_ascii=False)
        if isinstance(values, tuple | list)
        else values
    )


def plain(label: Any) -> Any:
    """A label as JSON holds it, the same for labels that are equal in one column: None for a missing one, whole numbers
    as integers, times as text in UTC without zeros at their end.

    >>> plain(np.float32(3)), plain(np.datetime64("2024-05-01T12:00", "ns")), plain(np.timedelta64(2000, "ms"))
    (3, '2024-05-01T12:00:00', '2 s')
    """
    if label is None or label != label:
        return None
    label = numpy_time(label)
    kind = getattr(getattr(label, "dtype", None), "kind", "O")
    if kind == "M":
        whole, point, fraction = str(label).partition(".")
        fraction = fraction.rstrip("0")
        return f"{whole}{point}{fraction}" if fraction else whole.removesuffix("T00:00:00")
    if kind == "m":
        return _duration(label)
    value = label.item() if hasattr(label, "item") else label
    if isinstance(value, Decimal):
        value = float(value) if value == float(value) else format(value.normalize(), "f")
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**64:
        return int(value)
    return value if isinstance(value, str | int | float | bool) else str(value)


def numpy_time(label: Any) -> Any:
    """A date, time or duration of Python or pandas as NumPy's; anything else as it is."""
    if isinstance(label, datetime | timedelta) and hasattr(label, "to_numpy"):  # pandas'
        return label.to_numpy()
    if isinstance(label, datetime) and label.tzinfo is not None:
        label = label.astimezone(UTC).replace(tzinfo=None)
    if isinstance(label, date):
        return np.datetime64(label)
    return np.timedelta64(label) if isinstance(label, timedelta) else label


def _duration(label: np.timedelta64) -> str:
    """A duration in the largest unit, seconds at most, in which it is whole."""
    units = ("ns", "us", "ms", "s")
    label = label if np.datetime_data(label.dtype)[0] in units else label.astype("m8[s]")
    unit, step = np.datetime_data(label.dtype)
    many, place = int(label.astype(np.int64)) * step, units.index(unit)
    while place < len(units) - 1 and many % 1000 == 0:
        many, place = many // 1000, place + 1
    return f"{many} {units[place]}"


def labels_of(column: pa.Array, name: str) -> NDArray[Any]:
    """A column as labels, (rows,): of its own type where NumPy has it, else objects; None, NaN or NaT at nulls.

    Raises:
        KindError: it is of lists, structures or maps.
        DataError: it is of text, and some is not in UTF-8.
    """
    kind = column.type
    if pa.types.is_nested(kind):
        raise KindError(f"groups must be by a column of text, numbers or dates, {name!r} is {kind}")
    if pa.types.is_date(kind) or pa.types.is_timestamp(kind) or pa.types.is_duration(kind):
        plain = column.cast(pa.timestamp(kind.unit)) if pa.types.is_timestamp(kind) and kind.tz else column
        return np.asarray(plain.to_numpy(zero_copy_only=False))
    fixed = pa.types.is_integer(kind) or pa.types.is_boolean(kind)
    if (fixed and not column.null_count) or pa.types.is_floating(kind):
        return np.asarray(column.to_numpy(zero_copy_only=False))
    try:
        encoded = column if pa.types.is_dictionary(kind) else column.dictionary_encode()
    except pa.ArrowNotImplementedError:  # UUIDs and other extensions, short decimals
        return np.array([*column.to_pylist(), None], object)[:-1]
    try:
        distinct = np.array([*encoded.dictionary.to_pylist(), None], object)
    except UnicodeDecodeError as error:
        raise DataError(f"labels must be text in UTF-8, in {name!r} one is not: {error.reason}; mend it") from None
    places: NDArray[np.intp] = np.asarray(encoded.indices.fill_null(len(distinct) - 1))
    return distinct[places]
