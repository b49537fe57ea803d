"""Nested Arrow columns taken apart into columns of numbers, and put together again.

A fixed-size list of k numbers is k columns, `action[0]`, `action[1]`, …; a structure's fields are columns, `pose.x`; at
any depth, `pose.joints[3]`. A tensor of Arrow's `fixed_shape_tensor` is the fixed-size list that it is stored as, with
an index for each axis, `image[0][2]`. A value is null where it, or anything around it, is.

Lists of any length have no place for each number: they stay one column.
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from gammabeta.data.core import arrow_numpy
from gammabeta.errors import KindError

MOST = 1 << 18  # columns of one nested column: as many as a file may have
TILE = 2048  # rows at a time, which stay in the cache

Valid = NDArray[np.bool_] | None


def is_tensor(kind: pa.DataType) -> bool:
    """Whether this is Arrow's type of tensors of one shape."""
    return isinstance(kind, pa.FixedShapeTensorType)


def is_fixed(kind: pa.DataType) -> bool:
    """Whether this is a fixed-size list, or a tensor, of numbers that have a place each."""
    if is_tensor(kind):
        return is_fixed(kind.storage_type)
    if not pa.types.is_fixed_size_list(kind) or not kind.list_size:
        return False
    each = _count(kind.value_type)
    return each > 0 and each * kind.list_size <= MOST


def _count(kind: pa.DataType) -> int:
    """How many numbers a value of this type is, all of them in places of their own; 0 if it is something else."""
    if pa.types.is_struct(kind):
        counts = [_count(kind.field(i).type) for i in range(kind.num_fields)]
        return sum(counts) if all(counts) else 0
    if pa.types.is_fixed_size_list(kind):
        return min(MOST + 1, _count(kind.value_type) * int(kind.list_size))
    return int(arrow_numpy.is_number(kind))


def is_nested(kind: pa.DataType) -> bool:
    """Whether a column of this type is taken apart."""
    return (pa.types.is_struct(kind) and kind.num_fields > 0) or is_fixed(kind)


def fields(field: pa.Field, whole: frozenset[str] = frozenset()) -> list[pa.Field]:
    """The columns that a column is taken apart into. whole: names, its own or of what is in it, that stay whole."""
    kind = field.type
    if not is_nested(kind) or field.name in whole:
        return [field]
    if pa.types.is_struct(kind):
        inner = [kind.field(i) for i in range(kind.num_fields)]
        return [leaf for part in inner for leaf in fields(pa.field(f"{field.name}.{part.name}", part.type), whole)]
    shape = tuple(kind.shape) if is_tensor(kind) else (kind.list_size,)
    value = kind.storage_type.value_type if is_tensor(kind) else kind.value_type
    names = (f"{field.name}{''.join(f'[{i}]' for i in index)}" for index in np.ndindex(*shape))
    return [leaf for name in names for leaf in fields(pa.field(name, value))]


def taken_apart(
    column: pa.Array, name: str, whole: frozenset[str] = frozenset(), valid: Valid = None
) -> list[pa.Array]:
    """The columns of `fields`, views where they lie together. valid: False where what is around a value is null."""
    kind = column.type
    if not is_nested(kind) or name in whole:
        return [column if valid is None else _nulled(column, valid)]
    column = column.storage if is_tensor(kind) else column
    if column.null_count:
        own = np.asarray(pc.is_valid(column))
        valid = own if valid is None else own & valid
    if pa.types.is_struct(kind):
        parts = [(f"{name}.{kind.field(i).name}", column.field(i)) for i in range(kind.num_fields)]
        return [leaf for inner, part in parts for leaf in taken_apart(part, inner, whole, valid)]
    size = column.type.list_size
    values = column.values.slice(column.offset * size, len(column) * size)
    inner = taken_apart(values, "", valid=None if valid is None else np.repeat(valid, size))
    places = [_places(leaf, size) for leaf in inner]
    return [each[i] for i in range(size) for each in places]


def _nulled(column: pa.Array, valid: NDArray[np.bool_]) -> pa.Array:
    """A column that is null where `valid` is False."""
    kind = column.type
    if isinstance(kind, pa.BaseExtensionType):
        return pa.ExtensionArray.from_storage(kind, _nulled(column.storage, valid))
    if pa.types.is_string_view(kind) or pa.types.is_binary_view(kind):
        plain = pa.large_string() if pa.types.is_string_view(kind) else pa.large_binary()
        return _nulled(column.cast(plain), valid).cast(kind)
    if pa.types.is_union(kind) or pa.types.is_run_end_encoded(kind):  # Arrow has no `if_else` of these
        ends = [0, *(np.flatnonzero(np.diff(valid)) + 1).tolist(), len(valid)]
        runs = [column[a:b] if valid[a] else pa.nulls(b - a, kind) for a, b in pairwise(ends) if a < b]
        return pa.concat_arrays(runs) if runs else column
    return pc.if_else(pa.array(valid), column, pa.scalar(None, kind))


def put_together(
    like: pa.Array, kind: pa.DataType, leaves: Iterator[pa.Array], name: str, whole: frozenset[str]
) -> pa.Array:
    """A column of a nested type from those that `taken_apart` gives, null where `like` is."""
    if not is_nested(kind) or name in whole:
        return next(leaves)
    if is_tensor(kind):
        storage = put_together(like.storage, kind.storage_type, leaves, name, whole)
        return pa.ExtensionArray.from_storage(kind, storage)
    bits = pc.is_valid(like).buffers()[1] if like.null_count else None
    if pa.types.is_struct(kind):
        parts = [
            put_together(like.field(i), kind.field(i).type, leaves, f"{name}.{kind.field(i).name}", whole)
            for i in range(kind.num_fields)
        ]
    else:
        size, each = kind.list_size, _count(kind.value_type)
        given = [next(leaves) for _ in range(size * each)]
        values = like.values.slice(like.offset * size, len(like) * size)
        inner = iter([_in_turn(given[i::each]) for i in range(each)])
        parts = [put_together(values, kind.value_type, inner, "", frozenset())]
    return pa.Array.from_buffers(kind, len(like), [bits], children=parts)


def with_leaves(kind: pa.DataType, leaves: Iterator[pa.DataType], name: str, whole: frozenset[str]) -> pa.DataType:
    """A nested type with other types of numbers in it.

    Raises:
        KindError: the values of a list would be of several types.
    """
    if not is_nested(kind) or name in whole:
        return next(leaves)
    if pa.types.is_struct(kind):
        inner = [kind.field(i) for i in range(kind.num_fields)]
        parts = [field.with_type(with_leaves(field.type, leaves, f"{name}.{field.name}", whole)) for field in inner]
        return pa.struct(parts)
    storage = kind.storage_type if is_tensor(kind) else kind
    value, size = storage.value_type, storage.list_size
    found = {with_leaves(value, leaves, "", frozenset()) for _ in range(size)}
    if len(found) > 1:
        raise KindError(
            f"the values of a list must be of one type, scaling some of {name!r} would make them "
            f"{' and '.join(sorted(map(str, found)))}; scale all of them, or none"
        )
    new = found.pop()
    if is_tensor(kind):
        return pa.fixed_shape_tensor(new, kind.shape, kind.dim_names, kind.permutation)
    return pa.list_(storage.value_field.with_type(new), size)


def _places(column: pa.Array, size: int) -> list[pa.Array]:
    """Each `size`-th value of a column of numbers from the first on, from the second, …: as many columns."""
    kind, rows = column.type, len(column) // size
    words = _words(column)
    values = words.reshape(rows, size, words.shape[1])
    out = np.empty((size, rows, values.shape[2]), values.dtype)
    for start in range(0, rows, TILE):
        cut = slice(start, start + TILE)
        out[:, cut] = values[cut].swapaxes(0, 1)
    bits = None
    if column.null_count:
        bits = np.asarray(pc.is_valid(column)).reshape(rows, size).T
    return [_column(kind, out[i], None if bits is None else bits[i]) for i in range(size)]


def _in_turn(columns: Sequence[pa.Array]) -> pa.Array:
    """The first values of all columns, then the second, …: the inverse of `_places`."""
    kind, rows, size = columns[0].type, len(columns[0]), len(columns)
    words = [_words(column) for column in columns]
    out = np.empty((rows, size, words[0].shape[1]), words[0].dtype)
    for start in range(0, rows, TILE):
        cut = slice(start, start + TILE)
        np.stack([each[cut] for each in words], axis=1, out=out[cut])
    bits = None
    if any(column.null_count for column in columns):
        bits = np.stack([np.asarray(pc.is_valid(column)) for column in columns], axis=1).reshape(-1)
    return _column(kind, out.reshape(rows * size, out.shape[2]), bits)


def _words(column: pa.Array) -> NDArray[np.unsignedinteger]:
    """The memory of a column of numbers as unsigned integers, (rows, words)."""
    width = column.type.bit_width // 8
    data = column.buffers()[1]
    dtype, words = np.dtype(f"u{min(width, 8)}"), max(1, width // 8)
    if data is None:
        return np.zeros((len(column), words), dtype)
    flat = np.frombuffer(data, dtype, len(column) * words, column.offset * width)
    return flat.reshape(len(column), words)


def _column(kind: pa.DataType, words: NDArray[np.unsignedinteger], valid: Valid) -> pa.Array:
    bits = None if valid is None or valid.all() else pa.py_buffer(np.packbits(valid, bitorder="little"))
    return pa.Array.from_buffers(kind, len(words), [bits, pa.py_buffer(np.ascontiguousarray(words))])


def is_list(kind: pa.DataType) -> bool:
    """Whether a column of this type is of lists of numbers, at any depth and of any length: they can be pooled."""
    if is_tensor(kind):
        return is_list(kind.storage_type)
    types = pa.types
    if not (types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind)):
        return False
    return is_list(kind.value_type) or arrow_numpy.is_number(kind.value_type)


def elements(column: pa.Array) -> pa.Array:
    """The numbers in a column of lists, one after the other; those of any other column itself."""
    while is_list(column.type):
        column = (column.storage if is_tensor(column.type) else column).flatten()
    return column


def relisted(like: pa.Array, numbers: pa.Array) -> pa.Array:
    """Lists of other numbers, as long as those of `like`; any other column the numbers themselves."""
    kind = like.type
    if not is_list(kind):
        return numbers
    if is_tensor(kind):
        storage = relisted(like.storage, numbers)
        made = pa.fixed_shape_tensor(storage.type.value_type, kind.shape, kind.dim_names, kind.permutation)
        return pa.ExtensionArray.from_storage(made, storage)
    inner = relisted(like.flatten(), numbers)
    bits = pc.is_valid(like).buffers()[1] if like.null_count else None
    field = kind.value_field.with_type(inner.type)
    if pa.types.is_fixed_size_list(kind):
        if like.null_count:
            valid = np.repeat(np.asarray(pc.is_valid(like)), kind.list_size)
            inner = inner.take(pa.array(np.where(valid, np.cumsum(valid) - 1, 0), mask=~valid))
        return pa.Array.from_buffers(pa.list_(field, kind.list_size), len(like), [bits], children=[inner])
    large = pa.types.is_large_list(kind)
    offsets = np.concatenate([[0], _ends(like)]).astype(np.int64 if large else np.int32)
    made = pa.large_list(field) if large else pa.list_(field)
    return pa.Array.from_buffers(made, len(like), [bits, pa.py_buffer(offsets)], children=[inner])


def row_of(column: pa.Array, at: int) -> int:
    """The row that one of the numbers of `elements` is in."""
    levels = []
    while is_list(column.type):
        column = column.storage if is_tensor(column.type) else column
        levels.append(column)
        column = column.flatten()
    for level in reversed(levels):
        at = int(np.searchsorted(_ends(level), at, side="right"))
    return at


def _ends(column: pa.Array) -> NDArray[np.int64]:
    """Where each list ends among the values of all."""
    return np.cumsum(np.asarray(pc.list_value_length(column).fill_null(0)), dtype=np.int64)
