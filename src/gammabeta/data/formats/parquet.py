"""Source and sink of Parquet files: read in slices of row groups, written with the options of the source."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from gammabeta.data.core import arrow_numpy
from gammabeta.data.core.sink import Sink
from gammabeta.data.core.source import Chunk, Column, Source, TableChunk, chunk_bytes
from gammabeta.data.formats import parquet_footer
from gammabeta.data.formats.parquet_transpose import columns_to_rows
from gammabeta.data.formats.table import column_groups, columns_of
from gammabeta.data.io.paths import arrow_file, arrow_has_threads, reading
from gammabeta.data.io.remote import Place, Remote
from gammabeta.kernels import thread_pool
from gammabeta.statistics import Extrema

GROUP_BYTES = 32 << 20  # of Arrow memory in a row group written: all of it is held until it is encoded
GROUP_ROWS = 1 << 20
KEPT_BYTES = 16 << 20  # what a row group may have taken for its memory to be kept for the next one
READ_AHEAD = 64 << 10  # bytes of each column; PyArrow would otherwise read whole column chunks
OPEN_BYTES = 128 << 20  # in the pages of all columns that are open at once
SHARE_OPEN_BYTES = 16 << 20  # the same, of the columns that a thread reads while others read others
SHARE_ROWS, SHARE_BYTES = 1 << 17, 2 << 20  # of those at a time: what stays in a core's cache costs least
# The same where each thread has a file of its own: fewer calls hold up fewer others.
ALONE_OPEN_BYTES, ALONE_BYTES = 20 << 20, 12 << 20
PAGE_BYTES = 1 << 20  # what writers put on a page, and in a dictionary, before compression
READER_BYTES = 48 << 10  # what PyArrow needs to read a column, beside its pages; measured


class ParquetSource(Source):
    """A Parquet file."""

    metadata: pq.FileMetaData = None  # read once: the footer of a wide file takes its time

    def __init__(self, path: Place) -> None:
        self.path, self.size = path, path.stat().st_size
        with reading(path, "Parquet"), self._open() as file:
            self.metadata = file.metadata
            self.schema: pa.Schema = file.schema_arrow
            self.rows = file.metadata.num_rows
            self._columns = columns_of(self.schema, path)
        self._idle: list[pq.ParquetFile] = []

    @property
    def columns(self) -> tuple[Column, ...]:
        """Every column, in the file's order."""
        return self._columns

    def _open(self) -> pq.ParquetFile:
        leaves = self.metadata.num_columns if self.metadata else 1
        buffer = max(4 << 10, min(READ_AHEAD, OPEN_BYTES // 8 // max(leaves, 1)))
        if isinstance(self.path, Remote):  # whole column chunks: many small requests would take their time
            far = self.path.arrow_file(whole=False)
            return pq.ParquetFile(far, metadata=self.metadata, pre_buffer=arrow_has_threads())
        file = arrow_file(self.path)
        return pq.ParquetFile(file, metadata=self.metadata, pre_buffer=False, buffer_size=buffer)

    @contextmanager
    def _reused(self) -> Iterator[pq.ParquetFile]:
        """An open file that no other thread has. To open one costs 10 µs a column, and a share has some 300 of them."""
        try:
            file = self._idle.pop()
        except IndexError:
            file = self._open()
        yield file
        self._idle.append(file)

    @contextmanager
    def unchanged(self) -> Iterator[None]:
        """See `Source`. At its end the files that `pieces` opened are closed."""
        try:
            with super().unchanged():
                yield
        finally:
            while self._idle:
                self._idle.pop().close(force=True)

    def chunks(self, names: Sequence[str] | None = None) -> Iterator[TableChunk]:
        """The rows in order, some columns or all; a new pass at each call."""
        rows, start = self.rows or 0, 0
        with reading(self.path, "Parquet"), self._open() as file:
            wanted = list(self.schema.names if names is None else names)
            size = self._chunk_rows(file, wanted)
            together = self._open_together(wanted)
            whole = len(together) == 1 and names is None
            batches = self._batches(file, size, None if whole else wanted)
            for batch in batches if len(together) == 1 else columns_to_rows(file, together, size, self.scratch):
                start += batch.num_rows
                yield TableChunk(batch, start - batch.num_rows, self.size * start // max(rows, 1))

    def shares(self, names: Sequence[str]) -> list[tuple[str, ...]]:
        """A few columns at a time, so that each comes in long stretches."""
        open_, limit = (SHARE_OPEN_BYTES, SHARE_BYTES) if thread_pool.count() > 1 else (ALONE_OPEN_BYTES, ALONE_BYTES)
        open_together = [list(names)] if self._may_be_open(open_) else _within(self._needs(names), open_)
        shares = [column_groups(self.schema, some, self._piece_rows, limit) for some in open_together]
        return [share for some in shares for share in some]

    def pieces(self, names: Sequence[str]) -> Iterator[tuple[tuple[str, ...], Chunk]]:
        """All values of the columns, share by share."""
        shares = self.shares(names)
        with reading(self.path, "Parquet"), self._reused() as file:
            for i, share in enumerate(shares):
                start = 0
                for batch in self._batches(file, self._piece_rows, list(share)):
                    start += batch.num_rows
                    done = self.size * (i + start / (self.rows or 1)) // len(shares)
                    yield share, TableChunk(batch, start - batch.num_rows, int(done))

    @property
    def _piece_rows(self) -> int:
        return min(SHARE_ROWS, self.rows or 1)

    def _batches(self, file: pq.ParquetFile, size: int, names: list[str] | None) -> Iterator[pa.RecordBatch]:
        many = thread_pool.count() > 1 and arrow_has_threads()
        if not isinstance(self.path, Remote):
            yield from file.iter_batches(size, columns=names, use_threads=many)
            return
        for group in range(file.num_row_groups):  # of a file elsewhere Arrow keeps all that it was asked for at once
            yield from file.iter_batches(size, row_groups=[group], columns=names, use_threads=many)

    def footer_minmax(self, names: Sequence[str]) -> dict[str, Extrema]:
        """The extrema that the footer tells, of those columns for which it can be believed."""
        leaf = {name: i for i, name in enumerate(self._top_names)}
        with reading(self.path, "Parquet"):
            found = parquet_footer.minmax(self.metadata, {leaf[name]: self.schema.field(name).type for name in names})
        return {name: found[leaf[name]] for name in names if leaf[name] in found}

    def _open_together(self, names: Sequence[str]) -> list[list[str]]:
        """The columns in groups that can be read at once: one, as long as their pages fit in memory."""
        if self._may_be_open(OPEN_BYTES):
            return [list(names)]
        needs = self._needs(names)
        return [list(names)] if sum(needs.values()) <= OPEN_BYTES else _within(needs, OPEN_BYTES // 3)

    def _may_be_open(self, limit: int) -> bool:
        """Whether all columns surely fit in `limit` bytes when read at once, without a look at each of them."""
        pages = self.metadata.row_group(0).total_byte_size if self.metadata.num_row_groups else 0
        return bool(pages + self.metadata.num_columns * READER_BYTES <= limit)

    def _needs(self, names: Sequence[str]) -> dict[str, int]:
        """The bytes that the open pages of each column take."""
        needs: dict[str, int] = dict.fromkeys(names, 0)
        if not self.metadata.num_row_groups:
            return needs
        group = self.metadata.row_group(0)
        for i, top in enumerate(self._top_names):
            if top in needs:
                chunk = group.column(i)
                pages = 2 if any("DICTIONARY" in encoding for encoding in chunk.encodings) else 1
                needs[top] += min(chunk.total_uncompressed_size, pages * PAGE_BYTES) + READER_BYTES
        return needs

    @cached_property
    def _top_names(self) -> list[str]:
        """The column that each leaf is of: `schema_arrow` has columns, the file has leaves, in the same order."""
        return [name for name, field in zip(self.schema.names, self.schema, strict=True) for _ in range(_leaves(field))]

    def _chunk_rows(self, file: pq.ParquetFile, names: list[str] | None) -> int:
        """How many rows fit in a chunk, from what the first rows take in memory: text grows when it is decoded."""
        fields = [field for field in self.schema if names is None or field.name in set(names)]
        widths = [arrow_numpy.width(field.type) for field in fields]
        a_row = float(sum(widths))
        if 0 in widths and self.rows:
            first = next(self._batches(file, min(1024, self.rows), names))
            a_row = max(a_row, first.get_total_buffer_size() / first.num_rows)
        return int(max(16, min(chunk_bytes(len(fields)) // max(a_row, 1), GROUP_ROWS)))

    def writer_options(self, scaled: Sequence[str]) -> dict[str, Any]:
        """Options for PyArrow's writer as this file was written: codecs, dictionaries, the order of rows."""
        if not self.metadata.num_row_groups:
            return {}
        with reading(self.path, "Parquet"):  # names that are no text are met here
            return self._written_options(scaled)

    def _written_options(self, scaled: Sequence[str]) -> dict[str, Any]:
        group = self.metadata.row_group(0)
        chunks = [group.column(i) for i in range(self.metadata.num_columns)]
        codecs = {c.path_in_schema: _CODECS.get(c.compression, c.compression) for c in chunks}
        split = [c.path_in_schema for c in chunks if "BYTE_STREAM_SPLIT" in c.encodings and _is_float(c)]
        return {
            "compression": codecs,
            "use_dictionary": [
                c.path_in_schema for c, top in zip(chunks, self._top_names, strict=True) if _repeats(c, top in scaled)
            ],
            "use_byte_stream_split": split or False,
            "write_statistics": any(c.is_stats_set for c in chunks),
            "write_page_index": any(c.has_column_index for c in chunks),
            "sorting_columns": group.sorting_columns or None,
        }

    @property
    def group_rows(self) -> int:
        """The rows of the largest row group."""
        return max((self.metadata.row_group(i).num_rows for i in range(self.metadata.num_row_groups)), default=1)


def _within(needs: dict[str, int], limit: int) -> list[list[str]]:
    """Names in groups that need `limit` bytes together, or are of one name."""
    groups: list[list[str]] = [[]]
    held = 0
    for name, need in needs.items():
        if groups[-1] and held + need > limit:
            groups.append([])
            held = 0
        groups[-1].append(name)
        held += need
    return groups


def _leaves(field: pa.Field) -> int:
    kind = field.type
    if pa.types.is_dictionary(kind):
        return 1
    inner = [kind.field(i) for i in range(kind.num_fields)]
    return sum(map(_leaves, inner)) if inner else 1


_CODECS = {"UNCOMPRESSED": "NONE", "LZ4_RAW": "LZ4", "LZO": "SNAPPY"}
_WIDTHS = {"BOOLEAN": 1, "INT32": 4, "FLOAT": 4, "INT64": 8, "DOUBLE": 8, "INT96": 12}


def _is_float(chunk: Any) -> bool:
    return chunk.physical_type in ("FLOAT", "DOUBLE")


def _repeats(chunk: Any, scaled: bool) -> bool:
    """Whether to write this column with a dictionary: it had one which, for numbers, made it smaller.

    Numbers that hardly repeat fill a dictionary in vain, which costs three times the time of writing them plainly.
    """
    if not any("DICTIONARY" in encoding for encoding in chunk.encodings):
        return False
    width = _WIDTHS.get(chunk.physical_type)
    return width is None or not scaled or chunk.total_uncompressed_size < 0.75 * width * chunk.num_values


class ParquetSink(Sink):
    """Writes a Parquet file, a row group at a time, as its source was written if that was Parquet too."""

    def __init__(self, path: Path, schema: pa.Schema, source: Source, scaled: Sequence[str]) -> None:
        options: dict[str, Any] = {"use_dictionary": [n for n in schema.names if n not in set(scaled)]}
        rows = GROUP_ROWS
        if isinstance(source, ParquetSource):
            options |= source.writer_options(scaled)
            rows = source.group_rows
        self._file = pa.OSFile(os.fsencode(path), "wb")
        self._writer = pq.ParquetWriter(self._file, schema, **options)
        self._schema, self._rows = schema, rows
        self._held: list[pa.RecordBatch] = []
        self._held_rows = self._held_bytes = 0

    def write(self, chunk: Any) -> None:
        """Add a chunk; full row groups go to the file."""
        batch = chunk.batch
        while batch.num_rows:
            part = batch.slice(0, self._rows - self._held_rows)
            batch = batch.slice(part.num_rows)
            self._held.append(part)
            self._held_rows += part.num_rows
            self._held_bytes += part.nbytes
            if self._held_rows >= self._rows or self._held_bytes >= GROUP_BYTES:
                self._flush()

    def _flush(self) -> None:
        if self._held:
            self._writer.write_table(pa.Table.from_batches(self._held, self._schema), self._held_rows)
        large = self._held_bytes > KEPT_BYTES
        self._held, self._held_rows, self._held_bytes = [], 0, 0
        if large:
            pa.default_memory_pool().release_unused()

    def close(self) -> None:
        """Write what is left, and the footer."""
        self._flush()
        self._writer.close()
        self._file.close()

    def abort(self) -> None:
        """Let go of the file without finishing it."""
        self._held = []
        self._file.close()
        self._writer.is_open = False
