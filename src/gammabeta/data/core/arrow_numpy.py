"""Conversions between Arrow columns and NumPy vectors, without a copy where the bits are already right."""

from functools import cache
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from gammabeta.data.core.decimals import nearest

Vector = NDArray[Any]

# By Arrow's types. `DataType.to_pandas_dtype` asks for pandas before PyArrow 26.
_DTYPES: dict[pa.DataType, np.dtype[Any]] = {
    pa.from_numpy_dtype(dtype): dtype for dtype in map(np.dtype, "bhilBHILefd")
}


def is_number(kind: pa.DataType) -> bool:
    """Whether a column of this type is scaled: integers, floats and decimals are; flags, dates and text are not."""
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind))


@cache
def type_name(kind: pa.DataType) -> str:
    """The name of a type in messages: NumPy's for floats, Arrow's for the rest."""
    if pa.types.is_floating(kind):
        return str(dtype_of(kind))
    return str(kind)


def scaled_type(kind: pa.DataType) -> pa.DataType:
    """The type of a column once it is scaled: a float stays as it is, any other number becomes float64; so in lists."""
    if isinstance(kind, pa.FixedShapeTensorType):
        return pa.fixed_shape_tensor(scaled_type(kind.value_type), kind.shape, kind.dim_names, kind.permutation)
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        field = kind.value_field.with_type(scaled_type(kind.value_type))
        if pa.types.is_fixed_size_list(kind):
            return pa.list_(field, kind.list_size)
        return pa.large_list(field) if pa.types.is_large_list(kind) else pa.list_(field)
    return kind if pa.types.is_floating(kind) else pa.float64()


def width(kind: pa.DataType) -> int:
    """The size of a value in bytes, 0 where values differ in length."""
    if isinstance(kind, pa.FixedShapeTensorType):
        return width(kind.storage_type)
    if pa.types.is_fixed_size_list(kind):
        return width(kind.value_type) * int(kind.list_size)
    if pa.types.is_struct(kind):
        inner = [width(kind.field(i).type) for i in range(kind.num_fields)]
        return sum(inner) if all(inner) else 0
    try:
        return (int(kind.bit_width) + 7) // 8
    except ValueError:
        return 0


def dtype_of(kind: pa.DataType) -> np.dtype[Any]:
    """NumPy's type of an Arrow type of integers or floats."""
    return _DTYPES[kind]


def _plain(column: pa.Array) -> pa.Array:
    """A column of decimals as float64, each value rounded to the nearest; any other column as it is."""
    return nearest(column) if pa.types.is_decimal(column.type) else column


def raw(column: pa.Array) -> Vector:
    """A column as a vector (rows,), undefined where it is null: a view of Arrow's memory, decimals a copy."""
    plain = _plain(column)
    dtype = dtype_of(plain.type)
    data = plain.buffers()[1]
    if data is None:
        return np.zeros(len(plain), dtype)
    return np.frombuffer(data, dtype, len(plain), plain.offset * dtype.itemsize)


def present(column: pa.Array) -> Vector:
    """A column's values without nulls, (rows − nulls,); a view if there is no null."""
    return raw(column.drop_null() if column.null_count else column)


def filled(column: pa.Array) -> Vector:
    """A column as a vector (rows,), NaN where it is null; a view if it has no null, else floating and a copy."""
    if not column.null_count:
        return raw(column)
    plain = _plain(column)
    floating = plain if pa.types.is_floating(plain.type) else plain.cast(pa.float64(), safe=False)
    values = raw(floating).copy()
    values[np.asarray(pc.is_null(column))] = np.nan
    return values


def fresh(rows: int, dtype: np.dtype[Any]) -> Vector:
    """An uninitialized vector (rows,) in Arrow's memory: what one thread frees there another can have at once."""
    return np.frombuffer(pa.allocate_buffer(rows * dtype.itemsize), dtype)


def restored(values: Vector, like: pa.Array) -> pa.Array:
    """An Arrow column of `values`, null where `like` is. values: (rows,), contiguous; the column holds its memory."""
    kind = pa.from_numpy_dtype(values.dtype)
    if not like.null_count:
        return pa.Array.from_buffers(kind, len(values), [None, pa.py_buffer(values)], null_count=0)
    validity = pc.is_valid(like).buffers()[1]
    return pa.Array.from_buffers(kind, len(values), [validity, pa.py_buffer(values)], null_count=like.null_count)


def first_infinity(values: Vector) -> int:
    """The position of the first ±inf in a vector, or −1."""
    found = np.flatnonzero(np.isinf(values))
    return int(found[0]) if len(found) else -1
