"""Sparse matrices in HDF5, as AnnData's `.h5ad` files have them: a group of `data`, `indices` and `indptr`.

Rows of a CSR matrix, or columns of a CSC one, are read some at a time. What the file says is checked before it is
believed: an index beyond the matrix would be written beyond memory.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from gammabeta.data.formats.sliced_array import REGION_BYTES
from gammabeta.data.io.remote import Place
from gammabeta.errors import FileError

_FORMATS = {"csr_matrix": 0, "csc_matrix": 1}  # and the axis along which it can be cut
_PARTS = ("data", "indices", "indptr")


def is_sparse_group(item: Any) -> bool:
    """Whether an item of an HDF5 file is a sparse matrix."""
    attributes = getattr(item, "attrs", {})
    return attributes.get("encoding-type") in _FORMATS and all(name in item for name in _PARTS)


class SparseGroup:
    """A sparse matrix in an HDF5 file as an array-like, (rows, columns)."""

    def __init__(self, group: Any, path: Place) -> None:
        self._path, self._along = path, _FORMATS[group.attrs["encoding-type"]]
        self._data, self._indices, self._indptr = (group[name] for name in _PARTS)
        said = [int(n) for n in group.attrs["shape"]]
        rows_or_columns = len(self._indptr) - 1
        if len(said) != 2 or min(said) < 0 or said[self._along] != rows_or_columns:
            raise self._damaged(f"a shape {tuple(said)} with {len(self._indptr)} pointers")
        self.shape, self.dtype = (said[0], said[1]), self._data.dtype
        across = self.shape[1 - self._along]
        lines = max(1, REGION_BYTES // max(across * self.dtype.itemsize, 1))
        self.chunks = (lines, across) if self._along == 0 else (across, lines)

    def __getitem__(self, at: tuple[slice, slice]) -> NDArray[Any]:
        start, stop, _ = at[self._along].indices(self.shape[self._along])
        pointers = np.asarray(self._indptr[start : stop + 1]).astype(np.int64)
        first, last = int(pointers[0]), int(pointers[-1])
        if first < 0 or last > len(self._data) or (np.diff(pointers) < 0).any():
            raise self._damaged(f"pointers from {first} to {last} for {len(self._data)} values")
        values, indices = self._data[first:last], np.asarray(self._indices[first:last]).astype(np.int64)
        across = self.shape[1 - self._along]
        if len(values) != len(indices) or (len(indices) and not 0 <= indices.min() <= indices.max() < across):
            raise self._damaged(f"an index beyond {across}")
        shape = (stop - start, across) if self._along == 0 else (across, stop - start)
        make = sparse.csr_array if self._along == 0 else sparse.csc_array
        dense: NDArray[Any] = make((values, indices, pointers - first), shape=shape).toarray()
        whole = (slice(None), at[1]) if self._along == 0 else (at[0], slice(None))
        return dense[whole]

    def _damaged(self, what: str) -> FileError:
        return FileError(f"the sparse matrix in {str(self._path)!r} is damaged: it has {what}")
