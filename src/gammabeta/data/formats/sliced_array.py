"""Sources of arrays that are read by slices: in memory, memory-mapped, or stored in chunks."""

from collections.abc import Iterator, Sequence
from math import prod
from typing import Any

import numpy as np

from gammabeta.backends import masked
from gammabeta.data.core.source import CHUNK_BYTES
from gammabeta.data.formats.array import ArraySource, BlockChunk, Part, dtype_of, native
from gammabeta.data.io.remote import Place
from gammabeta.errors import DataError

REGION_BYTES = 32 << 20  # read at once, but for larger chunks: to add a feature's totals costs as much as ten values


class GridSource(ArraySource):
    """An array that gives parts of itself by slices; `cell` is the shape of those that are best read whole."""

    def __init__(
        self, array: Any, path: Place, cell: Sequence[int] | None = None, dtype: np.dtype[Any] | None = None
    ) -> None:
        self.path, self._array = path, array
        self.shape, self.dtype = tuple(map(int, array.shape)), dtype_of(array) if dtype is None else dtype
        if not self.shape:
            raise DataError(f"an array of at least one dimension is needed, {str(path)!r} holds a single number")
        self._cell = tuple(cell or (1,) * len(self.shape))
        self.rows, self.size = self.shape[0], prod(self.shape) * self.dtype.itemsize

    def parts(self) -> Iterator[Part]:
        """Boxes of whole cells, which together hold every value once."""
        # the reduced axes first: the more values of a feature come at once, the fewer totals are added
        box = grown(self._cell, self.shape, (*self.axis, *self.feature_axes), REGION_BYTES // self.dtype.itemsize)
        yield from self._boxes(box)

    def chunks(self, names: Sequence[str] | None = None) -> Iterator[BlockChunk]:
        """The rows along the first axis, in order; a new pass at each call. Every feature is read."""
        min_rows = -(-CHUNK_BYTES // self.row_bytes)
        rows = max(self._cell[0], min_rows - min_rows % self._cell[0])
        for part in self._boxes((rows, *self.shape[1:])):
            yield BlockChunk(masked.filled(part.values), self.place, part.start[0], part.done)

    def _boxes(self, box: tuple[int, ...]) -> Iterator[Part]:
        done = 0
        counts = [-(-n // max(step, 1)) for n, step in zip(self.shape, box, strict=True)]
        for corner in corners(counts):
            start = tuple(i * max(step, 1) for i, step in zip(corner, box, strict=True))
            values = native(self._read(tuple(slice(at, at + step) for at, step in zip(start, box, strict=True))))
            done += values.nbytes
            yield Part(values, start, done)

    def _read(self, at: tuple[slice, ...]) -> Any:
        values = self._array[at]
        return values if masked.is_masked(values) else np.asarray(values)


def corners(counts: Sequence[int]) -> Iterator[tuple[int, ...]]:
    """The indices of a grid in C order, made one by one: `itertools.product` would first make lists of all axes.

    >>> list(corners([2, 3]))
    [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2)]
    """
    if not counts:
        yield ()
        return
    for i in range(counts[0]):
        yield from ((i, *rest) for rest in corners(counts[1:]))


def grown(cell: Sequence[int], shape: Sequence[int], order: Sequence[int], limit: int) -> tuple[int, ...]:
    """The shape of a box of whole cells with at most `limit` values, grown along the axes in `order`.

    >>> grown((10, 10), (1000, 25), (0, 1), 2000)
    (200, 10)
    >>> grown((10, 10), (100, 25), (0, 1), 4000)
    (100, 25)
    """
    box = [min(step, n) for step, n in zip(cell, shape, strict=True)]
    for axis in order:
        across = prod(box) // max(box[axis], 1)
        cells = max(1, limit // max(across * cell[axis], 1))
        box[axis] = min(cells * cell[axis], shape[axis])
    return tuple(box)
