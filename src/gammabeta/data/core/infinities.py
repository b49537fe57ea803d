"""The refusal of infinities: an error that says in which column and row the first one is."""

from collections.abc import Sequence

import numpy as np

from gammabeta.data.core import arrow_numpy
from gammabeta.data.core.arrow_numpy import Vector
from gammabeta.data.core.source import Chunk
from gammabeta.data.io.remote import Place
from gammabeta.errors import DataError

REMEDY = "remove it or leave it empty, or count infinities as missing: --infinite omit"


def row_place(row: int) -> str:
    """A row as error messages say it. row: from 0."""
    return f"row {row + 1} (the first row of data is 1)"


def infinity_error(
    name: str,
    value: float,
    where: int | str,
    path: Place,
    remedy: str = REMEDY,
) -> DataError:
    """The error that an infinity was met. where: its row, from 0, or its place in words."""
    place = row_place(where) if isinstance(where, int) else where
    return DataError(
        f"values must be finite or missing, column {name!r} of {str(path)!r} holds {value} in {place}; {remedy}"
    )


def without_infinities(values: Vector) -> Vector:
    """A vector with NaN in the place of ±inf: itself if it has none."""
    infinite = np.isinf(values)
    return np.where(infinite, values.dtype.type(np.nan), values) if infinite.any() else values


def refuse_infinities(chunk: Chunk, names: Sequence[str], path: Place) -> None:
    """Raise `infinity_error` for the first infinity of a chunk's columns, if there is one."""
    for name in names:
        values = chunk[name]
        at = arrow_numpy.first_infinity(values)
        if at >= 0:
            raise infinity_error(name, float(values[at]), chunk.row_of(name, at), path)
