"""`.npy`: one array, whose first axis is the rows; every place along the others is a feature, as in `Moments.of`."""

import os
from collections.abc import Iterator, Sequence
from math import prod
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
from numpy.lib import format as npy_format
from numpy.typing import NDArray

from gammabeta.data.files import reading
from gammabeta.data.source import CHUNK_BYTES, Block, Chunk, Column, Scaling, Source
from gammabeta.data.vectors import Vector
from gammabeta.data.write import Sink
from gammabeta.errors import DataError, FileError, KindError


class BlockChunk(Chunk):
    """Rows of an array. `array` has the file's shape but for the first axis."""

    def __init__(self, array: NDArray[Any], names: tuple[str, ...], start: int, done: int) -> None:
        self.array, self.start, self.rows, self.done = array, start, len(array), done
        self._names = names

    def _table(self) -> NDArray[Any]:
        return self.array.reshape(self.rows, len(self._names))

    def _places(self, names: Sequence[str]) -> list[int]:
        if tuple(names) == self._names:
            return list(range(len(self._names)))
        number = {name: i for i, name in enumerate(self._names)}
        return [number[name] for name in names]

    def __getitem__(self, name: str) -> Vector:
        """A feature, by its index. Shape (rows,)."""
        return self._table()[:, self._places([name])[0]]

    def present(self, names: Sequence[str]) -> Iterator[Block]:
        """The features asked for, as one block."""
        yield Block(tuple(range(len(names))), self._chosen(names))

    def _chosen(self, names: Sequence[str]) -> NDArray[Any]:
        table = self._table()
        return table if tuple(names) == self._names else table[:, self._places(names)]

    def scaled(self, scaling: Scaling) -> "BlockChunk":
        """The same rows with the features of `scaling` mapped, the others untouched."""
        at = tuple(range(len(scaling.names)))
        result = scaling.part(at, 2)(self._chosen(scaling.names))
        if scaling.names != self._names:
            whole = self._table().astype(result.dtype)
            whole[:, self._places(scaling.names)] = result
            result = whole
        chunk = BlockChunk(result.reshape(self.array.shape), self._names, self.start, self.done)
        chunk.suspect = bool(np.isinf(result).any())
        return chunk

    @property
    def batch(self) -> pa.RecordBatch:
        """The rows as an Arrow record batch, a column for each feature."""
        columns = [pa.array(np.ascontiguousarray(column)) for column in self._table().T]
        return pa.RecordBatch.from_arrays(columns, names=list(self._names))


class NpySource(Source):
    """A `.npy` file: features are named by their index, "3" in an array of two dimensions, "0,3" in one of three."""

    def __init__(self, path: Path) -> None:
        self.path, self.size = path, path.stat().st_size
        with reading(path, "NumPy's .npy"), path.open("rb") as file:
            self.shape, self.fortran, self.dtype = _header(file, path)
            self._offset = file.tell()
        if not self.shape:
            raise DataError(f"an array of at least one dimension is needed, {str(path)!r} holds a single number")
        expected = self._offset + prod(self.shape) * self.dtype.itemsize
        if self.size < expected:
            raise FileError(
                f"{str(path)!r} cannot be read as NumPy's .npy: it should have {expected} bytes, it has {self.size}"
            )
        self.rows = self.shape[0]
        features = self.shape[1:]
        self.names = tuple(",".join(map(str, index)) for index in np.ndindex(*features)) if features else ("0",)
        kind = pa.from_numpy_dtype(self.dtype.newbyteorder("="))
        self.schema = pa.schema([(name, kind) for name in self.names])
        barred = "" if self.dtype.kind in "iuf" else "not numeric"
        self._columns = tuple(Column(name, str(self.dtype.newbyteorder("=")), barred) for name in self.names)

    @property
    def columns(self) -> tuple[Column, ...]:
        """Every feature, in C order."""
        return self._columns

    def chunks(self, names: Sequence[str] | None = None) -> Iterator[BlockChunk]:
        """The rows in order; a new pass at each call. Every feature is read, also those not in `names`."""
        rows = self.shape[0]
        step = max(1, CHUNK_BYTES // max(1, len(self.names) * self.dtype.itemsize))
        with reading(self.path, "NumPy's .npy"), self.path.open("rb", buffering=0) as file:
            for start in range(0, rows, step):
                stop = min(start + step, rows)
                array = (self._down if self.fortran else self._across)(file, start, stop)
                if not array.dtype.isnative:
                    array = array.astype(array.dtype.newbyteorder("="))
                yield BlockChunk(array, self.names, start, self.size * stop // rows)

    def _across(self, file: BinaryIO, start: int, stop: int) -> NDArray[Any]:
        array = np.empty((stop - start, *self.shape[1:]), self.dtype)
        _read_at(file, self._offset + start * len(self.names) * self.dtype.itemsize, array)
        return array

    def _down(self, file: BinaryIO, start: int, stop: int) -> NDArray[Any]:
        """Rows of an array in Fortran order: a stretch of each feature's column."""
        array = np.empty((*self.shape[:0:-1], stop - start), self.dtype)
        for j, column in enumerate(array.reshape(len(self.names), stop - start)):
            _read_at(file, self._offset + (j * self.shape[0] + start) * self.dtype.itemsize, column)
        return array.T


def _header(file: BinaryIO, path: Path) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Shape, order and type, from a header that is parsed and never executed."""
    try:
        version = npy_format.read_magic(file)
        read = npy_format.read_array_header_1_0 if version == (1, 0) else npy_format.read_array_header_2_0
        shape, fortran, dtype = read(file)
    except ValueError as error:
        raise FileError(f"{str(path)!r} cannot be read as NumPy's .npy: {str(error).splitlines()[0]}") from None
    if dtype.hasobject:
        raise KindError(f"an array of numbers is needed, {str(path)!r} holds Python objects, which are never unpickled")
    if dtype.kind not in "iufb":
        raise KindError(f"an array of real numbers is needed, {str(path)!r} is of {dtype}")
    if dtype.itemsize > 8:
        raise KindError(f"numbers of at most 64 bits are needed, {str(path)!r} is of {dtype}; save it as float64")
    return shape, fortran, dtype


def _read_at(file: BinaryIO, offset: int, into: NDArray[Any]) -> None:
    view = memoryview(into.reshape(-1).view(np.uint8).data)
    file.seek(offset)
    while len(view):
        got = file.readinto(view)  # type: ignore[attr-defined]
        if not got:
            raise EOFError("the file ended early")
        view = view[got:]


class NpySink(Sink):
    """Writes a `.npy` file of the same shape, memory order and byte order."""

    def __init__(self, path: Path, source: NpySource) -> None:
        kind = source.dtype if source.dtype.kind == "f" else np.dtype(np.float64)
        self._source, self._dtype = source, kind
        self._file = path.open("wb", buffering=0)
        header = {"descr": npy_format.dtype_to_descr(kind), "fortran_order": source.fortran, "shape": source.shape}
        npy_format.write_array_header_1_0(self._file, header)
        self._offset = self._file.tell()

    def write(self, chunk: Chunk) -> None:
        """Add a chunk."""
        if not isinstance(chunk, BlockChunk):
            raise KindError("a .npy file holds one array: only another .npy file can be written to one")
        array = chunk.array.astype(self._dtype, copy=False)
        if not self._source.fortran:
            self._put(np.ascontiguousarray(array))
            return
        columns = np.ascontiguousarray(array.T).reshape(len(self._source.names), chunk.rows)
        for j, column in enumerate(columns):
            self._file.seek(self._offset + (j * self._source.shape[0] + chunk.start) * self._dtype.itemsize)
            self._put(column)

    def _put(self, array: NDArray[Any]) -> None:
        view = memoryview(array.reshape(-1).view(np.uint8).data)
        while len(view):
            view = view[os.write(self._file.fileno(), view) :]

    def close(self) -> None:
        """Finish the file."""
        self._file.close()

    def abort(self) -> None:
        """Let go of the file without finishing it."""
        self._file.close()
