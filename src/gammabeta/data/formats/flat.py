"""A table with nested columns as one of numbers: fixed-size lists, tensors and structures become columns.

It reads another source, and takes apart what that gives (`core.nested`). What is scaled is put together again, so that
a file keeps its nested types. Lists of any length are one column, whose numbers are pooled where that was asked for.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pyarrow as pa

from gammabeta.data.core import arrow_numpy, nested
from gammabeta.data.core.columns import matches
from gammabeta.data.core.source import Chunk, Column, Scaling, Source, TableChunk, mapped
from gammabeta.data.core.statistics import listed
from gammabeta.data.formats.ipc import ArrowSource
from gammabeta.data.formats.parquet import ParquetSource
from gammabeta.data.formats.table import columns_of
from gammabeta.errors import DataError, KindError
from gammabeta.statistics import Extrema


def flat(source: Source, flatten: Sequence[str] = ()) -> Source:
    """A source whose nested columns are taken apart: itself if it has none.

    flatten: names or patterns of columns of lists, whose numbers are pooled.

    Raises:
        DataError: a column would be named as another is, or there is none to pool by such a name.
        KindError: a column to pool is not of lists of numbers.
    """
    apart = any(nested.is_nested(field.type) for field in source.schema)
    return FlatSource(source, _pooled(source, flatten)) if apart or flatten else source


def _pooled(source: Source, flatten: Sequence[str]) -> frozenset[str]:
    """The names of the columns of lists to pool."""
    known = {name: kind for field in source.schema for name, kind in _with_fields(field.name, field.type)}
    found: set[str] = set()
    for pattern in flatten:
        names = matches(pattern, list(known))
        fit = [name for name in names if nested.is_list(known[name])]
        if pattern in names and not fit:
            raise KindError(
                f"only lists of numbers are flattened, {pattern!r} in {str(source.path)!r} is {known[pattern]}; "
                "leave it out"
            )
        if not fit:
            raise DataError(
                f"there is no column of lists {pattern!r} to flatten in {str(source.path)!r}; it has {listed([*known])}"
            )
        found.update(fit)
    return frozenset(found)


def _with_fields(name: str, kind: pa.DataType) -> Iterator[tuple[str, pa.DataType]]:
    """A column, and the fields of structures in it, by their names."""
    yield name, kind
    for i in range(kind.num_fields if pa.types.is_struct(kind) else 0):
        yield from _with_fields(f"{name}.{kind.field(i).name}", kind.field(i).type)


class _Layout:
    """How the columns of a nested table are those of a flat one: `leaves`, of each column the names of its own."""

    def __init__(self, schema: pa.Schema, pooled: frozenset[str]) -> None:
        parts = {field.name: nested.fields(field, pooled) for field in schema}
        self.schema, self.pooled = schema, pooled
        self.leaves = {name: [leaf.name for leaf in some] for name, some in parts.items()}
        self.top = {leaf.name: name for name, some in parts.items() for leaf in some}
        self.flat = pa.schema([leaf for some in parts.values() for leaf in some], schema.metadata)

    def tops(self, names: Sequence[str]) -> list[str]:
        """The nested columns that these are of, each once."""
        return list(dict.fromkeys(self.top[name] for name in names))

    def taken_apart(self, batch: pa.RecordBatch, names: Sequence[str] | None) -> pa.RecordBatch:
        """The flat columns in a nested batch: these, or all."""
        parts: dict[str, pa.Array] = {}
        for name, column in zip(batch.schema.names, batch.columns, strict=True):
            parts |= zip(self.leaves[name], nested.taken_apart(column, name, self.pooled), strict=True)
        wanted = list(parts if names is None else names)
        schema = pa.schema([self.flat.field(name) for name in wanted], self.schema.metadata)
        return pa.RecordBatch.from_arrays([parts[name] for name in wanted], schema=schema)

    def put_together(self, flat: pa.RecordBatch, like: pa.RecordBatch) -> pa.RecordBatch:
        """The nested batch `like` with the flat columns in the place of its own."""
        schema, columns = self.nested_schema(flat.schema), []
        for field, column in zip(schema, like.columns, strict=True):
            leaves = [flat.column(name) for name in self.leaves[field.name]]
            columns.append(nested.put_together(column, field.type, iter(leaves), field.name, self.pooled))
        return pa.RecordBatch.from_arrays(columns, schema=schema)

    def nested_schema(self, flat: pa.Schema) -> pa.Schema:
        """The schema of the nested table whose flat columns have these types."""
        kinds = {
            field.name: nested.with_leaves(
                field.type, iter([flat.field(name).type for name in self.leaves[field.name]]), field.name, self.pooled
            )
            for field in self.schema
        }
        return pa.schema([field.with_type(kinds[field.name]) for field in self.schema], flat.metadata)


class FlatChunk(TableChunk):
    """Rows of a nested table: the columns are flat, `batch` is nested."""

    def __init__(self, flat: pa.RecordBatch, like: pa.RecordBatch, layout: _Layout, start: int, done: int) -> None:
        super().__init__(flat, start, done)
        self._like, self._layout = like, layout
        self._is_scaled = False

    @property
    def batch(self) -> pa.RecordBatch:
        """The rows as Arrow holds them, nested."""
        return self._layout.put_together(self._batch, self._like) if self._is_scaled else self._like

    def column(self, name: str) -> pa.Array:
        """A flat column."""
        return self._batch.column(name)

    def scaled(self, scaling: Scaling) -> "FlatChunk":
        """The same rows with the columns of `scaling` mapped, the others untouched."""
        batch, suspect = mapped(self._batch, scaling)
        result = FlatChunk(batch, self._like, self._layout, self.start, self.done)
        result.suspect, result._is_scaled = suspect, True
        return result


class FlatSource(Source):
    """The columns of numbers in another source's nested columns. See `flat`."""

    def __init__(self, inner: Source, pooled: frozenset[str]) -> None:
        self.inner, self._layout = inner, _Layout(inner.schema, pooled)
        self.path, self.schema = inner.path, self._layout.flat
        kinds = {column.name: column for column in inner.columns}
        self._columns = tuple(
            column._replace(skip_reason=self._skip_reason(column, kinds[self._layout.top[column.name]]))
            for column in columns_of(self.schema, self.path)
        )

    def _skip_reason(self, column: Column, top: Column) -> str:
        return (
            ""
            if column.name in self._layout.pooled
            else top.skip_reason
            if column.name == top.name
            else column.skip_reason
        )

    rows = property(lambda self: self.inner.rows)
    size = property(lambda self: self.inner.size)
    single_pass = property(lambda self: self.inner.single_pass)
    in_caller_thread = property(lambda self: self.inner.in_caller_thread)

    @property
    def columns(self) -> tuple[Column, ...]:
        """Every flat column, in the file's order."""
        return self._columns

    def nested_schema(self, schema: pa.Schema) -> pa.Schema:
        """The schema of the source with the flat columns' types in `schema`."""
        return self._layout.nested_schema(schema)

    def tops(self, names: Sequence[str]) -> list[str]:
        """The source's columns that flat ones are of."""
        return self._layout.tops(names)

    def chunks(self, names: Sequence[str] | None = None) -> Iterator[Chunk]:
        """The rows in order, some columns or all; a new pass at each call."""
        self.inner.scratch = self.scratch
        for chunk in self.inner.chunks(None if names is None else self.tops(names)):
            yield self._flat(chunk, names)

    def _flat(self, chunk: Chunk, names: Sequence[str] | None) -> FlatChunk:
        batch = chunk.batch
        return FlatChunk(self._layout.taken_apart(batch, names), batch, self._layout, chunk.start, chunk.done)

    def _by_rows(self, names: Sequence[str]) -> tuple[list[str], list[str]]:
        """The names in two parts: of columns to read in long stretches, and of lists, whose rows are wide."""
        columnar = isinstance(self.inner, ParquetSource | ArrowSource)
        wide = {
            name
            for name in self.tops(names)
            if columnar
            and (name in self._layout.pooled or not pa.types.is_primitive(self.inner.schema.field(name).type))
        }
        return [n for n in names if self._layout.top[n] not in wide], [n for n in names if self._layout.top[n] in wide]

    def shares(self, names: Sequence[str]) -> list[tuple[str, ...]]:
        """The columns in groups whose `pieces` threads may read at the same time."""
        long, wide = self._by_rows(names)
        by_top = {top: tuple(name for name in wide if self._layout.top[name] == top) for top in self.tops(wide)}
        shares = self.inner.shares(self.tops(long)) if long else []
        return [*(tuple(n for n in long if self._layout.top[n] in set(some)) for some in shares), *by_top.values()]

    def pieces(self, names: Sequence[str]) -> Iterator[tuple[tuple[str, ...], Chunk]]:
        """All values of the columns, in pieces of some columns and some rows, in any order."""
        long, wide = self._by_rows(names)
        for group, chunk in self.inner.pieces(self.tops(long)) if long else ():
            some = [name for name in long if self._layout.top[name] in set(group)]
            yield tuple(some), self._flat(chunk, some)
        for chunk in self.chunks(wide) if wide else ():
            yield tuple(wide), chunk

    def footer_minmax(self, names: Sequence[str]) -> dict[str, Extrema]:
        """The extrema from the file's footer, of those columns that are not nested."""
        return self.inner.footer_minmax(
            [
                name
                for name in names
                if arrow_numpy.is_number(self.schema.field(name).type) and name in self._layout.leaves
            ]
        )

    @contextmanager
    def unchanged(self) -> Iterator[None]:
        """See `Source`."""
        with self.inner.unchanged():
            yield
