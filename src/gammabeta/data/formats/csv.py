"""Source and sink of CSV files: cells stay text, so that unscaled columns are written back character by character."""

import csv
import io
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as arrow_csv

from gammabeta.data.core import arrow_numpy
from gammabeta.data.core.batches import gathered
from gammabeta.data.core.sink import Sink
from gammabeta.data.core.source import PIECE_BYTES, Chunk, Column, Restart, Source
from gammabeta.data.formats import csv_rows, csv_text
from gammabeta.data.formats.csv_quotes import UnclosedError, Watched
from gammabeta.data.formats.csv_text import TextChunk
from gammabeta.data.formats.table import unique
from gammabeta.data.io.paths import arrow_file, arrow_has_threads, kind_of, reading
from gammabeta.data.io.remote import Place
from gammabeta.errors import FileError, KindError
from gammabeta.kernels import thread_pool

BLOCK_BYTES = 1 << 20  # of text; Arrow reads some blocks ahead
LARGEST_BLOCK = 1 << 26  # and so of a row; Arrow holds some ten times that
LARGEST_HEADER = 1 << 24  # characters: a megabyte of gzip may hold a line of a gigabyte
MAX_COLUMNS = 1 << 18  # a third of a millisecond and some kilobytes each, at every block
DELIMITERS = ",;\t|"


class CsvSource(Source):
    """A CSV file with a header line, perhaps compressed.

    A column is of integers, of numbers or of words; which, only the last line can tell. The first block is believed
    until a later one says otherwise: then all of the file is looked through, and the pass begins anew (`Restart`).
    """

    def __init__(self, path: Place) -> None:
        self.path, self.size, self.rows = path, path.stat().st_size, None
        with reading(path, "CSV"):
            try:
                self.header, self.names, self.delimiter, self.line_end = self._read_header()
            except UnicodeDecodeError:
                raise _not_utf8(path) from None
            except csv.Error as error:
                raise FileError(f"{str(path)!r} cannot be read as CSV: its first line: {error}") from None
            if len(self.names) > MAX_COLUMNS:
                raise FileError(
                    f"a CSV file must have at most {MAX_COLUMNS:,} columns, {str(path)!r} has {len(self.names):,}; "
                    "write Parquet, or an array in .npy"
                )
            unique(self.names, path)
            self._block = max(BLOCK_BYTES, min(8 * BLOCK_BYTES, len(self.names) << 10))
            self._kinds: list[csv_text.CellKind] = ["empty"] * len(self.names)
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
        return all(_is_fraction(name) for name in self.names)

    def _open(self) -> tuple[Any, Any]:
        """The file, and its text."""
        raw = arrow_file(self.path)
        compression = kind_of(self.path).compression
        return raw, pa.CompressedInputStream(raw, compression) if compression else raw

    def _read_header(self) -> tuple[bytes, list[str], str, str]:
        """The header's bytes, its names, the delimiter and the line end."""
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
            first = next(rows, "")
            if not first.strip():
                raise FileError(f"the first line of {str(self.path)!r} must name the columns, it is empty")
            found = max(DELIMITERS, key=first.count) if not _is_tabbed(self.path) else "\t"
            try:
                names = next(csv.reader(_again(first, rows), delimiter=found))
            except csv.Error as error:
                raise FileError(
                    f"the first line of {str(self.path)!r} must name the columns: {error}; is each quote in it closed?"
                ) from None
        written = "".join(taken)
        line_end = "\r\n" if written.endswith("\r\n") else "\n"
        return written.rstrip("\r\n").encode(), names, found, line_end

    def _blocks(self, use_threads: bool = True) -> Iterator[tuple[pa.RecordBatch, int]]:
        """Blocks of cells, each with the number of bytes read up to its end."""
        raw, stream = self._open()
        types = dict.fromkeys(self.names, pa.string())
        if not arrow_has_threads():
            yield from self._blocks_here(raw, stream)
            return
        # read beside Arrow, and not by it: its threads must not need Python where the interpreter ends
        watched = Watched(self._open()[1], self.delimiter)
        try:
            reader = arrow_csv.open_csv(
                stream,
                arrow_csv.ReadOptions(block_size=self._block, use_threads=use_threads),
                # an empty line is a missing value where there is one column, and nothing where there are more
                arrow_csv.ParseOptions(
                    delimiter=self.delimiter, newlines_in_values=True, ignore_empty_lines=len(self.names) > 1
                ),
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

    def _blocks_here(self, raw: Any, stream: Any) -> Iterator[tuple[pa.RecordBatch, int]]:
        """The blocks of `_blocks`, read in the caller's thread."""
        schema = pa.schema(dict.fromkeys(self.names, pa.string()))
        try:
            for batch in csv_rows.blocks(self.path, stream, self.delimiter, schema):
                yield batch, self.size if raw.closed else raw.tell()
        except UnicodeDecodeError:
            raise _not_utf8(self.path) from None

    def _explained(self, error: pa.ArrowInvalid) -> Exception:
        message = str(error)
        if "straddling" in message and self._block < LARGEST_BLOCK:
            self._block *= 4
            return Restart()
        if "invalid UTF8" in message:
            return _not_utf8(self.path)
        if "straddling" in message:
            return FileError(
                f"{str(self.path)!r} cannot be read as CSV: a row must be of fewer than {LARGEST_BLOCK:,} bytes, one "
                "goes on; is there a quote that nothing closes?"
            )
        return FileError(f"{str(self.path)!r} cannot be read as CSV: {message.splitlines()[0]}")

    def _check_quotes(self) -> None:
        """Refuse a quote that is not closed, before other errors that it may cause."""
        watched = Watched(self._open()[1], self.delimiter)
        try:
            while watched.read(BLOCK_BYTES):
                pass
        except UnclosedError as error:
            raise self._unclosed(error.offset) from None

    def _unclosed(self, offset: int) -> FileError:
        stream, line = self._open()[1], 1
        while offset > 0 and (block := stream.read(min(offset, BLOCK_BYTES))):
            line += block.count(b"\n")
            offset -= len(block)
        return FileError(
            f"{str(self.path)!r} cannot be read as CSV: a cell that begins with a quote must end with one, the cell in "
            f"line {line} does not; close the quote, or double it if it belongs to the text"
        )

    def _look(self, enough: Callable[[], bool]) -> None:
        """Infer the columns' kinds from the blocks of the file, until `enough` says so."""
        try:
            for cells, _ in self._blocks():
                self._kinds = [csv_text.widened(cells.column(i), kind) for i, kind in enumerate(self._kinds)]
                if enough():
                    return
        except Restart:
            self._look(enough)

    def learn(self) -> None:
        """Look through the whole file for the columns' types."""
        with reading(self.path, "CSV"):
            self._look(lambda: False)

    def chunks(self, names: Sequence[str] | None = None) -> Iterator[TextChunk]:
        """The rows in order; a new pass at each call. Raises `Restart` where a column turns out to be another kind."""
        start, schema = 0, self.schema
        with reading(self.path, "CSV"):
            for cells, done in self._blocks():
                pairs = list(zip(cells.columns, self._kinds, strict=True))
                typed = thread_pool.run(lambda pair: csv_text.parsed(*pair), pairs)
                if any(column is None for column in typed):
                    self.learn()
                    raise Restart
                batch = pa.RecordBatch.from_arrays(typed, schema=schema)
                if names is not None:
                    batch = batch.select(list(names))
                yield TextChunk(cells, batch, {}, start, done)
                start += cells.num_rows

    def pieces(self, names: Sequence[str]) -> Iterator[tuple[tuple[str, ...], Chunk]]:
        """All values of the columns, several blocks at a time."""
        schema = self.schema  # made anew at each call
        width = sum(arrow_numpy.width(schema.field(name).type) for name in names)
        for chunk in gathered(self.chunks(names), PIECE_BYTES // max(width, 1)):
            yield tuple(names), chunk


def _not_utf8(path: Place) -> FileError:
    return FileError(f"{str(path)!r} must be in UTF-8, some text is not; convert it (iconv -f latin1 -t utf8)")


def _is_tabbed(path: Place) -> bool:
    return ".tsv" in (suffix.lower() for suffix in path.suffixes[-2:])


def _again(first: str, rest: Iterator[str]) -> Iterator[str]:
    yield first.removeprefix("\ufeff")
    yield from rest


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
        compression = kind_of(target).compression
        self._delimiter, self._line_end = "\t" if _is_tabbed(target) else ",", "\n"
        header = None
        if isinstance(source, CsvSource):
            self._line_end = source.line_end
            if _is_tabbed(source.path) == _is_tabbed(target):
                self._delimiter, header = source.delimiter, source.header
        if header is None:
            header = self._delimiter.join(csv_text.quoted_name(name, self._delimiter) for name in schema.names).encode()
        self._raw = pa.OSFile(os.fsencode(path), "wb")
        self._stream = pa.CompressedOutputStream(self._raw, compression) if compression else self._raw
        self._stream.write(header + self._line_end.encode())

    def write(self, chunk: Chunk) -> None:
        """Add a chunk."""
        batch = chunk.batch
        if batch.num_rows:
            columns = thread_pool.run(lambda i: self._cells(chunk, batch, i), range(batch.num_columns))
            self._stream.write(csv_text.lines(columns, self._delimiter, self._line_end))

    def _cells(self, chunk: Chunk, batch: pa.RecordBatch, i: int) -> pa.Array:
        if not isinstance(chunk, TextChunk):
            return csv_text.quoted(csv_text.spelled(batch.column(i)), self._delimiter)
        if batch.schema.field(i).name not in chunk.changed:
            return csv_text.quoted(chunk.cells.column(i), self._delimiter)
        column = batch.column(i)
        missing = chunk.changed[batch.schema.field(i).name]
        # a cell without a value keeps the word it had for that: NA, null, nothing
        return pc.if_else(missing, csv_text.quoted(chunk.cells.column(i), self._delimiter), csv_text.spelled(column))

    def close(self) -> None:
        """Finish the file."""
        self._stream.close()
        self._raw.close()

    def abort(self) -> None:
        """Let go of the file without finishing it."""
        for stream in (self._stream, self._raw):
            with suppress(Exception):  # the disk may still be full, and Arrow would say so once more
                stream.close()
