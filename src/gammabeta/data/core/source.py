"""The base classes of readers: `Source`, a file; `Chunk`, some of its rows; `Column`, a name and a type.

A `Source` is a file that can be read again and again, once for its statistics and once to be scaled. A `Chunk` is some
of its rows, all columns or some. Chunks hand out their numbers as *blocks*, arrays whose first axis is the rows: a
column is a block of shape (rows,), a table of equal types one of shape (rows, k).
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from gammabeta.affine import Affine
from gammabeta.data.core import arrow_numpy, nested
from gammabeta.data.core.arrow_numpy import Vector
from gammabeta.data.core.read_options import PLAIN, ReadOptions
from gammabeta.data.io.paths import State, changed, state_of
from gammabeta.data.io.remote import Place
from gammabeta.errors import DataError, KindError
from gammabeta.kernels.affine import apply_columns
from gammabeta.statistics import Extrema

CHUNK_BYTES = 4 << 20  # what a chunk takes in memory, about; several are on their way at once
PIECE_BYTES = 8 << 20  # what a piece takes, where statistics are taken
PIECE_ROWS = 1 << 19  # of a column at a time, where statistics are taken: a call costs as much as 100,000 values
STACK_BELOW = 1 << 17  # rows: under it a call for each column costs more than copying the columns side by side
STACK_ROWS = 2048  # at a time
NOT_SELECTED = "not selected"  # why a column of numbers is left out
THE_WEIGHTS = "the weights"


class Column(NamedTuple):
    """A column's name, its type as Arrow spells it, and why it is not one to scale ("" if it is)."""

    name: str
    type: str
    skip_reason: str = ""


def is_pooled(column: Column) -> bool:
    """Whether a column that is measured is of lists, any number of whose values are in a row."""
    return column.type.startswith(("list<", "large_list<", "fixed_size_list<", "extension<arrow.fixed_shape_tensor"))


class Block(NamedTuple):
    """Numbers of some columns: `at`, their places among the names asked for; `values`, (rows,) or (rows, len(at))."""

    at: tuple[int, ...]
    values: Vector


class Restart(Exception):  # noqa: N818
    """Raised when a source learns a column's type in the middle of a pass: the pass must begin again."""


class Scaling:
    """An affine map of shape (k,), or (rows, k) for each row of a chunk, with the names of the k columns it scales.

    `schema` is that of all the columns once these are scaled, `places` are where these stand in it.
    """

    def __init__(self, names: Sequence[str], affine: Affine, schema: pa.Schema) -> None:
        self.names, self.affine, self.schema = tuple(names), affine, schema
        place = {name: i for i, name in enumerate(schema.names)}
        self.places = [place[name] for name in names]


class Chunk(ABC):
    """Some consecutive rows of a file, whose memory lives as long as the chunk or an array taken from it.

    `chunk[name]` is a column as a NumPy array of shape (rows,): nulls are NaN. `start` is the number of its first row,
    from 0, and `done` how many bytes of the file have been read once it is.
    """

    start: int
    rows: int
    done: int
    suspect: bool = False  # scaling met an infinity, be it where there is no value

    @abstractmethod
    def __getitem__(self, name: str) -> Vector:
        """A numeric column, NaN where there is no value. Shape (rows,)."""

    @abstractmethod
    def present(self, names: Sequence[str]) -> Iterator[Block]:
        """The columns' values without nulls, as blocks in any order; views where nothing needs a copy."""

    @abstractmethod
    def columns(self, names: Sequence[str]) -> list[Vector]:
        """Each column's values, without nulls, perhaps with NaN: shape (rows − nulls,)."""

    @abstractmethod
    def scaled(self, scaling: Scaling) -> "Chunk":
        """The same rows with the columns of `scaling` mapped, the others untouched."""

    @property
    @abstractmethod
    def batch(self) -> pa.RecordBatch:
        """The rows as Arrow holds them."""

    def column(self, name: str) -> pa.Array:
        """A column as Arrow holds it."""
        return self.batch.column(name)

    def row_of(self, name: str, at: int) -> int:
        """The row of the file, from 0, that a place in `chunk[name]` is of."""
        return self.start + at


class TableChunk(Chunk):
    """Rows that are an Arrow record batch. A column of lists is the numbers of all its lists, one after the other."""

    def __init__(self, batch: pa.RecordBatch, start: int, done: int) -> None:
        self._batch, self.start, self.rows, self.done = batch, start, batch.num_rows, done

    @property
    def batch(self) -> pa.RecordBatch:
        """The rows as Arrow holds them."""
        return self._batch

    def __getitem__(self, name: str) -> Vector:
        """A numeric column, NaN where there is no value. Shape (rows,), of lists (numbers,)."""
        column = nested.elements(self.column(name))
        if not arrow_numpy.is_number(column.type):
            raise KindError(f"column {name!r} must be of numbers to be had as an array, it is {column.type}")
        return arrow_numpy.filled(column)

    def present(self, names: Sequence[str]) -> Iterator[Block]:
        """The columns' values without nulls, as blocks in any order; views where nothing needs a copy."""
        return blocks([self.column(name) for name in names])

    def columns(self, names: Sequence[str]) -> list[Vector]:
        """Each column's values, without nulls."""
        return [arrow_numpy.present(nested.elements(self.column(name))) for name in names]

    def row_of(self, name: str, at: int) -> int:
        """The row of the file, from 0, that a place in `chunk[name]` is of."""
        return self.start + nested.row_of(self.column(name), at)

    def scaled(self, scaling: Scaling) -> "TableChunk":
        """The same rows with the columns of `scaling` mapped, the others untouched."""
        batch, suspect = mapped(self._batch, scaling)
        result = TableChunk(batch, self.start, self.done)
        result.suspect = suspect
        return result


def chunk_bytes(columns: int) -> int:
    """The target size of a chunk in bytes: larger for many columns, since some work is done column by column."""
    return max(CHUNK_BYTES, min(4 * CHUNK_BYTES, columns << 12))


def blocks(columns: Sequence[pa.Array]) -> Iterator[Block]:
    """Blocks of Arrow columns without nulls: views or, where rows are few, copies of the columns of one type."""
    alike: dict[np.dtype[Any], list[int]] = {}
    stacking = len(columns) > 1 and len(columns[0]) < STACK_BELOW
    for i, column in enumerate(columns):
        if stacking and not column.null_count and not nested.is_list(column.type):
            alike.setdefault(_standing(column.type), []).append(i)
        else:
            yield Block((i,), arrow_numpy.present(nested.elements(column)))
    for dtype, at in alike.items():
        yield Block(tuple(at), stacked([arrow_numpy.raw(columns[i]) for i in at], dtype))


def stacked(columns: Sequence[Vector], dtype: np.dtype[Any]) -> Vector:
    """k columns (n,) copied into one array (n, k): statistics of 64 columns at once are 100 times faster.

    Some rows at a time, of every column, stay in the cache: three times as fast as the whole transposed in one go.
    """
    table = np.empty((len(columns[0]), len(columns)), dtype)
    for start in range(0, len(table), STACK_ROWS):
        rows = slice(start, start + STACK_ROWS)
        np.stack([column[rows] for column in columns], axis=1, out=table[rows])
    return table


def _standing(kind: pa.DataType) -> np.dtype[Any]:
    """The dtype of a column in a block of several: floats as they are, integers in one that holds them exactly."""
    if pa.types.is_decimal(kind):
        return np.dtype(np.float64)
    dtype = arrow_numpy.dtype_of(kind)
    return dtype if dtype.kind == "f" or dtype.itemsize == 8 else np.dtype(np.float64)


def mapped(batch: pa.RecordBatch, scaling: Scaling) -> tuple[pa.RecordBatch, bool]:
    """A copy of the batch with its columns mapped, null where it was null, and whether the maps gave an infinity."""
    out = batch.columns
    alike: dict[pa.DataType, list[int]] = {}
    given = {place: nested.elements(out[place]) for place in scaling.places}
    for i, place in enumerate(scaling.places):
        alike.setdefault(given[place].type, []).append(i)
    infinite = 0
    by_row = len(scaling.affine.shape) == 2
    for at in [[i] for some in alike.values() for i in some] if by_row else alike.values():
        places = [scaling.places[i] for i in at]
        values = [arrow_numpy.raw(given[place]) for place in places]
        kind = values[0].dtype if values[0].dtype.kind == "f" else np.dtype(np.float64)
        images = [arrow_numpy.fresh(len(vector), kind) for vector in values]
        if by_row:
            infinite += scaling.affine[..., at[0]]._image(values[0], images[0])[1]
        else:
            affine = scaling.affine[at]
            infinite += apply_columns(values, images, (affine.center, affine.slope, affine.shift))
            if affine._extreme is not None:
                for i in np.flatnonzero(affine._extreme).tolist():
                    affine[[i]](values[i][:, None], out=images[i][:, None])
        for place, image in zip(places, images, strict=True):
            out[place] = nested.relisted(out[place], arrow_numpy.restored(image, given[place]))
    return pa.RecordBatch.from_arrays(out, schema=scaling.schema), infinite > 0


class Source(ABC):
    """A file, or a table in memory, that can be read in chunks as often as needed.

    `columns` may be a guess until `learn` or a whole pass has gone through: text says what it is only at its end.
    `rows` is None where the format does not tell, `size` is in bytes, 0 where nobody knows. What is `single_pass`
    can be measured, but not be scaled by its own statistics.
    """

    path: Place
    schema: pa.Schema
    rows: int | None
    size: int
    single_pass: bool = False
    in_caller_thread: bool = False  # its chunks are made by the caller's own code
    state: State | None = None  # of the file, as it was before anything was read
    read: ReadOptions = PLAIN
    scratch: Path | None = None  # where temporary files may go; the system's own place without it

    @property
    @abstractmethod
    def columns(self) -> tuple[Column, ...]:
        """Every column, in the file's order."""

    @abstractmethod
    def chunks(self, names: Sequence[str] | None = None) -> Iterator[Chunk]:
        """The rows in order, some columns or all; a new pass at each call. Raises `Restart` as said there."""

    def reason(self, column: Column) -> str:
        """Why a column is not one to scale, in as many words as there are; "" if it is one."""
        return column.skip_reason

    def measurable(self) -> tuple[Column, ...]:
        """The columns as statistics see them: that of the weights is none to measure.

        Raises:
            DataError: there is no column of the weights.
            KindError: it is not of numbers.
        """
        weights = self.read.weights
        if weights is None:
            return self.columns
        found = next((column for column in self.columns if column.name == weights), None)
        if found is None:
            raise DataError(f"there is no column {weights!r} of weights in {str(self.path)!r}; leave weights out")
        if found.skip_reason or is_pooled(found):
            raise KindError(
                f"weights must be numbers, one in each row, {weights!r} in {str(self.path)!r} is {found.type}"
            )
        return tuple(c._replace(skip_reason=THE_WEIGHTS) if c.name == weights else c for c in self.columns)

    def left_out(self, names: Iterable[str]) -> tuple[Column, ...]:
        """The columns that are not among `names`, each with the reason why."""
        chosen = set(names)
        others = [column for column in self.columns if column.name not in chosen]
        return tuple(
            column._replace(
                skip_reason=THE_WEIGHTS if column.name == self.read.weights else self.reason(column) or NOT_SELECTED
            )
            for column in others
        )

    def pieces(self, names: Sequence[str]) -> Iterator[tuple[tuple[str, ...], Chunk]]:
        """All values of the columns, in pieces of some columns and some rows, in any order."""
        for chunk in self.chunks(names):
            yield tuple(names), chunk

    def shares(self, names: Sequence[str]) -> list[tuple[str, ...]]:
        """The columns in groups whose `pieces` threads may read at the same time: one if they are read in one go."""
        return [tuple(names)]

    def footer_minmax(self, names: Sequence[str]) -> dict[str, Extrema]:
        """The extrema from the file's footer, without reading values, of those columns for which it states them."""
        return {}

    @contextmanager
    def unchanged(self) -> Iterator[None]:
        """A context that raises `FileError` at its end if the file has changed since it was opened.

        Raises:
            FileError: its size, its time or its place on the disk is another one, whatever else went wrong for that.
        """
        try:
            yield
        except Exception:
            self._check()
            raise
        self._check()

    def _check(self) -> None:
        if self.state is not None and state_of(self.path) != self.state:
            raise changed(self.path)

    def learn(self) -> None:  # noqa: B027
        """Find out the columns' types, with a pass over the file if need be."""
