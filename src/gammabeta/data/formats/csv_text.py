"""Conversion between the text of CSV cells and values, and the chunk that holds both."""

import re
from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gammabeta.data.core import arrow_numpy
from gammabeta.data.core.arrow_numpy import Vector
from gammabeta.data.core.source import Block, Chunk, Scaling, blocks, mapped
from gammabeta.errors import KindError


def words(*values: str) -> pa.Array:
    """An array of text. `pa.array` of a list would import pandas, where that is installed, to ask what the list is.

    >>> words("a", "bc").to_pylist()
    ['a', 'bc']
    """
    encoded = [value.encode() for value in values]
    ends = np.cumsum([0, *map(len, encoded)], dtype=np.int32)
    return pa.StringArray.from_buffers(len(values), pa.py_buffer(ends), pa.py_buffer(b"".join(encoded)))


# What stands for "no value" in a column of numbers; PyArrow's own list.
_WORDS = "|#N/A|#N/A N/A|#NA|-1.#IND|-1.#QNAN|-NaN|-nan|1.#IND|1.#QNAN|N/A|NA|NULL|NaN|n/a|nan|null"
MISSING = words(*_WORDS.split("|"))
NOTHING = pa.nulls(1, pa.string())[0]

CellKind = Literal["empty", "integer", "number", "words"]
KINDS: tuple[CellKind, ...] = ("empty", "integer", "number", "words")
ARROW = {"empty": pa.null(), "integer": pa.int64(), "number": pa.float64(), "words": pa.string()}


def parsed(cells: pa.Array, kind: CellKind) -> pa.Array | None:
    """Cells converted to numbers of a kind, null where empty; None if a cell is not of it. Words stay as they are."""
    if kind == "words":
        return cells
    if kind != "empty":
        try:
            return pc.cast(cells, ARROW[kind])
        except pa.ArrowInvalid:
            pass
    trimmed = pc.ascii_trim_whitespace(cells)
    missing = pc.is_in(trimmed, value_set=MISSING)
    if kind == "empty":
        return pa.nulls(len(cells)) if pc.all(missing, min_count=0).as_py() else None
    try:
        return pc.cast(pc.if_else(missing, NOTHING, trimmed), ARROW[kind])
    except pa.ArrowInvalid:
        return None


def widened(cells: pa.Array, kind: CellKind) -> CellKind:
    """The narrowest kind, from `kind` up, that fits all the cells."""
    return next(k for k in KINDS[KINDS.index(kind) :] if parsed(cells, k) is not None)


def quoted(cells: pa.Array, delimiter: str) -> pa.Array:
    """Cells as written to a file: in quotes if they hold a delimiter, a quote or a line end."""
    needs = pc.match_substring_regex(cells, f'[{re.escape(delimiter)}"\r\n]')
    if not pc.any(needs).as_py():
        return cells
    doubled = pc.replace_substring(cells, '"', '""')
    return pc.if_else(needs, pc.binary_join_element_wise(words('"')[0], doubled, words('"')[0], words("")[0]), cells)


def quoted_name(name: str, delimiter: str) -> str:
    """One cell as written to a file."""
    return '"' + name.replace('"', '""') + '"' if set(name) & {delimiter, '"', "\r", "\n"} else name


def spelled(column: pa.Array) -> pa.Array:
    """Values as text: numbers in the fewest digits that read back the same, nothing for nulls."""
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if pa.types.is_float16(column.type):
        column = column.cast(pa.float32())
    return pc.fill_null(column.cast(pa.string()), words("")[0])


def lines(columns: Sequence[pa.Array], delimiter: str, line_end: str) -> memoryview:
    """Lines of text from columns of quoted cells without nulls."""
    ended = [*columns[:-1], pc.binary_join_element_wise(columns[-1], *words(line_end, ""))]
    joined = pc.binary_join_element_wise(*ended, words(delimiter)[0]) if len(ended) > 1 else ended[0]
    end = joined.offset + len(joined)
    offsets = memoryview(joined.buffers()[1]).cast("i")
    return memoryview(joined.buffers()[2])[offsets[joined.offset] : offsets[end]] if len(joined) else memoryview(b"")


class TextChunk(Chunk):
    """Rows of a CSV file: the cells as text, and the values of those columns that are numbers.

    changed: which columns have been scaled, and for each which of its cells held no value before.
    """

    def __init__(
        self, cells: pa.RecordBatch, typed: pa.RecordBatch, changed: dict[str, pa.Array], start: int, done: int
    ) -> None:
        self.cells, self._typed, self.changed = cells, typed, changed
        self.start, self.rows, self.done = start, cells.num_rows, done

    @property
    def batch(self) -> pa.RecordBatch:
        """The rows with their types."""
        return self._typed

    def __getitem__(self, name: str) -> Vector:
        """A numeric column, NaN where there is no value. Shape (rows,)."""
        if pa.types.is_string(self._typed.column(name).type):
            raise KindError(f"column {name!r} must be of numbers to be had as an array, it is text")
        return arrow_numpy.filled(self._typed.column(name))

    def present(self, names: Sequence[str]) -> Iterator[Block]:
        """The columns' values, without nulls, as blocks in any order."""
        return blocks([self._typed.column(name) for name in names])

    def columns(self, names: Sequence[str]) -> list[Vector]:
        """Each column's values, without nulls."""
        return [arrow_numpy.present(self._typed.column(name)) for name in names]

    def scaled(self, scaling: Scaling) -> "TextChunk":
        """The same rows with the columns of `scaling` mapped, the others untouched."""
        typed, suspect = mapped(self._typed, scaling)
        missing = {name: pc.is_null(self._typed.column(name), nan_is_null=True) for name in scaling.names}
        result = TextChunk(self.cells, typed, missing | self.changed, self.start, self.done)
        result.suspect = suspect
        return result
