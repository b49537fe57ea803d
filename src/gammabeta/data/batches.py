"""Arrow record batches that come from elsewhere, once: how an engine hands out a partition."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import pyarrow as pa

from gammabeta.data import vectors
from gammabeta.data.source import PIECE_BYTES, Chunk, Column, Source, TableChunk
from gammabeta.data.tables import gathered


class BatchSource(Source):
    """A stream of record batches, to be read once. `name` is what errors call it."""

    def __init__(self, batches: Iterable[pa.RecordBatch], columns: Sequence[Column], name: str) -> None:
        self.path, self.rows, self.size = Path(name), None, 0
        self._batches, self._columns = batches, tuple(columns)

    @property
    def columns(self) -> tuple[Column, ...]:
        """Every column, in the batches' order."""
        return self._columns

    def chunks(self, names: Sequence[str] | None = None) -> Iterator[TableChunk]:
        """The rows in order, some columns or all, as they come."""
        start = 0
        for batch in self._batches:
            chosen = batch if names is None else batch.select(list(names))
            yield TableChunk(chosen, start, 0)
            start += batch.num_rows

    def pieces(self, names: Sequence[str]) -> Iterator[tuple[tuple[str, ...], Chunk]]:
        """All values of the columns, in long pieces: engines cut batches of some thousand rows."""
        for first in (chunks := self.chunks(names)):
            width = sum(vectors.width(kind) for kind in first.batch.schema.types)
            for chunk in gathered(_again(first, chunks), PIECE_BYTES // max(1, width)):
                yield tuple(names), chunk


def _again(first: TableChunk, rest: Iterator[TableChunk]) -> Iterator[TableChunk]:
    yield first
    yield from rest
