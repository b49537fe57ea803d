"""Sources of record batches: lazy frames, queries, Arrow data sets, readers, and whatever speaks Arrow.

"Speaks Arrow" is the PyCapsule protocol: an object with `__arrow_c_stream__` or `__arrow_c_array__`, such as the frames
of pandas, polars and narwhals, DuckDB's relations and PyArrow's own. No library is imported to find out which it is.
"""

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow.fs import LocalFileSystem

from gammabeta.data.core import arrow_numpy
from gammabeta.data.core.batches import concatenated, groups
from gammabeta.data.core.source import CHUNK_BYTES, Chunk, Column, Source, TableChunk
from gammabeta.data.formats.ipc import slices
from gammabeta.data.formats.parquet import GROUP_BYTES, READ_AHEAD
from gammabeta.data.formats.table import columns_of
from gammabeta.data.io.paths import arrow_has_threads, reading
from gammabeta.data.io.peekable import PeekedIterable, name_of, single_pass_error
from gammabeta.errors import DataError, GammabetaError, KindError

STRETCH_BYTES = 16 << 20  # where statistics are taken: a call for a column costs as much as 100,000 values

Batches = Callable[[Sequence[str] | None], Iterable[pa.RecordBatch]]


class StreamSource(Source):
    """A source of record batches, made anew for each pass or, if `single_pass`, once.

    batches: gives those of all columns, or of some if it can; which they are is looked at here. parts: in so many the
    columns are asked for where statistics are taken, one part after the other.
    """

    def __init__(
        self, name: str, schema: pa.Schema, batches: Batches, *, single_pass: bool = False, parts: int = 1
    ) -> None:
        self.path, self.schema, self.single_pass = Path(name), schema, single_pass
        self.rows, self.size = None, 0
        self._batches, self._columns = batches, columns_of(schema, self.path)
        self._begun, self._parts = False, parts

    @property
    def columns(self) -> tuple[Column, ...]:
        """Every column, in the stream's order."""
        return self._columns

    def chunks(self, names: Sequence[str] | None = None) -> Iterator[TableChunk]:
        """The rows in order, some columns or all; a new pass at each call, or the only one.

        Raises:
            DataError: it can be read once, and was; or it has other rows, or other columns, than it had.
            KindError: a column has another type than it had.
        """
        for batch, start, done in self._pass(names, CHUNK_BYTES // 4):
            for part in slices(batch):
                yield TableChunk(part, start, done)
                start += part.num_rows

    def pieces(self, names: Sequence[str]) -> Iterator[tuple[tuple[str, ...], Chunk]]:
        """All values of the columns, in long stretches."""
        many, before = -(-len(names) // self._parts), 0
        for at in range(0, len(names), max(1, many)):
            some, done = tuple(names[at : at + many]), 0
            for batch, start, done in self._pass(some, STRETCH_BYTES):
                yield some, TableChunk(batch, start, before + done)
            before += done

    def _pass(self, names: Sequence[str] | None, min_bytes: int) -> Iterator[tuple[pa.RecordBatch, int, int]]:
        """All batches, of `min_bytes` bytes or more, with the number of their first row and the bytes so far."""
        if self.single_pass and self._begun:
            raise DataError(single_pass_error(str(self.path)))
        self._begun = True
        start = done = 0
        promised = (self._as_promised(batch, n, names) for n, batch in enumerate(self._batches(names), 1))
        for held in groups(promised, lambda batch: int(batch.nbytes), min_bytes):
            batch = concatenated(held)
            done += batch.nbytes
            yield batch, start, done
            start += batch.num_rows
        if self.rows is not None and start != self.rows:
            raise DataError(
                f"{str(self.path)!r} must give the same rows each time it is read, it gave {self.rows:,} and then "
                f"{start:,}; make a table or a file of it"
            )
        self.rows = start

    def _as_promised(self, batch: pa.RecordBatch, number: int, names: Sequence[str] | None) -> pa.RecordBatch:
        """A batch's selected columns (views), checked against the schema."""
        wanted = self.schema.names if names is None else list(names)
        if names is None and set(batch.schema.names) != set(wanted):
            odd = sorted(set(wanted) ^ set(batch.schema.names))
            raise DataError(
                f"all chunks must have the columns of the first, chunk {number} of {str(self.path)!r} differs "
                f"in {', '.join(map(repr, odd[:5]))}"
            )
        for name in wanted:
            at = batch.schema.get_field_index(name)
            if at < 0:
                raise DataError(
                    f"all chunks must have the columns of the first, chunk {number} of {str(self.path)!r} lacks "
                    f"{name!r}"
                )
            if batch.schema.field(at).type != self.schema.field(name).type:
                raise KindError(
                    f"a column must be of one type in all chunks, {name!r} of {str(self.path)!r} is "
                    f"{self.schema.field(name).type} in the first and {batch.schema.field(at).type} in chunk {number}; "
                    "cast it"
                )
        return batch if batch.schema.names == wanted else batch.select(wanted)


def table_of(x: Any) -> Source | None:
    """The source of an object that is a table or gives one; None if it is neither.

    Raises:
        KindError: it has a type that Arrow knows no way to take.
    """
    if isinstance(x, pa.RecordBatchReader):
        return StreamSource(name_of(x), x.schema, lambda names: x, single_pass=True)
    if _is(x, "pyarrow.dataset", "Dataset"):
        return StreamSource(name_of(x), x.schema, lambda names: _of_dataset(x, names), parts=_parts(x))
    if _is(x, "narwhals", "LazyFrame"):
        return table_of(x.to_native())
    if _is(x, "polars", "LazyFrame"):
        return _of_lazy_frame(x)
    if speaks_arrow(x):
        return _of_arrow(x)
    return None


def tables_of(chunks: PeekedIterable, pick: Callable[[Any], Any]) -> StreamSource:
    """The source of an iterable of tables, frames or record batches."""
    schema = _reader(pick(chunks.first)).schema

    def batches(names: Sequence[str] | None) -> Iterator[pa.RecordBatch]:
        for number, chunk in enumerate(chunks, 1):
            found = pick(chunk)
            if not speaks_arrow(found):
                raise KindError(
                    f"chunks must all be tables, chunk {number} of {chunks.name!r} is {type(found).__name__}"
                )
            yield from _reader(found)

    source = StreamSource(chunks.name, schema, batches, single_pass=chunks.single_pass)
    source.in_caller_thread = True
    return source


def speaks_arrow(x: Any) -> bool:
    """Whether an object has Arrow's PyCapsule protocol."""
    return hasattr(x, "__arrow_c_stream__") or hasattr(x, "__arrow_c_array__")


def _is(x: Any, module: str, name: str) -> bool:
    kind = getattr(sys.modules.get(module), name, None)
    return kind is not None and isinstance(x, kind)


def _of_arrow(x: Any) -> Source:
    """The source of an object that speaks Arrow. A query is started, and the first pass goes on from there."""
    begun = [_reader(x)]

    def batches(names: Sequence[str] | None) -> Iterator[pa.RecordBatch]:
        yield from begun.pop() if begun else _reader(x)

    return StreamSource(name_of(x), begun[0].schema, batches)


def _reader(x: Any) -> pa.RecordBatchReader:
    """The record batches of an object that speaks Arrow; one column's values are a table of that column."""
    try:
        if not hasattr(x, "__arrow_c_stream__"):
            x = pa.array(x) if not isinstance(x, pa.Array) else x
            table = pa.Table.from_struct_array(x) if pa.types.is_struct(x.type) else pa.table({"0": x})
            return table.to_reader()
        try:
            return pa.RecordBatchReader.from_stream(x)
        except pa.ArrowInvalid as error:
            if "non-struct" not in str(error):
                raise
            return pa.table({str(getattr(x, "name", None) or "0"): pa.chunked_array(x)}).to_reader()
    except MemoryError:
        raise
    except (pa.ArrowException, TypeError) as error:
        said = " ".join(map(str, error.args)) or type(error).__name__
        raise KindError(
            f"{name_of(x)!r} cannot be read as Arrow: {said.splitlines()[0]}; cast or drop that column"
        ) from error


def _of_dataset(x: Any, names: Sequence[str] | None) -> Iterator[pa.RecordBatch]:
    if not arrow_has_threads():
        raise GammabetaError(
            f"{name_of(x)!r} is read on threads of PyArrow's, of which this system starts too few; allow this process "
            "more (ulimit -u, or its container's limit), or name the folder or the files instead"
        )
    with reading(Path(name_of(x)), "a data set"):
        wanted = None if names is None else list(names)
        options = _scan_options(x)
        read_ahead = {"batch_readahead": 2, "fragment_readahead": 1}  # else it holds a gigabyte
        for batch in x.to_batches(columns=wanted, fragment_scan_options=options, **read_ahead):
            batch.validate(full=True)  # what it holds is as its files claim
            yield batch


def _is_parquet(x: Any) -> bool:
    from pyarrow.dataset import ParquetFileFormat  # late: loaded already by whoever has a data set

    return isinstance(getattr(x, "format", None), ParquetFileFormat)


def _scan_options(x: Any) -> Any:
    """How the files of a data set are read where its user has not said it: Arrow would keep of a Parquet file all that
    it has read until it is done with it."""
    from pyarrow.dataset import ParquetFragmentScanOptions

    if not _is_parquet(x) or not isinstance(x.filesystem, LocalFileSystem):
        return None
    usual = x.format.default_fragment_scan_options == ParquetFragmentScanOptions()
    sparing = {"pre_buffer": False, "use_buffered_stream": True, "buffer_size": READ_AHEAD}
    return ParquetFragmentScanOptions(**sparing) if usual else None


def _parts(x: Any) -> int:
    """The number of parts in which columns of an Arrow data set are read: Arrow decodes whole row groups."""
    with reading(Path(name_of(x)), "a data set"):
        first = x.files[:1] if _is_parquet(x) else []
        groups = [group for path in first for group in x.format.make_fragment(path, x.filesystem).row_groups]
    return 1 + max((group.total_byte_size for group in groups), default=0) // GROUP_BYTES


def _of_lazy_frame(x: Any) -> StreamSource:
    """The source of a polars LazyFrame: the query runs at each pass, for the selected columns only."""
    if not hasattr(x, "collect_batches"):
        raise KindError(
            "a LazyFrame is read in batches, which this version of polars has not; update it, or collect it"
        )
    schema = _reader(x.head(0).collect()).schema

    def batches(names: Sequence[str] | None) -> Iterator[pa.RecordBatch]:
        asked = x if names is None else x.select(list(names))
        width = sum(arrow_numpy.width(schema.field(name).type) or 16 for name in names or schema.names)
        for frame in asked.collect_batches(chunk_size=max(1, STRETCH_BYTES // max(width, 1)), lazy=True):
            yield from _reader(frame)

    return StreamSource(name_of(x), schema, batches)
