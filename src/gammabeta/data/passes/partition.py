"""Statistics and scaling of an engine's partition, a stream of Arrow record batches.

What runs on an engine's workers is here and not beside the engine's own names: a worker loads this in a sixth of the
time.
"""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from gammabeta.affine import Affine
from gammabeta.data.core import arrow_numpy
from gammabeta.data.core.batches import gathered
from gammabeta.data.core.sink import scaled_schema
from gammabeta.data.core.source import PIECE_BYTES, Chunk, Column, Scaling, Source, TableChunk
from gammabeta.data.core.statistics import Statistics
from gammabeta.data.passes.measure import measure_source
from gammabeta.data.passes.transform import image

Batches = Iterable[pa.RecordBatch]


class Map(NamedTuple):
    """An affine map of shape (k,) for k named columns, and the range to clip to, if any."""

    names: tuple[str, ...]
    affine: Affine
    clip: tuple[float, float] | None = None


class _BatchSource(Source):
    """A source of record batches, which can be read once. names: of their columns, in the place of their own."""

    def __init__(self, batches: Batches, names: Sequence[str], columns: Sequence[Column], partition: str) -> None:
        self.path, self.rows, self.size = Path(partition), None, 0
        self._batches, self._names, self._columns = batches, list(names), tuple(columns)

    @property
    def columns(self) -> tuple[Column, ...]:
        """Every column, in the batches' order."""
        return self._columns

    def chunks(self, names: Sequence[str] | None = None) -> Iterator[TableChunk]:
        """The rows in order, some columns or all, as they come."""
        start = 0
        for batch in self._batches:
            named = batch.rename_columns(self._names)
            yield TableChunk(named if names is None else named.select(list(names)), start, 0)
            start += batch.num_rows

    def pieces(self, names: Sequence[str]) -> Iterator[tuple[tuple[str, ...], Chunk]]:
        """All values of the columns, in long pieces: engines cut batches of some thousand rows."""
        for first in (chunks := self.chunks(names)):
            width = sum(arrow_numpy.width(kind) for kind in first.batch.schema.types)
            for chunk in gathered(_again(first, chunks), PIECE_BYTES // max(1, width)):
                yield tuple(names), chunk


def _again(first: TableChunk, rest: Iterator[TableChunk]) -> Iterator[TableChunk]:
    yield first
    yield from rest


def measured(batches: Batches, columns: Sequence[Column], partition: str) -> Statistics:
    """A partition's statistics. columns: of the batches, all numeric; partition: its name in errors."""
    return measure_source(_BatchSource(batches, [column.name for column in columns], columns, partition))


def mapped(batches: Batches, names: Sequence[str], by: Map, partition: str) -> Iterator[pa.RecordBatch]:
    """A partition's batches, scaled. names: of all columns; partition: its name in errors."""
    scaling = None
    for chunk in _BatchSource(batches, names, (), partition).chunks():
        scaling = scaling or Scaling(by.names, by.affine, scaled_schema(chunk.batch.schema, by.names))
        batch = image(chunk, scaling, Path(partition)).batch
        yield batch if by.clip is None else _clipped(batch, by.names, *by.clip)


def _clipped(batch: pa.RecordBatch, names: Sequence[str], low: float, high: float) -> pa.RecordBatch:
    columns = batch.columns
    for name in names:
        at = batch.schema.get_field_index(name)
        columns[at] = arrow_numpy.restored(np.clip(arrow_numpy.raw(columns[at]), low, high), columns[at])
    return pa.RecordBatch.from_arrays(columns, schema=batch.schema)
