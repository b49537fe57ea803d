"""Sources that are arrays: some axes are reduced, the others hold the features.

As in `Moments.of` the reduced axes are `axis`, and every place along the others is a feature, named by its index there:
"3" where one axis is left, "0,3" where two are.
"""

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from copy import copy
from functools import cached_property
from math import prod
from typing import Any, NamedTuple, Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gammabeta import axes
from gammabeta.backends import arrays, masked
from gammabeta.data.core.arrow_numpy import Vector
from gammabeta.data.core.source import Block, Chunk, Column, Scaling, Source
from gammabeta.errors import KindError


class Part(NamedTuple):
    """Some of an array's values, with all its axes; `start` is where the first of them is, `done` the bytes read.

    They may be masked, so that integers stay as exact as they are; chunks have NaN there.
    """

    values: NDArray[Any]
    start: tuple[int, ...]
    done: int


def as_array(x: Any) -> NDArray[Any]:
    """An array or tensor in memory as a NumPy array, masked if x is: a view wherever NumPy can read its memory."""
    return np.asanyarray(x) if masked.is_masked(x) else np.asarray(arrays.to_numpy(x))


def dtype_of(array: NDArray[Any]) -> np.dtype[Any]:
    """The dtype of an array's values with NaN where they are masked: float64 of masked integers."""
    return np.dtype(np.float64) if masked.is_masked(array) and array.dtype.kind in "iu" else array.dtype


def is_array(x: Any) -> bool:
    """Whether x is an array or a tensor in memory."""
    return isinstance(x, np.ndarray | np.generic) or arrays.is_tensor(x)


def native(array: NDArray[Any]) -> NDArray[Any]:
    """An array in this machine's byte order."""
    return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))


class BlockChunk(Chunk):
    """Rows of an array. `array` has the array's shape but for the first axis."""

    def __init__(self, array: NDArray[Any], place: Mapping[str, int], start: int, done: int) -> None:
        self.array, self.start, self.rows, self.done = array, start, len(array), done
        self._place = place

    def _table(self) -> NDArray[Any]:
        return self.array.reshape(self.rows, len(self._place))

    def _is_all(self, names: Sequence[str]) -> bool:
        return len(names) == len(self._place) and tuple(names) == tuple(self._place)

    def _places(self, names: Sequence[str]) -> list[int]:
        return [self._place[name] for name in names]

    def __getitem__(self, name: str) -> Vector:
        """A feature, by its index. Shape (rows,)."""
        return self._table()[:, self._place[name]]

    def present(self, names: Sequence[str]) -> Iterator[Block]:
        """The values of the features asked for, as one block (rows, features)."""
        yield Block(tuple(range(len(names))), self._select(names))

    def columns(self, names: Sequence[str]) -> list[Vector]:
        """The values of each feature asked for: shape (rows,)."""
        return [self[name] for name in names]

    def _select(self, names: Sequence[str]) -> NDArray[Any]:
        table = self._table()
        return table if self._is_all(names) else table[:, self._places(names)]

    def scaled(self, scaling: Scaling) -> "BlockChunk":
        """The same rows with the features of `scaling` mapped, the others untouched."""
        result = scaling.affine(self._select(scaling.names))
        if not self._is_all(scaling.names):
            whole = self._table().astype(result.dtype)
            whole[:, self._places(scaling.names)] = result
            result = whole
        chunk = BlockChunk(result.reshape(self.array.shape), self._place, self.start, self.done)
        chunk.suspect = bool(np.isinf(result).any())
        return chunk

    @property
    def batch(self) -> pa.RecordBatch:
        """The rows as an Arrow record batch, a column for each feature."""
        columns = [pa.array(np.ascontiguousarray(column)) for column in self._table().T]
        return pa.RecordBatch.from_arrays(columns, names=list(self._place))


class ArraySource(Source):
    """One array, or many that follow one another along the first axis. `shape` may be wrong there before the end."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    axis: tuple[int, ...] = (0,)
    fortran: bool = False  # how it lies in memory, or in its file
    label: str = ""  # what names begin with, where there are several arrays

    @abstractmethod
    def parts(self) -> Iterator[Part]:
        """All values, in parts of any shape and in any order; a new pass at each call."""

    @abstractmethod
    def chunks(self, names: Sequence[str] | None = None) -> Iterator[BlockChunk]:
        """The rows along the first axis, in order; a new pass at each call. Every feature is read."""

    def over(self, axis: axes.Axis) -> Self:
        """The same array with other axes reduced."""
        other = copy(self)
        other.axis = axes.reduced(axis, len(self.shape))
        for name in ("names", "place", "columns", "schema"):
            other.__dict__.pop(name, None)
        return other

    def weights_of(self, part: Part) -> NDArray[Any] | None:
        """How much each value of a part counts, as `Moments.of` takes it; None where each counts once."""
        return None

    @property
    def feature_axes(self) -> tuple[int, ...]:
        """The axes that hold the features."""
        return axes.feature_axes(self.axis, len(self.shape))

    @property
    def features(self) -> tuple[int, ...]:
        """The shape of the features: that of the array, without the reduced axes."""
        return tuple(self.shape[i] for i in self.feature_axes)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The names of the features, in C order."""
        before = (self.label,) if self.label else () if self.features else ("0",)
        return tuple(",".join(map(str, (*before, *index))) for index in np.ndindex(*self.features))

    @cached_property
    def place(self) -> dict[str, int]:
        """The index of each feature, in C order, by its name."""
        return {name: i for i, name in enumerate(self.names)}

    @property
    def is_numeric(self) -> bool:
        """Whether the array is of real numbers of 64 bits at most."""
        return self.dtype.name == "bfloat16" or (self.dtype.kind in "iuf" and self.dtype.itemsize <= 8)

    @cached_property
    def columns(self) -> tuple[Column, ...]:
        """Every feature, in C order."""
        skip_reason = "" if self.is_numeric else "not numeric"
        return tuple(Column(name, self.dtype.name, skip_reason) for name in self.names)

    @cached_property
    def schema(self) -> pa.Schema:
        """A column for each feature."""
        if not self.is_numeric and self.dtype.kind != "b":
            raise KindError(f"an array of real numbers is needed, {str(self.path)!r} is of {self.dtype}")
        kind = pa.from_numpy_dtype(self.dtype.newbyteorder("=")) if self.dtype.name != "bfloat16" else pa.float32()
        return pa.schema([(name, kind) for name in self.names])

    @property
    def row_bytes(self) -> int:
        """The size in bytes of one index of the first axis."""
        return max(1, prod(self.shape[1:]) * self.dtype.itemsize)
