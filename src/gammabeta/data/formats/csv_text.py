"""Conversion between the text of CSV cells and values, and the chunk that holds both."""

import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from math import isfinite
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from gammabeta.data.core import arrow_numpy
from gammabeta.data.core.arrow_numpy import Vector
from gammabeta.data.core.read_options import PLAIN, ReadOptions
from gammabeta.data.core.source import Block, Chunk, Scaling, blocks, mapped
from gammabeta.errors import KindError
from gammabeta.kernels import thread_pool


def words(*values: str) -> pa.Array:
    """An array of text. `pa.array` of a list would import pandas, where that is installed, to ask what the list is.

    >>> words("a", "bc").to_pylist()
    ['a', 'bc']
    """
    encoded = [value.encode() for value in values]
    ends = np.cumsum([0, *map(len, encoded)], dtype=np.int32)
    return pa.StringArray.from_buffers(len(values), pa.py_buffer(ends), pa.py_buffer(b"".join(encoded)))


# What stands for "no value" in a column of numbers: PyArrow's own list, and what R, SQL, Excel and people write.
_WORDS = "|#N/A|#N/A N/A|#NA|-1.#IND|-1.#QNAN|-NaN|-nan|1.#IND|1.#QNAN|N/A|NA|NULL|NaN|n/a|nan|null"
_WORDS += "|<NA>|None|none|NONE|Null|na|NaT|nil|NAN|-|--|?|.|\\N|#DIV/0!|#VALUE!|#REF!|#NAME?|#NUM!|#NULL!"
MISSING = tuple(_WORDS.split("|"))
NOTHING = pa.nulls(1, pa.string())[0]

CellKind = Literal["empty", "integer", "number", "words"]
KINDS: tuple[CellKind, ...] = ("empty", "integer", "number", "words")
ARROW = {"empty": pa.null(), "integer": pa.int64(), "number": pa.float64(), "words": pa.string()}

JOINED_ROWS = 1 << 10  # rows: of fewer a call for each column costs more than its cells, so columns are joined
JOINED = 256  # columns: if one of them is of words all are converted one by one


def _numbers(held: NDArray[Any]) -> pa.Array:
    """An Arrow array over an array of numbers: `pa.array` would import pandas."""
    return pa.Array.from_buffers(pa.from_numpy_dtype(held.dtype), len(held), [None, pa.py_buffer(held)])


class CellFormat:
    """How the cells of a CSV file are written: words for missing values, decimal and thousands signs."""

    def __init__(self, options: ReadOptions = PLAIN) -> None:
        self._missing = words(*dict.fromkeys((*MISSING, *options.missing)))
        sentinels = sorted({number for number in map(_finite, options.missing) if number is not None})
        whole = [int(x) for x in sentinels if x.is_integer() and abs(x) < 2**63]
        self._sentinels = {
            pa.float64(): _numbers(np.array(sentinels, np.float64)),
            pa.int64(): _numbers(np.array(whole, np.int64)),
        }
        self.decimal, self._thousands = options.decimal, options.thousands
        self._plain = options.decimal == "." and options.thousands is None
        if options.thousands is not None:
            sign, point = re.escape(options.thousands), re.escape(options.decimal)
            self._grouped = (
                rf"^[+-]?[0-9]{{1,3}}({sign}[0-9]{{2,3}})*{sign}[0-9]{{3}}({point}[0-9]*)?([eE][+-]?[0-9]+)?$"
            )

    def parsed(self, cells: pa.Array, kind: CellKind) -> pa.Array | None:
        """Cells converted to numbers of a kind, null where empty; None if a cell is not of it. Words stay as they are.

        kind: "empty" for cells without a value.
        """
        if kind == "words":
            return cells
        if kind != "empty" and self._plain:
            with suppress(pa.ArrowInvalid):
                return self._without_sentinels(pc.cast(cells, ARROW[kind]))
        trimmed = pc.ascii_trim_whitespace(cells)
        missing = pc.is_in(trimmed, value_set=self._missing)
        if kind == "empty":
            return pa.nulls(len(cells)) if pc.all(missing, min_count=0).as_py() else None
        text = self._with_point(pc.if_else(missing, NOTHING, trimmed))
        try:
            return None if text is None else self._without_sentinels(pc.cast(text, ARROW[kind]))
        except pa.ArrowInvalid:
            return None

    def _with_point(self, text: pa.Array) -> pa.Array | None:
        """Numbers without thousands signs and with a decimal point; None if one is not written so."""
        if self._thousands is not None:
            grouped = pc.match_substring(text, self._thousands)
            well = pc.or_(pc.invert(grouped), pc.match_substring_regex(text, self._grouped))
            if not pc.all(well, min_count=0).as_py():
                return None
            text = pc.replace_substring(text, self._thousands, "")
        if self.decimal != ".":
            if pc.any(pc.match_substring(text, "."), min_count=0).as_py():
                return None
            text = pc.replace_substring(text, self.decimal, ".")
        return text

    def _without_sentinels(self, values: pa.Array) -> pa.Array:
        sentinels = self._sentinels[values.type]
        if not len(sentinels):
            return values
        return pc.if_else(pc.is_in(values, value_set=sentinels), pa.scalar(None, values.type), values)

    def parsed_columns(self, columns: Sequence[pa.Array], kinds: Sequence[CellKind]) -> list[pa.Array | None]:
        """`parsed` of each column. Of few rows the columns of a kind are converted in one call."""
        found: list[pa.Array | None] = [None] * len(columns)
        alone = []
        for kind, at in _joinable(columns, kinds):
            whole = self.parsed(pa.concat_arrays([columns[i] for i in at]), kind) if len(at) > 1 else None
            if whole is None:
                alone += at
                continue
            rows = len(columns[0])
            for place, i in enumerate(at):
                found[i] = whole.slice(place * rows, rows)
        for i, column in zip(alone, thread_pool.run(lambda i: self.parsed(columns[i], kinds[i]), alone), strict=True):
            found[i] = column
        return found

    def widened(self, cells: pa.Array, kind: CellKind) -> CellKind:
        """The narrowest kind, from `kind` up, that fits all the cells."""
        return next(k for k in KINDS[KINDS.index(kind) :] if self.parsed(cells, k) is not None)

    def widened_columns(
        self, columns: Sequence[pa.Array], kinds: Sequence[CellKind]
    ) -> tuple[list[CellKind], dict[int, pa.Array]]:
        """`widened` of each column, and the values of those parsed on the way. Of few rows many are found at once."""
        found, values = list(kinds), dict[int, pa.Array]()
        alone = []
        for kind, at in _joinable(columns, kinds):
            sure = self._all_numbers([columns[i] for i in at], kind) if len(at) > 1 and self._plain else {}
            for place, i in enumerate(at):
                if place in sure:
                    found[i], values[i] = sure[place]
                elif kind != "words":
                    alone.append(i)
        for i in alone:
            found[i] = self.widened(columns[i], kinds[i])
        return found, values

    def _all_numbers(self, columns: Sequence[pa.Array], kind: CellKind) -> dict[int, tuple[CellKind, pa.Array]]:
        """Of columns that are all of integers or numbers, those of which a glance tells the kind, and their values."""
        rows, cells = len(columns[0]), pa.concat_arrays(columns)
        for wider in KINDS[max(1, KINDS.index(kind)) : 3]:
            whole = self.parsed(cells, wider)
            if whole is None:
                continue
            there = np.asarray(pc.is_valid(whole)).reshape(-1, rows)
            odd = np.asarray(pc.match_substring_regex(cells, r"[^0-9+\-\s]")).reshape(-1, rows)
            certain = there.any(1) if wider in ("integer", kind) else (odd & there).any(1)
            return {int(i): (wider, whole.slice(i * rows, rows)) for i in np.flatnonzero(certain).tolist()}
        return {}

    def first_word(self, cells: pa.Array) -> int:
        """The position of the first cell that is neither a number nor missing; there must be one."""
        low, high = 0, len(cells)  # the first `low` cells are numbers, the first `high` are not
        while high - low > 1:
            middle = (low + high) // 2
            if self.parsed(cells.slice(0, middle), "number") is None:
                high = middle
            else:
                low = middle
        return low

    def spelled(self, column: pa.Array) -> pa.Array:
        """Values as text, in the file's decimal sign. See `spelled`."""
        text = spelled(column)
        return text if self.decimal == "." else pc.replace_substring(text, ".", self.decimal)


def _joinable(columns: Sequence[pa.Array], kinds: Sequence[CellKind]) -> Iterator[tuple[CellKind, list[int]]]:
    """The places of columns of one kind, several where they are to be joined."""
    step = JOINED if columns and 0 < len(columns[0]) <= JOINED_ROWS else 1
    places: dict[CellKind, list[int]] = {}
    for i, kind in enumerate(kinds):
        places.setdefault(kind, []).append(i)
    for kind, at in places.items():
        for first in range(0, len(at), 1 if kind == "words" else step):
            yield kind, at[first : first + (1 if kind == "words" else step)]


def _finite(word: str) -> float | None:
    """The number that a word is, None if it is none."""
    try:
        value = float(word)
    except ValueError:
        return None
    return value if isfinite(value) else None


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
