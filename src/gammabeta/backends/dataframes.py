"""Data frames of any library, through narwhals: as blocks of columns, as one matrix, and back to the same kind.

A statistic takes the columns in blocks of one type, (rows, columns) each, so that no type is widened and nothing large
is copied: a long column alone and where it lies, short ones together. An image is one matrix of floats, as scikit-learn
makes it of a frame, or it goes back into columns as they were: float32 stays float32, a nullable or Arrow type stays
one, nulls stay null; integers and booleans become the float64 of their library.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from typing import Any

import narwhals as nw
import numpy as np
from numpy.typing import NDArray

from gammabeta.backends import nullable
from gammabeta.errors import DataError, KindError

Array = NDArray[Any]
Columns = list[int]
Placed = tuple[int, nw.Series[Any]]  # a column and its place in the frame

BESIDE = 2**17  # elements of short columns to lay side by side: what a core's cache holds
WHOLE = 2**22  # elements of a frame of one type to copy at once: pandas takes 10 µs to find a column, polars 1
ROWS = 2**20  # rows of a long column at a time: bounds the copy where memory cannot be read as it lies
_OF_ANYTHING = (nw.String, nw.Object, nw.Unknown, nw.Categorical, nw.Enum)  # numbers too
_PLAIN = ("Float32", "Float64", "Int32", "Int64")


def is_frame(x: Any) -> bool:
    """Whether x is a data frame to be taken column by column.

    Not so pandas' sparse columns, of which scikit-learn makes matrices.

    >>> import pandas as pd
    >>> is_frame(pd.DataFrame({"a": [1.0]})), is_frame([[1.0]])
    (True, False)

    Raises:
        KindError: x is a lazy frame, or another table that has to be computed first.
    """
    if type(x).__module__.startswith("dask.dataframe"):
        raise KindError("X must be a data frame that is in memory, got a Dask one; take gammabeta.data.dask's scalers")
    frame = nw.from_native(x, pass_through=True)
    if isinstance(frame, nw.LazyFrame):
        raise KindError(f"X must be a data frame that is in memory, got the lazy {type(x).__name__}; collect it first")
    if not isinstance(frame, nw.DataFrame):
        return False
    return not (_is_pandas(frame) and any(type(dtype).__name__ == "SparseDtype" for dtype in frame.to_native().dtypes))


def blocks(x: Any) -> Iterator[tuple[Columns, Array, Array | None]]:
    """The blocks of a frame: the places of a block's columns, its values (rows, columns), and which rows they are of.

    The rows are None for all of them. A column of 64-bit integers some of which are null comes without the null ones,
    since no array of integers has a place for them and float64 does not hold them all; other nulls are NaN.

    Raises:
        DataError: columns that are not numeric, named.
    """
    frame: nw.DataFrame[Any] = nw.from_native(x, eager_only=True)
    whole = _together(frame)
    if whole is not None:
        yield list(range(whole.shape[1])), whole, None
        return
    plain, rest = _by_type(frame)
    for places, block in plain:
        yield places, block, None
    for places, series in _groups(rest, len(frame)):
        for start in range(0, len(frame), ROWS):
            parts = [s if len(frame) <= ROWS else s[start : start + ROWS] for s in series]
            if len(parts) == 1 and _is_wide_with_nulls(parts[0]):
                rows = np.flatnonzero(~parts[0].is_null().to_numpy())
                yield places, parts[0].drop_nulls().to_numpy()[:, None], rows + start
            else:
                everything = len(frame) <= ROWS
                yield places, _beside(parts), None if everything else np.arange(start, start + len(parts[0]))


def matrix(x: Any, function: Callable[[Array, Columns, Array], Any]) -> Array:
    """A new matrix of the images of a frame's blocks, of the floating type that scikit-learn makes of the frame.

    That is the common type of a pandas frame's columns where NumPy has all their types, else float64.
    `function(block, places, out)` writes the image of a block, in which nulls are NaN, to `out`.

    Raises:
        DataError: columns that are not numeric, named.
    """
    frame: nw.DataFrame[Any] = nw.from_native(x, eager_only=True)
    whole, dtype = _together(frame), _image_type(frame)
    if whole is not None:
        out = np.empty_like(whole, dtype)
        function(whole, list(range(whole.shape[1])), out)
        return out
    out = np.empty(frame.shape[::-1], dtype).T
    for places, block in _numbers(frame):
        consecutive = places[-1] - places[0] == len(places) - 1
        part = out[:, places[0] : places[-1] + 1] if consecutive else np.empty_like(block, dtype)
        function(block, places, part)
        if not consecutive:
            out[:, places] = part
    return out


def mapped(x: Any, function: Callable[[Array, Columns], Array]) -> Any:
    """The frame of the same kind, names and index whose blocks are `function(block, places)`, arrays of floats."""
    frame: nw.DataFrame[Any] = nw.from_native(x, eager_only=True)
    whole = _together(frame)
    if whole is not None:
        image = function(whole, list(range(whole.shape[1])))
        return _same_native(x, frame, _pandas_frame(frame, image) if _is_pandas(frame) else _replaced(frame, image))
    columns: list[Array] = [np.empty(0)] * frame.shape[1]
    for places, block in _numbers(frame):
        result = function(block, places)
        for i, place in enumerate(places):
            columns[place] = result[:, i]
    if _is_pandas(frame):
        native = _pandas_frame(frame, dict(enumerate(_pandas_columns(frame, columns))))
    else:
        pairs = zip(frame.iter_columns(), columns, strict=True)
        native = frame.with_columns(*(_column(series, values) for series, values in pairs)).to_native()
    return _same_native(x, frame, native)


def native(x: Any) -> Any:
    """The frame of pandas, polars or another library that a narwhals frame wraps; others as they are."""
    return nw.to_native(x, pass_through=True)


def names(x: Any) -> list[Any]:
    """The names of a frame's columns."""
    return list(nw.from_native(x, eager_only=True).columns)


def _is_pandas(frame: nw.DataFrame[Any]) -> bool:
    return bool(frame.implementation.is_pandas_like())


def _refuse_odd(columns: Sequence[nw.Series[Any]]) -> None:
    """Refuse columns that are not numeric."""
    odd = [f"{s.name!r} ({_type(s)})" for s in columns if _is_odd(s)]
    if odd:
        more = f" and {len(odd) - 10} more" if len(odd) > 10 else ""
        raise DataError(
            f"every column must be numeric, got {', '.join(odd[:10])}{more}; leave them out or make numbers of them, "
            "of text with pandas.to_numeric or a cast"
        )


def _type(series: nw.Series[Any]) -> Any:
    return series.to_native().dtype if series.implementation.is_pandas_like() else series.dtype


def _is_odd(series: nw.Series[Any]) -> bool:
    """Whether a column is not numeric. Text, objects and categories are if they are of numbers, as for scikit-learn."""
    if series.dtype.is_numeric() or series.dtype == nw.Boolean:
        return False
    if series.dtype not in _OF_ANYTHING:
        return bool(series.null_count() < len(series))
    try:
        _spelled(series)
    except (TypeError, ValueError):
        return True
    return False


def _spelled(series: nw.Series[Any]) -> Array:
    """The numbers that text, objects or categories are, float64, as Python's `float` reads them; NaN for nulls."""
    values = series.to_numpy()
    if values.dtype.kind in "biuf":
        return values.astype(np.float64)
    values, nulls = values.astype(object), series.is_null().to_numpy()
    values[nulls] = np.nan
    numbers: Array = values.astype(np.float64)
    return numbers


def _values(series: nw.Series[Any]) -> Array:
    """A column's numbers, NaN for nulls; float64 where NumPy has no type for them."""
    if series.dtype in _OF_ANYTHING:
        return _spelled(series)
    values = series.to_numpy()
    if values.dtype.kind == "f" and not series.dtype.is_float():
        return values.astype(np.float64)  # polars makes float32 of small integers with nulls
    if values.dtype.kind in "biuf":
        return values
    # pandas' missing truth value is no number to NumPy, while its casts know what to do
    return series.cast(nw.Float64).to_numpy() if series.dtype == nw.Boolean else values.astype(np.float64)


def _beside(series: list[nw.Series[Any]]) -> Array:
    """A new block of columns of one dtype, (rows, columns), in column-major memory."""
    if len(series) == 1:
        return _values(series[0])[:, None]
    columns = [_values(s) for s in series]
    # one type to narwhals is two to NumPy where some columns have nulls: int32 and the float64 that holds it and NaN
    block = np.empty((len(series), len(columns[0])), np.result_type(*(c.dtype for c in columns)))
    for row, column in zip(block, columns, strict=True):
        row[:] = column
    return block.T


def _numbers(frame: nw.DataFrame[Any]) -> Iterator[tuple[Columns, Array]]:
    """The blocks of a frame of numeric columns, all rows of each, NaN for nulls."""
    plain, rest = _by_type(frame)
    for places, block in plain:
        yield places, block
    for places, series in _groups(rest, len(frame)):
        yield places, _beside(series)


def _image_type(frame: nw.DataFrame[Any]) -> np.dtype[Any]:
    """The floating type that scikit-learn gives to an array made of a frame."""
    types = set(frame.to_native().dtypes) if _is_pandas(frame) else ()
    if types and all(isinstance(t, np.dtype) and t.kind in "biuf" for t in types):
        common = np.result_type(*types)
        if common.kind == "f" and common.itemsize <= 8:
            return common
    return np.dtype(np.float64)


def _together(frame: nw.DataFrame[Any]) -> Array | None:
    """A frame's values as one matrix, where all columns are of one type and that costs little.

    A frame of up to `WHOLE` elements: one copy takes less time than going from column to column. And a pandas frame
    which is one matrix in memory, whatever its size.
    """
    rows, columns = frame.shape
    if not rows or not columns:
        return None
    small = rows * columns <= WHOLE
    native: Any = frame.to_native()
    if _is_pandas(frame):
        types = set(native.dtypes)
        if len(types) > 1 or not isinstance(dtype := types.pop(), np.dtype) or dtype.kind not in "biuf":
            return None
        return native.to_numpy() if small or _is_one_matrix(native) else None
    if not small or columns < 2 or len(types := set(_types(frame))) > 1 or str(types.pop()) not in _PLAIN:
        return None
    return None if any(_nulls(frame)) else frame.to_numpy()


def _types(frame: nw.DataFrame[Any]) -> list[Any]:
    """The types of a frame's columns, its library's own where that is quicker."""
    return list(frame.to_native().dtypes if frame.implementation.is_polars() else frame.schema.values())


def _is_one_matrix(native: Any) -> bool:
    """Whether a pandas frame of one type is one array in memory."""
    first, last = (native.iloc[:, i].to_numpy() for i in (0, -1))
    return first.base is not None and first.base is last.base


def _nulls(frame: nw.DataFrame[Any]) -> tuple[Any, ...]:
    """How many nulls each column has."""
    native: Any = frame.to_native()
    if frame.implementation.is_polars():
        return tuple(native.null_count().row(0))
    return frame.select(nw.all().null_count()).row(0)


def _by_type(frame: nw.DataFrame[Any]) -> tuple[Iterator[tuple[Columns, Array]], list[Placed]]:
    """Columns that NumPy has a type for, in blocks of one type that fit `BESIDE`; and the other columns, if numeric."""
    same: dict[Any, Columns] = {}
    others: Columns = []
    extended: list[tuple[Columns, Array]] = []
    if _is_pandas(frame):
        native: Any = frame.to_native()
        for place, dtype in enumerate(native.dtypes):
            is_plain = isinstance(dtype, np.dtype) and dtype.kind in "biuf"
            (same.setdefault(dtype, []) if is_plain else others).append(place)
        extended, others = _extended(native, others)
    elif frame.implementation.is_polars():
        for place, (dtype, nulls) in enumerate(zip(_types(frame), _nulls(frame), strict=True)):
            is_plain = not nulls and str(dtype) in _PLAIN
            (same.setdefault(dtype, []) if is_plain else others).append(place)
    else:
        others = list(range(frame.shape[1]))
    plain = [places for alike in same.values() for places in _fitting(alike, len(frame))]
    columns = list(frame.iter_columns()) if len(others) == frame.shape[1] else [frame[:, place] for place in others]
    _refuse_odd(columns)
    found = ((places, _matrix(frame, places)) for places in plain)
    return chain(found, extended), list(zip(others, columns, strict=True))


def _fitting(places: Columns, rows: int) -> Iterator[Columns]:
    """The places in parts of as many columns as fit `BESIDE`."""
    most = max(1, BESIDE // max(1, rows))
    return (places[i : i + most] for i in range(0, len(places), most))


def _extended(native: Any, places: Columns) -> tuple[list[tuple[Columns, Array]], Columns]:
    """Blocks of floats of short columns of pandas' extension types, and the places of the other columns."""
    same: dict[Any, tuple[np.dtype[Any], Columns]] = {}
    dtypes = list(native.dtypes)
    for place in places if len(native) <= BESIDE else ():
        dtype = dtypes[place]
        if (kind := nullable.number_type(dtype)) is not None:
            same.setdefault(dtype, (kind, []))[1].append(place)
    columns = list(nullable.arrays(native)) if same else []
    found = []
    for kind, alike in same.values():
        for part in _fitting(alike, len(native)):
            block = nullable.floats([columns[place] for place in part], kind)
            if block is not None:
                found.append((part, block))
    taken = {place for part, _ in found for place in part}
    return found, [place for place in places if place not in taken]


def _matrix(frame: nw.DataFrame[Any], places: Columns) -> Array:
    """Columns that NumPy has one type for, (rows, columns); a single one where it lies."""
    table: Any = frame.to_native().iloc if _is_pandas(frame) else frame.to_native()
    values: Array = table[:, places[0]].to_numpy()[:, None] if len(places) == 1 else table[:, places].to_numpy()
    return values


def _is_wide_with_nulls(series: nw.Series[Any]) -> bool:
    return series.dtype in (nw.Int64, nw.UInt64) and series.null_count() > 0


def _groups(columns: list[Placed], rows: int) -> Iterator[tuple[Columns, list[nw.Series[Any]]]]:
    """Columns that make a block: of one type, so few that they fit `BESIDE`; a long column alone."""
    most = max(1, BESIDE // max(1, rows))
    waiting: dict[Any, tuple[Columns, list[nw.Series[Any]]]] = {}
    for place, series in columns:
        if most == 1 or _is_wide_with_nulls(series):
            yield [place], [series]
            continue
        places, together = waiting.setdefault(series.dtype, ([], []))
        places.append(place)
        together.append(series)
        if len(places) == most:
            yield waiting.pop(series.dtype)
    yield from waiting.values()


def _column(series: nw.Series[Any], values: Array) -> Any:
    """A column of these values with the old one's name, and null where it was null."""
    new: Any = nw.new_series(series.name, values, backend=series.implementation)
    return nw.when(~series.is_null()).then(new).alias(series.name) if series.null_count() else new


def _replaced(frame: nw.DataFrame[Any], image: Array) -> Any:
    """A frame without nulls, of the matrix's columns."""
    if frame.implementation.is_polars():
        return nw.from_numpy(image, schema=frame.columns, backend=frame.implementation).to_native()
    # PyArrow's tables have metadata, which a new table would lack
    columns = zip(frame.iter_columns(), image.T, strict=True)
    return frame.with_columns(*(_column(series, values) for series, values in columns)).to_native()


def _pandas_columns(frame: nw.DataFrame[Any], columns: Sequence[Array]) -> Iterator[Any]:
    """pandas columns of these values, each of the old one's type or of the float64 that goes with it."""
    native: Any = frame.to_native()
    floating: dict[Any, Any] = {}
    for place, (dtype, values) in enumerate(zip(native.dtypes, columns, strict=True)):
        if isinstance(dtype, np.dtype):
            yield values
            continue
        if dtype not in floating:
            series = frame[:, place]
            same = series.dtype in (nw.Float32, nw.Float64)
            floating[dtype] = dtype if same else series.head(0).cast(nw.Float64).to_native().dtype
        of = floating[dtype]
        if isinstance(of, np.dtype):
            yield values.astype(of, copy=False)
        else:
            yield of.construct_array_type()._from_sequence(values, dtype=of)  # pandas makes its NA of NaN


def _pandas_frame(frame: nw.DataFrame[Any], columns: Any) -> Any:
    native = frame.to_native()
    new = type(native)(columns, index=native.index, copy=False)
    new.columns = native.columns
    return new.__finalize__(native)


def _same_native(x: Any, frame: nw.DataFrame[Any], native: Any) -> Any:
    """What was given as a narwhals frame comes back as one."""
    return nw.from_native(native, eager_only=True) if x is frame or isinstance(x, nw.DataFrame) else native
