"""Transposition of wide Parquet files from columns to rows, on the disk.

To read a row of every column a page of every column must be open; ten thousand of them do not fit in memory. So some
columns at a time are read to the end of a row group and put in a temporary file in slices, and the slices of all
columns then read back side by side.
"""

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

import pyarrow as pa
import pyarrow.ipc as ipc
import pyarrow.parquet as pq


def columns_to_rows(
    file: pq.ParquetFile, groups: Sequence[Sequence[str]], rows: int, folder: Path | None
) -> Iterator[pa.RecordBatch]:
    """The record batches of a Parquet file, of `rows` rows each, read by groups of columns.

    The temporary file, in `folder`, is as large as a row group is in memory; it has no name, and goes with the process.
    """
    order = [name for group in groups for name in group]
    asked = [name for name in file.schema_arrow.names if name in set(order)]
    for i in range(file.num_row_groups):
        with tempfile.TemporaryFile(dir=folder) as scratch:
            places = [_put(scratch, file.iter_batches(rows, row_groups=[i], columns=list(group))) for group in groups]
            for slices in zip(*places, strict=True):
                columns = [column for at, size in slices for column in _taken(scratch, at, size).columns]
                yield pa.RecordBatch.from_arrays(columns, names=order).select(asked)


def _put(scratch: IO[bytes], batches: Iterator[pa.RecordBatch]) -> list[tuple[int, int]]:
    """Write batches one after the other; return where each is, and its size."""
    places = []
    for batch in batches:
        sink = pa.BufferOutputStream()
        with ipc.new_stream(sink, batch.schema) as writer:
            writer.write_batch(batch)
        written = sink.getvalue()
        places.append((scratch.tell(), written.size))
        scratch.write(written)
    return places


def _taken(scratch: IO[bytes], at: int, size: int) -> pa.RecordBatch:
    scratch.seek(at)
    with ipc.open_stream(pa.py_buffer(scratch.read(size))) as reader:
        return reader.read_next_batch()
