"""Columns of an Arrow schema, groups of columns, and the source of a table in memory."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa

from gammabeta.data.core import arrow_numpy, nested
from gammabeta.data.core.batches import gathered
from gammabeta.data.core.source import CHUNK_BYTES, PIECE_BYTES, Chunk, Column, Source, TableChunk
from gammabeta.data.io.remote import Place
from gammabeta.errors import DataError

LANES = 16  # columns


def columns_of(schema: pa.Schema, path: Place) -> tuple[Column, ...]:
    """The columns of a schema; the index of pandas among them is not to be scaled.

    Raises:
        DataError: two columns have one name.
    """
    unique(schema.names, path)
    index = _pandas_index(schema)
    columns = []
    for field in schema:
        skip_reason = "the index" if field.name in index else _skip_reason(field.type)
        columns.append(Column(field.name, arrow_numpy.type_name(field.type), skip_reason))
    return tuple(columns)


def _skip_reason(kind: pa.DataType) -> str:
    if arrow_numpy.is_number(kind):
        return ""
    return (
        "empty" if pa.types.is_null(kind) else "lists, pooled with --flatten" if nested.is_list(kind) else "not numeric"
    )


def by_column_groups(source: Source, names: Sequence[str], rows: int) -> Iterator[tuple[tuple[str, ...], Chunk]]:
    """The chunks of a source, read by groups of columns that are small enough for chunks of `rows` rows."""
    groups = column_groups(source.schema, names, rows)
    for i, group in enumerate(groups):
        wide = sum(arrow_numpy.width(source.schema.field(name).type) for name in group)
        for chunk in gathered(source.chunks(group), min(rows // 2, PIECE_BYTES // max(wide, 1))):
            yield group, TableChunk(chunk.batch, chunk.start, (source.size * i + chunk.done) // len(groups))


def column_groups(
    schema: pa.Schema, names: Sequence[str], rows: int, limit: int = PIECE_BYTES
) -> list[tuple[str, ...]]:
    """Columns in groups of which `rows` rows fit in `limit` bytes; columns that are narrow keep together.

    Groups of many are of multiples of 16: a kernel goes down a table of 41 columns at half the speed of one of 32.
    """
    groups: list[tuple[str, ...]] = []
    group: list[str] = []
    held: list[int] = []  # the bytes of a row of the group's columns, up to each
    for name in names:
        more = arrow_numpy.width(schema.field(name).type)
        if len(group) > 1 and (held[-1] + more) * rows > limit:
            full = len(group) // LANES * LANES or len(group)
            groups.append(tuple(group[:full]))
            group, held = group[full:], [before - held[full - 1] for before in held[full:]]
        group.append(name)
        held.append(more + (held[-1] if held else 0))
    return [*groups, tuple(group)] if group else groups


def unique(names: Sequence[str], path: Place) -> None:
    """Refuse column names that come twice."""
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise DataError(f"column names must differ, but {name!r} comes twice in {str(path)!r}; rename one")
        seen.add(name)


def _pandas_index(schema: pa.Schema) -> set[str]:
    try:
        written = json.loads((schema.metadata or {})[b"pandas"])["index_columns"]
        return {name for name in written if isinstance(name, str)}
    except (KeyError, TypeError, ValueError):
        return set()


class TableSource(Source):
    """An Arrow table in memory."""

    def __init__(self, table: pa.Table, name: str) -> None:
        self.path, self.schema = Path(name), table.schema
        self.rows, self.size = table.num_rows, table.nbytes
        self._table, self._columns = table, columns_of(table.schema, self.path)

    @property
    def columns(self) -> tuple[Column, ...]:
        """Every column, in the table's order."""
        return self._columns

    def chunks(self, names: Sequence[str] | None = None) -> Iterator[TableChunk]:
        """The rows in order, some columns or all; a new pass at each call."""
        table = self._table if names is None else self._table.select(list(names))
        start = 0
        rows = max(16, CHUNK_BYTES * max(table.num_rows, 1) // max(table.nbytes, 1))
        for batch in table.to_batches(max_chunksize=rows):
            start += batch.num_rows
            yield TableChunk(batch, start - batch.num_rows, self.size * start // max(self.rows or 0, 1))


def example() -> TableSource:
    """The breast cancer table that scikit-learn ships: 569 rows, 30 columns of numbers and the diagnosis in words."""
    return TableSource(breast_cancer(), "breast cancer (569 rows, from scikit-learn)")


def breast_cancer() -> pa.Table:
    """The table of `example`."""
    from sklearn.datasets import load_breast_cancer  # late: it loads SciPy, which nothing else here needs

    found = load_breast_cancer()
    columns = {str(name): found.data[:, i].copy() for i, name in enumerate(found.feature_names)}
    diagnosis = [str(found.target_names[i]) for i in found.target]
    return pa.table(columns | {"diagnosis": diagnosis})
