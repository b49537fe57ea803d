"""Source and sink of CSV files: cells stay text, so that unscaled columns are written back character by character."""

import codecs
import csv
import io
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as arrow_csv

from gammabeta.data.core import arrow_numpy
from gammabeta.data.core.batches import gathered
from gammabeta.data.core.read_options import PLAIN, ReadOptions
from gammabeta.data.core.sink import Sink
from gammabeta.data.core.source import PIECE_BYTES, Chunk, Column, Restart, Source
from gammabeta.data.formats import csv_rows, csv_stream, csv_text
from gammabeta.data.formats.csv_quotes import UnclosedError, Watched
from gammabeta.data.formats.csv_text import TextChunk
from gammabeta.data.formats.table import unique
from gammabeta.data.io.paths import arrow_has_threads, reading
from gammabeta.data.io.remote import Place
from gammabeta.errors import FileError, KindError
from gammabeta.kernels import thread_pool

BLOCK_BYTES = 1 << 20  # of text; Arrow reads some blocks ahead
LARGEST_BLOCK = 1 << 26  # and so of a row; Arrow holds some ten times that
LARGEST_HEADER = 1 << 24  # characters: a megabyte of gzip may hold a line of a gigabyte
MAX_COLUMNS = 1 << 18  # a third of a millisecond and some kilobytes each, at every block
DELIMITERS = ",;\t|"
SHOWN = 40  # characters of a cell in a message


class CsvSource(Source):
    """A CSV file with a header line, perhaps compressed.

    A column is of integers, of numbers or of words; which, only the last line can tell. The first block is believed
    until a later one says otherwise: then all of the file is looked through, and the pass begins anew (`Restart`).
    """

    def __init__(self, path: Place, options: ReadOptions = PLAIN) -> None:
        self.path, self.size, self.rows = path, path.stat().st_size, None
        self.read, self.format = options, csv_text.CellFormat(options)
        with reading(path, "CSV"):
            self._compression = csv_stream.compression_of(path)
            try:
                self.encoding = _other_than_utf8(options.encoding) or csv_stream.utf16_of(path, self._compression)
                self.header, self.names, self.delimiter, self.line_end = self._read_header()
            except UnicodeError:
                raise self._not_text() from None
            except csv.Error as error:
                raise FileError(f"{str(path)!r} cannot be read as CSV: its first line: {error}") from None
            if len(self.names) > MAX_COLUMNS:
                raise FileError(
                    f"a CSV file must have at most {MAX_COLUMNS:,} columns, {str(path)!r} has {len(self.names):,}; "
                    "write Parquet, or an array in .npy"
                )
            unique(self.names, path)
            self._block = max(BLOCK_BYTES, min(8 * BLOCK_BYTES, len(self.names) << 10))
            self._renamed = any(name.startswith("Unnamed: ") for name in self.names)
            self._trailing = False  # rows end in delimiters that the header has not
            self._kinds: list[csv_text.CellKind] = ["empty"] * len(self.names)
            self._first_words: dict[str, str] = {}  # what made a column text
            # a file of one block: its cells, the bytes read and values that were parsed, so that it is read once
            self._held: tuple[pa.RecordBatch, int, dict[int, pa.Array]] | None = None
            self._look(lambda: "empty" not in self._kinds)

    @property
    def columns(self) -> tuple[Column, ...]:
        """Every column, in the file's order."""
        skip_reason = {"empty": "empty", "words": "not numeric"}
        return tuple(
            Column(name, arrow_numpy.type_name(csv_text.ARROW[kind]), skip_reason.get(kind, ""))
            for name, kind in zip(self.names, self._kinds, strict=True)
        )

    @property
    def schema(self) -> pa.Schema:
        """Integers are int64, other numbers float64, words strings."""
        return pa.schema([(name, csv_text.ARROW[kind]) for name, kind in zip(self.names, self._kinds, strict=True)])

    @property
    def looks_headless(self) -> bool:
        """Whether the first line seems to be one of data: fractions are no names."""
        return self.read.header and all(_is_fraction(name) for name in self.names)

    @property
    def _by_arrow(self) -> bool:
        """Whether Arrow can read the file by itself, on threads of its own; else blocks of text are made for it."""
        given = self.read
        plain = given.header and not given.skip_rows and given.comment is None and self.encoding is None
        return plain and not self._renamed and not self._trailing and not csv_stream.is_of_python(self._compression)

    def reason(self, column: Column) -> str:
        """Why a column is not scaled, with the first cell that made it text."""
        found = self._first_words.get(column.name)
        return f"{column.skip_reason}: {found}" if found else column.skip_reason

    def _open(self) -> tuple[Any, Any]:
        """The file, and its text as UTF-8."""
        raw, stream = csv_stream.open_bytes(self.path, self._compression)
        return raw, csv_stream.Utf8Stream(stream, self.encoding) if self.encoding else stream

    def _open_rows(self) -> tuple[Any, Any]:
        """The file, and its text after the header."""
        raw, stream = self._open()
        left = len(self.header)
        while left > 0 and (data := stream.read(min(left, BLOCK_BYTES))):
            left -= len(data)
        return raw, stream

    def _read_header(self) -> tuple[bytes, list[str], str, str]:
        """What comes before the first row, with its line ends; the names, the delimiter and the line end."""
        _, stream = self._open()
        taken: list[str] = []
        with io.TextIOWrapper(io.BufferedReader(stream), "utf-8", newline="") as decoded:

            def recorded() -> Iterator[str]:
                left = LARGEST_HEADER
                while line := decoded.readline(left):
                    taken.append(line)
                    left -= len(line)
                    if left <= 0:
                        raise FileError(
                            f"the first line of {str(self.path)!r} must name the columns in fewer than "
                            f"{LARGEST_HEADER:,} characters, it goes on; is it a CSV file, and is each quote in it "
                            "closed?"
                        )
                    yield line.removeprefix("\ufeff")

            rows = recorded()
            for _ in islice(rows, self.read.skip_rows):
                pass
            first, before = next(rows, ""), len(taken) - 1
            while self.read.comment is not None and first.lstrip(" \t").startswith(self.read.comment):
                first, before = next(rows, ""), len(taken) - 1
            if not first.strip():
                what = "first line" if not self.read.skip_rows else f"line {self.read.skip_rows + 1}"
                raise FileError(f"the {what} of {str(self.path)!r} must name the columns, it is empty")
            found = self.read.delimiter or self._likely_delimiter(first)
            try:
                names = next(csv.reader(_again(first, rows), delimiter=found))
            except csv.Error as error:
                raise FileError(
                    f"the first line of {str(self.path)!r} must name the columns: {error}; is each quote in it closed?"
                ) from None
        line_end = "\r\n" if "".join(taken).endswith("\r\n") else "\n"
        if self.read.header:
            return "".join(taken).encode(), _named(names), found, line_end
        return "".join(taken[:before]).encode(), [str(i) for i in range(len(names))], found, line_end

    def _likely_delimiter(self, line: str) -> str:
        if _is_tabbed(self.path):
            return "\t"
        in_numbers = "" if self.read.header else f"{self.read.decimal}{self.read.thousands or ''}"
        return max(DELIMITERS, key=lambda sign: line.count(sign) if sign not in in_numbers else 0)

    def _blocks(self, use_threads: bool = True) -> Iterator[tuple[pa.RecordBatch, int]]:
        """Blocks of cells, each with the number of bytes read up to its end."""
        if self._trailing or not arrow_has_threads():
            yield from self._blocks_here()
            return
        if not self._by_arrow:
            yield from self._blocks_of_text()
            return
        raw, stream = self._open()
        types = dict.fromkeys(self.names, pa.string())
        # read beside Arrow, and not by it: its threads must not need Python where the interpreter ends
        watched = Watched(self._open()[1], self.delimiter)
        try:
            reader = arrow_csv.open_csv(
                stream,
                arrow_csv.ReadOptions(block_size=self._block, use_threads=use_threads),
                self._parse_options(),
                arrow_csv.ConvertOptions(column_types=types, strings_can_be_null=False),
            )
            watched.read(self._block)  # a block ahead, so that a small file is seen to its end before its first rows
            for batch in reader:
                watched.read(self._block)
                yield batch, self.size if raw.closed else raw.tell()
            while watched.read(self._block):
                pass
        except UnclosedError as error:
            raise self._unclosed(error.offset) from None
        except pa.ArrowInvalid as error:
            self._check_quotes()
            if use_threads and "Expected" in str(error):
                for _ in self._blocks(use_threads=False):  # once more, slowly: only so does Arrow know the line
                    pass
            raise self._explained(error) from error

    def _parse_options(self) -> arrow_csv.ParseOptions:
        # an empty line is a missing value where there is one column, and nothing where there are more
        return arrow_csv.ParseOptions(
            delimiter=self.delimiter, newlines_in_values=True, ignore_empty_lines=len(self.names) > 1
        )

    def _blocks_of_text(self) -> Iterator[tuple[pa.RecordBatch, int]]:
        """The blocks of `_blocks`, parsed by Arrow from text that is made here."""
        raw, stream = self._open_rows()
        types = dict.fromkeys(self.names, pa.string())
        comment = self.read.comment.encode() if self.read.comment is not None else None
        start = int(self.read.header)
        try:
            for text in csv_stream.row_blocks(stream, self.delimiter, comment, self._block, LARGEST_BLOCK):
                if len(self.names) > 1 and not text.strip():
                    continue
                try:
                    table = arrow_csv.read_csv(
                        pa.BufferReader(text),
                        arrow_csv.ReadOptions(column_names=self.names, block_size=len(text) + 1, use_threads=False),
                        self._parse_options(),
                        arrow_csv.ConvertOptions(column_types=types, strings_can_be_null=False),
                    )
                except pa.ArrowInvalid as error:
                    raise self._explained(error, start) from error
                start += table.num_rows
                done = raw.tell() if not raw.closed else self.size
                yield from ((batch, done) for batch in table.combine_chunks().to_batches())
        except UnicodeError:
            raise self._not_text() from None
        except OverflowError:
            raise self._too_long() from None
        except UnclosedError as error:
            raise self._unclosed(len(self.header) + error.offset) from None

    def _blocks_here(self) -> Iterator[tuple[pa.RecordBatch, int]]:
        """The blocks of `_blocks`, read in the caller's thread."""
        raw, stream = self._open_rows()
        schema = pa.schema(dict.fromkeys(self.names, pa.string()))
        try:
            with io.TextIOWrapper(io.BufferedReader(stream), "utf-8", newline="") as text:
                lines = csv_rows.without_comments(text, self.read.comment)
                for batch in csv_rows.blocks(self.path, lines, self.delimiter, schema):
                    yield batch, self.size if raw.closed else raw.tell()
        except UnicodeError:
            raise self._not_text() from None

    def _explained(self, error: pa.ArrowInvalid, start: int = 0) -> Exception:
        """The error to raise for one of Arrow's. start: the rows before those that it counts."""
        message = str(error).splitlines()[0]
        if "straddling" in message and self._block < LARGEST_BLOCK:
            self._block *= 4
            return Restart()
        if "invalid UTF8" in message:
            return self._not_text()
        if "straddling" in message:
            return self._too_long()
        if self._has_trailing(str(error)):
            self._trailing = True
            return Restart()
        message = re.sub(r"Row #(\d+)", lambda found: f"Row #{int(found[1]) + start}", message)
        return FileError(f"{str(self.path)!r} cannot be read as CSV: {message}")

    def _has_trailing(self, message: str) -> bool:
        """Whether Arrow's complaint is of a row that ends in more delimiters than the header has."""
        found = re.search(r"Expected (\d+) columns, got (\d+)(?:: (.*))?", message, re.S)
        more = int(found[2]) - int(found[1]) if found else 0
        text = (found[3] or "") if found else ""
        return more > 0 and text.rstrip("\r\n").endswith(self.delimiter * more)

    def _too_long(self) -> FileError:
        return FileError(
            f"{str(self.path)!r} cannot be read as CSV: a row must be of fewer than {LARGEST_BLOCK:,} bytes, one "
            "goes on; is there a quote that nothing closes?"
        )

    def _not_text(self) -> FileError:
        if self.encoding:
            return FileError(f"{str(self.path)!r} must be in {self.encoding}, some text is not; name its encoding")
        return _not_utf8(self.path)

    def _check_quotes(self) -> None:
        """Refuse a quote that is not closed, before other errors that it may cause."""
        watched = Watched(self._open()[1], self.delimiter)
        try:
            while watched.read(BLOCK_BYTES):
                pass
        except UnclosedError as error:
            raise self._unclosed(error.offset) from None

    def _unclosed(self, offset: int) -> FileError:
        line = csv_stream.line_of(self._open()[1], offset)
        counted = " (without the lines of comments)" if self.read.comment is not None else ""
        return FileError(
            f"{str(self.path)!r} cannot be read as CSV: a cell that begins with a quote must end with one, the cell in "
            f"line {line}{counted} does not; close the quote, or double it if it belongs to the text"
        )

    def _look(self, enough: Callable[[], bool]) -> None:
        """Infer the columns' kinds from the blocks of the file, until `enough` says so."""
        start, small = 0, self.size <= self._block and self._compression is None
        self._held = None
        try:
            for cells, done in self._blocks():
                before = self._kinds
                self._kinds, values = self.format.widened_columns(cells.columns, before)
                for i, (old, kind) in enumerate(zip(before, self._kinds, strict=True)):
                    if kind == "words" != old:
                        self._note_word(self.names[i], cells.column(i), start)
                if small and not start:
                    self._held = cells, done, values
                elif small:
                    self._held = None
                elif enough():
                    return
                start += cells.num_rows
        except Restart:
            self._look(enough)

    def _note_word(self, name: str, cells: pa.Array, start: int) -> None:
        at = self.format.first_word(cells)
        cell = cells[at].as_py()
        shown = cell if len(cell) <= SHOWN else f"{cell[:SHOWN]}…"
        self._first_words[name] = f"{shown!r} in row {start + at + 1:,}"

    def learn(self) -> None:
        """Look through the whole file for the columns' types."""
        with reading(self.path, "CSV"):
            self._look(lambda: False)

    def chunks(self, names: Sequence[str] | None = None) -> Iterator[TextChunk]:
        """The rows in order; a new pass at each call. Raises `Restart` where a column turns out to be another kind."""
        start, schema = 0, self.schema
        with reading(self.path, "CSV"):
            held = self._held
            for cells, done in self._blocks() if held is None else [held[:2]]:
                typed = self._typed(cells, {} if held is None else held[2])
                if any(column is None for column in typed):
                    self.learn()
                    raise Restart
                batch = pa.RecordBatch.from_arrays(typed, schema=schema)
                if names is not None:
                    batch = batch.select(list(names))
                yield TextChunk(cells, batch, {}, start, done)
                start += cells.num_rows

    def _typed(self, cells: pa.RecordBatch, known: dict[int, pa.Array]) -> list[pa.Array | None]:
        """The columns' values, None where a column is of another kind. known: those that have been parsed."""
        if not known:
            return self.format.parsed_columns(cells.columns, self._kinds)
        found: list[pa.Array | None] = [known.get(i) for i in range(cells.num_columns)]
        left = [i for i, values in enumerate(found) if values is None]
        parsed = self.format.parsed_columns([cells.column(i) for i in left], [self._kinds[i] for i in left])
        for i, values in zip(left, parsed, strict=True):
            found[i] = values
        return found

    def pieces(self, names: Sequence[str]) -> Iterator[tuple[tuple[str, ...], Chunk]]:
        """All values of the columns, several blocks at a time."""
        schema = self.schema  # made anew at each call
        width = sum(arrow_numpy.width(schema.field(name).type) for name in names)
        for chunk in gathered(self.chunks(names), PIECE_BYTES // max(width, 1)):
            yield tuple(names), chunk


def _not_utf8(path: Place) -> FileError:
    return FileError(f"{str(path)!r} must be in UTF-8, some text is not; convert it (iconv -f latin1 -t utf8)")


def _other_than_utf8(encoding: str | None) -> str | None:
    return None if encoding is None or codecs.lookup(encoding).name == "utf-8" else encoding


def _is_tabbed(path: Place) -> bool:
    return ".tsv" in (suffix.lower() for suffix in path.suffixes[-2:])


def _again(first: str, rest: Iterator[str]) -> Iterator[str]:
    yield first.removeprefix("\ufeff")
    yield from rest


def _named(names: list[str]) -> list[str]:
    """Names of columns; where several have none, each gets pandas' name for such a column.

    >>> _named(["a", "", ""])
    ['a', 'Unnamed: 1', 'Unnamed: 2']
    """
    if names.count("") < 2:
        return names
    return [name or f"Unnamed: {i}" for i, name in enumerate(names)]


def _is_fraction(name: str) -> bool:
    try:
        return not float(name).is_integer()
    except (ValueError, OverflowError):
        return False


class CsvSink(Sink):
    """Writes a CSV file; from another one, with its header, delimiter, line ends and untouched cells as they were."""

    def __init__(self, path: Path, schema: pa.Schema, source: Source, target: Path) -> None:
        for field in schema:
            if pa.types.is_nested(field.type):
                raise KindError(f"a CSV file cannot hold column {field.name!r} of {field.type}; write Parquet or Arrow")
        compression = csv_stream.named_compression(target)
        self._delimiter, self._line_end = "\t" if _is_tabbed(target) else ",", "\n"
        self._format, encoding, header = csv_text.CellFormat(), None, None
        if isinstance(source, CsvSource):
            self._line_end, self._format = source.line_end, source.format
            if _is_tabbed(source.path) == _is_tabbed(target) or source.read.delimiter:
                self._delimiter, header, encoding = source.delimiter, source.header, source.encoding
                if header and not header.endswith((b"\r", b"\n")):
                    header += self._line_end.encode()
        if header is None:
            names = [csv_text.quoted_name(name, self._delimiter) for name in schema.names]
            header = (self._delimiter.join(names) + self._line_end).encode()
        self._raw, self._stream = csv_stream.writer(path, target, compression)
        self._encoder = codecs.getincrementalencoder(encoding)() if encoding else None
        self._put(header)

    def _put(self, text: bytes | memoryview) -> None:
        """Write UTF-8 text, in the encoding of the file."""
        self._stream.write(self._encoder.encode(str(text, "utf-8")) if self._encoder else text)

    def write(self, chunk: Chunk) -> None:
        """Add a chunk."""
        batch = chunk.batch
        if batch.num_rows:
            columns = thread_pool.run(lambda i: self._cells(chunk, batch, i), range(batch.num_columns))
            self._put(csv_text.lines(columns, self._delimiter, self._line_end))

    def _cells(self, chunk: Chunk, batch: pa.RecordBatch, i: int) -> pa.Array:
        if not isinstance(chunk, TextChunk):
            return csv_text.quoted(self._format.spelled(batch.column(i)), self._delimiter)
        if batch.schema.field(i).name not in chunk.changed:
            return csv_text.quoted(chunk.cells.column(i), self._delimiter)
        column = batch.column(i)
        missing = chunk.changed[batch.schema.field(i).name]
        # a cell without a value keeps the word it had for that: NA, null, nothing
        return pc.if_else(missing, csv_text.quoted(chunk.cells.column(i), self._delimiter), self._spelled(column))

    def _spelled(self, column: pa.Array) -> pa.Array:
        cells = self._format.spelled(column)
        return csv_text.quoted(cells, self._delimiter) if self._format.decimal == self._delimiter else cells

    def close(self) -> None:
        """Finish the file."""
        self._stream.close()
        self._raw.close()

    def abort(self) -> None:
        """Let go of the file without finishing it."""
        for stream in (self._stream, self._raw):
            with suppress(Exception):  # the disk may still be full, and Arrow would say so once more
                stream.close()
