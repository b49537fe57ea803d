"""Source and sink of Arrow IPC files, Feather among them; lengths in a file are checked before use."""

import os
import struct
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from functools import cached_property
from itertools import repeat
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.ipc as ipc

from gammabeta.data.core.arrow_validation import Buffers, is_flat
from gammabeta.data.core.sink import Sink
from gammabeta.data.core.source import CHUNK_BYTES, PIECE_ROWS, Chunk, Column, Source, TableChunk
from gammabeta.data.formats.ipc_codec import codec_of_file, codec_of_stream
from gammabeta.data.formats.table import by_column_groups, columns_of
from gammabeta.data.io.paths import arrow_file, arrow_has_threads, reading
from gammabeta.data.io.remote import Place, Remote
from gammabeta.errors import FileError


class ArrowSource(Source):
    """An Arrow IPC file (Feather version 2 is one), or a stream of the same messages in a file.

    A record batch of any size is read in slices, unless it is compressed: Arrow decompresses whole batches. Columns of
    lists, dictionaries and whatever else has no rows side by side are read a record batch at a time.
    """

    def __init__(self, path: Place) -> None:
        self.path, self.size, self.rows = path, path.stat().st_size, None
        with reading(path, "Arrow IPC"):
            with path.open("rb") as file:
                magic = file.read(6)
            if magic.startswith(b"FEA1"):
                raise FileError(
                    f"{str(path)!r} is of Feather version 1; write it again with pyarrow.feather (version 2)"
                )
            self._is_file = magic == b"ARROW1"
            with self._open() as reader:
                self.schema: pa.Schema = reader.schema
            with self._open(native=False) as reader:
                self._swapped = not reader.schema.equals(self.schema)  # Arrow changes the byte order as it reads
            self._columns = columns_of(self.schema, path)

    @property
    def columns(self) -> tuple[Column, ...]:
        """Every column, in the file's order."""
        return self._columns

    def _open(self, source: Any = None, names: Sequence[str] | None = None, *, native: bool = True) -> Any:
        fields = None if names is None else sorted(self.schema.get_field_index(name) for name in names)
        many = arrow_has_threads()
        options = ipc.IpcReadOptions(included_fields=fields or [], use_threads=many, ensure_native_endian=native)
        opened = source or (arrow_file(self.path) if many else _in_memory(self.path))
        return (ipc.open_file if self._is_file else ipc.open_stream)(opened, options=options)

    def chunks(self, names: Sequence[str] | None = None) -> Iterator[Chunk]:
        """The rows in order, some columns or all; a new pass at each call."""
        wanted = self.schema.names if names is None else list(names)
        start = read = 0
        with reading(self.path, "Arrow IPC"):
            far = isinstance(self.path, Remote)
            for part in self._whole(wanted) if far or self.compression or self._swapped else self._by_rows(wanted):
                start += part.num_rows
                read += part.nbytes
                yield TableChunk(part, start - part.num_rows, min(self.size, read))

    def _whole(self, names: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """Chunks of record batches that are read whole, one after the other."""
        with self._open(names=names) as reader:
            for batch in _batches(reader, self._is_file):
                batch.validate(full=True)
                yield from slices(batch.select(names))

    def _by_rows(self, names: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """Chunks of record batches that are read some rows at a time, for the columns that allow it."""
        flat = [name for name in names if is_flat(self.schema.field(name).type)]
        others = [name for name in names if name not in set(flat)]
        schema = pa.schema([self.schema.field(name) for name in names])
        with ExitStack() as stack:
            place = stack.enter_context(closing(Buffers(self.path, is_file=self._is_file)))
            reader = stack.enter_context(self._open(pa.PythonFile(place, "r")))
            other_batches = (
                _batches(stack.enter_context(self._open(names=others)), self._is_file) if others else repeat(None)
            )
            for batch, rest in zip(_batches(reader, self._is_file), other_batches, strict=bool(others)):
                columns = {name: batch.column(self.schema.get_field_index(name)) for name in flat}
                if rest is not None:
                    rest.validate(full=True)
                    columns |= zip(rest.schema.names, rest.columns, strict=True)
                if batch.num_rows < 0:  # that columns are as long is Arrow's to see
                    raise pa.ArrowInvalid(f"a record batch claims {batch.num_rows} rows")
                step = _rows_at_once(batch.num_rows, list(columns.values()))
                for start in range(0, batch.num_rows, step):
                    stop = min(start + step, batch.num_rows)
                    parts = {name: columns[name].slice(start, stop - start) for name in others}
                    parts |= {name: place.rows(name, columns[name], start, stop) for name in flat}
                    yield pa.RecordBatch.from_arrays([parts[name] for name in names], schema=schema)

    def pieces(self, names: Sequence[str]) -> Iterator[tuple[tuple[str, ...], Chunk]]:
        """All values of the columns: a few columns at a time, so that each comes in long stretches."""
        yield from by_column_groups(self, names, PIECE_ROWS)

    @cached_property
    def compression(self) -> str | None:
        """How the first record batch's buffers are compressed: lz4, zstd or not at all."""
        find = codec_of_file if self._is_file else codec_of_stream
        with reading(self.path, "Arrow IPC"), arrow_file(self.path) as file:
            try:
                return find(file)
            except struct.error:  # a layout unlike any known one: no reason not to read the file
                return None


def _in_memory(path: Place) -> pa.BufferReader:
    """The file's bytes in memory, for Arrow to read without a thread."""
    return pa.BufferReader(arrow_file(path).read() if isinstance(path, Remote) else path.read_bytes())


def _batches(reader: Any, is_file: bool) -> Iterator[pa.RecordBatch]:
    if not is_file:
        yield from reader
        return
    for i in range(reader.num_record_batches):
        yield reader.get_batch(i)


def _rows_at_once(rows: int, columns: Sequence[pa.Array]) -> int:
    """The number of rows that take about `CHUNK_BYTES`, by the types of the columns."""
    size: int = sum(buffer.size for column in columns for buffer in column.buffers() if buffer)
    return max(16, CHUNK_BYTES * rows // max(size, 1) // 8 * 8)


def slices(batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    """Slices (views) of a record batch of about `CHUNK_BYTES` each."""
    if not batch.num_rows:
        return
    rows = max(16, int(CHUNK_BYTES * batch.num_rows // max(batch.nbytes, 1)))
    for first in range(0, batch.num_rows, rows):
        yield batch.slice(first, rows)


class ArrowSink(Sink):
    """Writes an Arrow IPC file, compressed as its source was if that was one too."""

    def __init__(self, path: Path, schema: pa.Schema, source: Source, target: Path) -> None:
        feather = target.suffix.lower() == ".feather"
        compression = source.compression if isinstance(source, ArrowSource) else "lz4" if feather else None
        self._schema = schema
        self._file = pa.OSFile(os.fsencode(path), "wb")
        options = ipc.IpcWriteOptions(
            compression=compression, emit_dictionary_deltas=True, use_threads=arrow_has_threads()
        )
        self._writer = ipc.new_file(self._file, schema, options=options)

    def write(self, chunk: Chunk) -> None:
        """Add a chunk as one record batch."""
        self._writer.write_batch(chunk.batch)

    def close(self) -> None:
        """Write the footer."""
        self._writer.close()
        self._file.close()

    def abort(self) -> None:
        """Let go of the file without finishing it."""
        self._file.close()
