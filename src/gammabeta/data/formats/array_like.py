"""Source of array-likes: HDF5 datasets, netCDF4 variables, TensorStore and whatever has shape, dtype and `x[…]`.

Iterating over one would give its rows, one request each. It is read in boxes along its chunks, as a Zarr array is.
"""

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from numbers import Integral
from pathlib import Path
from typing import Any, cast

import numpy as np

from gammabeta.backends import masked
from gammabeta.data.formats.array import dtype_of
from gammabeta.data.formats.cf import Decoding, decoding
from gammabeta.data.formats.sliced_array import REGION_BYTES, GridSource, grown
from gammabeta.data.io.paths import reason
from gammabeta.data.io.remote import Place
from gammabeta.errors import DataError, FileError, GammabetaError


def is_array_like(x: Any) -> bool:
    """Whether x has a shape, a dtype that NumPy has too, and `x[…]`; no frame or column of pandas."""
    if not hasattr(type(x), "__getitem__") or not hasattr(x, "dtype") or hasattr(x, "__arrow_array__"):
        return False
    shape = getattr(x, "shape", None)
    return isinstance(shape, tuple | list) and all(_is_length(n) for n in shape) and _dtype(x) is not None


def is_sparse(x: Any) -> bool:
    """Whether x is a sparse matrix or array of SciPy's."""
    return type(x).__module__.startswith("scipy.sparse") and hasattr(x, "tocsr")


def array_like(x: Any, path: Place | None = None, *, decode: bool = True) -> "ArrayLikeSource":
    """The source of an array-like or a sparse matrix. decode: whether attributes of its own (`x.attrs`) are heard.

    Raises:
        DataError: a length is not known, or it holds a single number.
    """
    if is_sparse(x):
        x = x.tocsr()
    if any(n != n for n in x.shape):
        raise DataError(
            f"the lengths of all axes must be known, got {type(x).__name__} of shape {tuple(x.shape)}; ask for them: "
            "x.compute_chunk_sizes(), or use gammabeta.data.dask.moments"
        )
    path = path or _name(x)
    attributes = getattr(x, "attrs", None)
    stored = cast("np.dtype[Any]", _dtype(x))
    heard = attributes if decode and isinstance(attributes, Mapping) else None
    return ArrayLikeSource(x, path, None if heard is None else decoding(dict(heard), stored, path))


class ArrayLikeSource(GridSource):
    """An array-like, read box by box. What one of its chunks takes in memory is held, and 32 MiB beside it."""

    def __init__(self, array: Any, path: Place, decode: Decoding | None) -> None:
        self._decode = decode
        self._ends = tuple(map(int, array.shape))
        stored = cast("np.dtype[Any]", _dtype(array))
        cell = _chunks(array) or _contiguous(self._ends, stored.itemsize)
        super().__init__(array, path, cell, stored)
        self.dtype = self._dtype_of_values(stored)

    def _dtype_of_values(self, stored: np.dtype[Any]) -> np.dtype[Any]:
        """The type of what is read: netCDF4's variables give other values than those that are stored."""
        if stored.kind not in "iuf":
            return stored
        return dtype_of(self._read(tuple(slice(0, 1) for _ in self.shape)))

    def _read(self, at: tuple[slice, ...]) -> Any:
        box = tuple(slice(part.start, min(part.stop, n)) for part, n in zip(at, self._ends, strict=True))
        with _reading(self.path, box):
            values = self._array[box]
            values = values.toarray() if hasattr(values, "toarray") else values
            values = values if masked.is_masked(values) else np.asarray(values)
        return values if self._decode is None else self._decode(values)


@contextmanager
def _reading(path: Place, box: tuple[slice, ...]) -> Iterator[None]:
    """Turn what each library raises into one error that names the place."""
    try:
        yield
    except (GammabetaError, MemoryError):
        raise
    except Exception as error:
        near = tuple(part.start for part in box)
        raise FileError(f"{str(path)!r} cannot be read near {near}: {reason(error)}") from error


def members(x: Any) -> list[str] | None:
    """The names of the arrays in a group of HDF5, netCDF4 or Zarr; None if x is none."""
    if _is(x, "h5py", "Group") or _is(x, "zarr", "Group"):
        return [name for name in x if hasattr(x[name], "shape")]
    return list(x.variables) if _is(x, "netCDF4", "Dataset") else None


def refuse_group(x: Any) -> None:
    """Raise DataError if x is a group of arrays, with their names."""
    found = members(x)
    if found is not None:
        names = ", ".join(map(repr, found[:20])) or "no array"
        example = repr(found[0]) if found else "name"
        raise DataError(
            f"one array is needed, {type(x).__name__!r} is a group with {names}; pass one of them: x[{example}]"
        )


def _is(x: Any, module: str, name: str) -> bool:
    kind = getattr(sys.modules.get(module), name, None)
    return kind is not None and isinstance(x, kind)


def _is_length(n: Any) -> bool:
    return isinstance(n, Integral) or n != n  # NaN where Dask does not know


def _dtype(x: Any) -> np.dtype[Any] | None:
    """The dtype as NumPy's, None if it has no such."""
    given: Any = getattr(x.dtype, "numpy_dtype", x.dtype)  # TensorStore's
    try:
        found: np.dtype[Any] = np.dtype(given)
    except TypeError:
        return None
    return found


def _name(x: Any) -> Path:
    """What messages call it: an HDF5 dataset's file and name, else its type."""
    file = getattr(getattr(x, "file", None), "filename", None)
    return Path(f"{file}::{x.name}") if isinstance(file, str) else Path(type(x).__name__)


def _chunks(x: Any) -> tuple[int, ...] | None:
    """The shape of what the array stores as one; None where it lies in one piece or does not tell."""
    if _is(x, "netCDF4", "Variable"):
        found = x.chunking()
    elif hasattr(x, "chunk_layout"):
        found = x.chunk_layout.read_chunk.shape
    else:
        found = getattr(x, "chunksize", None) or getattr(x, "chunks", None)  # Dask's, HDF5's
    whole = isinstance(found, Sequence) and len(found) == len(x.shape) and all(_is_length(n) for n in found)
    return tuple(max(int(n), 1) for n in found) if whole and not isinstance(found, str) else None


def _contiguous(shape: tuple[int, ...], itemsize: int) -> tuple[int, ...]:
    """The shape of a stretch of an array that lies row after row."""
    return grown((1,) * len(shape), shape, tuple(reversed(range(len(shape)))), REGION_BYTES // max(itemsize, 1))
