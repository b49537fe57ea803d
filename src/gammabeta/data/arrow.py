"""Arrow IPC files, Feather among them: mapped into memory, and let go of as they are read."""

import mmap
import os
import struct
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.ipc as ipc

from gammabeta.data.codec import codec_of_file, codec_of_stream
from gammabeta.data.files import arrow_file, arrow_has_threads, reading
from gammabeta.data.remote import Place, Remote
from gammabeta.data.source import CHUNK_BYTES, PIECE_ROWS, Chunk, Column, Source, TableChunk
from gammabeta.data.tables import by_column_groups, columns_of
from gammabeta.data.write import Sink
from gammabeta.errors import FileError

_HELD = 64 << 20  # bytes of mapped pages that may stay in memory behind the reader


class ArrowSource(Source):
    """An Arrow IPC file (Feather version 2 is one), or a stream of the same messages in a file.

    A record batch of any size is read in slices, unless it is compressed: Arrow decompresses whole batches.
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
        self._columns = columns_of(self.schema, path)

    @property
    def columns(self) -> tuple[Column, ...]:
        """Every column, in the file's order."""
        return self._columns

    def _open(self, source: Any = None, fields: list[int] | None = None) -> Any:
        many = arrow_has_threads()
        options = ipc.IpcReadOptions(included_fields=fields or [], use_threads=many)
        opened = source or (arrow_file(self.path) if many else _in_memory(self.path))
        return (ipc.open_file if self._is_file else ipc.open_stream)(opened, options=options)

    def chunks(self, names: Sequence[str] | None = None) -> Iterator[Chunk]:
        """The rows in order, some columns or all; a new pass at each call."""
        fields = None
        far = isinstance(self.path, Remote)
        if names is not None and (far or self.compression):  # else Arrow would copy what it can leave where it is
            fields = sorted(self.schema.get_field_index(name) for name in names)
        with reading(self.path, "Arrow IPC"):
            mapped = None if isinstance(self.path, Remote) else _mapped(self.path)
            start = read = 0
            with self._open(mapped and pa.BufferReader(pa.py_buffer(mapped)), fields) as reader:
                for batch in _batches(reader, self._is_file):
                    if names is not None and fields is None:
                        batch = batch.select(list(names))
                    for part in slices(batch):
                        start += part.num_rows
                        read += part.nbytes
                        yield TableChunk(part, start - part.num_rows, min(self.size, read))
                        if mapped and read % _HELD < part.nbytes and hasattr(mmap, "MADV_DONTNEED"):
                            mapped.madvise(mmap.MADV_DONTNEED)

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


def _mapped(path: Path) -> mmap.mmap:
    with path.open("rb") as file:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def _in_memory(path: Place) -> pa.BufferReader:
    """A file as Arrow reads it without a thread."""
    return pa.BufferReader(arrow_file(path).read() if isinstance(path, Remote) else pa.py_buffer(_mapped(path)))


def _batches(reader: Any, is_file: bool) -> Iterator[pa.RecordBatch]:
    if not is_file:
        yield from reader
        return
    for i in range(reader.num_record_batches):
        yield reader.get_batch(i)


def slices(batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    """A record batch in pieces of about `CHUNK_BYTES`."""
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
