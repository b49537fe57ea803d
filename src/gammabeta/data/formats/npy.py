"""Source and sink of `.npy` files: the first axis is the rows, every index of the others a feature."""

import os
from collections.abc import Iterator, Sequence
from functools import cached_property
from io import BytesIO
from math import prod
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.lib import format as npy_format
from numpy.typing import NDArray

from gammabeta.data.core.sink import Sink
from gammabeta.data.core.source import CHUNK_BYTES, PIECE_BYTES, Chunk, Column
from gammabeta.data.formats.array import ArraySource, BlockChunk, Part, native
from gammabeta.data.formats.zip_member import Member, open_member
from gammabeta.data.io.paths import reading, reason
from gammabeta.data.io.remote import Place
from gammabeta.errors import DataError, FileError, KindError

FORM = "NumPy's .npy"
AXES = 64  # of an array, NumPy's own bound
FEATURES = 1 << 20  # a name, a type and a statistic for each: some 1 kB
FEATURES_OF_NOTHING = 1 << 16  # where no row stands behind them: a header of 130 bytes may claim any number
_HEADER = 1 << 14  # bytes; NumPy itself reads no header of more than 10,000


class NpySource(ArraySource):
    """A `.npy` file, or one in the zip file that `.npz` is: `member` is its place there."""

    def __init__(self, path: Place, member: Member | None = None) -> None:
        self.path, self._member = path, member
        self.size = path.stat().st_size if member is None else member.file_size
        self.label = "" if member is None else member.filename.removesuffix(".npy")
        with reading(path, FORM), self._open(to_and_fro=False) as file:
            first = file.tell()
            head = BytesIO(file.read(_HEADER))
        self.shape, self.fortran, self.dtype = _header(head, path)
        self._offset = first + head.tell()
        if not self.shape:
            raise DataError(f"an array of at least one dimension is needed, {str(path)!r} holds a single number")
        expected = head.tell() + prod(self.shape) * self.dtype.itemsize
        if self.size < expected:
            raise _unreadable(path, f"it should have {expected} bytes, it has {self.size}")
        self.rows = self.shape[0]

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The names of the features, in C order."""
        count, limit = prod(self.features), FEATURES if prod(self.shape) else FEATURES_OF_NOTHING
        if count > limit:
            few = "" if prod(self.shape) else " where there are no values"
            raise DataError(
                f"at most {limit:,} features can be measured{few}, one for each place along the axes but the first, "
                f"{str(self.path)!r} of shape {self.shape} has {count:,}; reduce more axes: "
                f"gammabeta.data.moments({str(self.path)!r}, axis=...)"
            )
        if len(self.features) == 1 and not self.label:
            return tuple(map(str, range(count)))
        return super().names

    @cached_property
    def columns(self) -> tuple[Column, ...]:
        """Every feature, in C order."""
        kind = self.dtype.name  # NumPy makes it anew each time
        skip_reason = "" if self.is_numeric else "not numeric"
        return tuple(Column(name, kind, skip_reason) for name in self.names)

    def _open(self, *, to_and_fro: bool) -> Any:
        """The file, at its beginning."""
        if self._member is None:
            return self.path.open("rb", buffering=0)
        return open_member(self.path, self._member, to_and_fro=to_and_fro)

    def chunks(self, names: Sequence[str] | None = None) -> Iterator[BlockChunk]:
        """The rows in order; a new pass at each call. Every feature is read, also those not in `names`."""
        start, rows = 0, self.shape[0]
        for array in self.slabs(max(1, CHUNK_BYTES // self.row_bytes)):
            yield BlockChunk(array, self.place, start, self.size * (start + len(array)) // rows)
            start += len(array)

    def parts(self) -> Iterator[Part]:
        """All values, in slabs of rows."""
        start, rows = 0, self.shape[0]
        for array in self.slabs(max(1, PIECE_BYTES // self.row_bytes)):
            yield Part(array, (start, *(0 for _ in self.shape[1:])), self.size * (start + len(array)) // rows)
            start += len(array)

    def slabs(self, step: int) -> Iterator[NDArray[Any]]:
        """The array in pieces of `step` rows."""
        if not prod(self.shape):
            return
        with reading(self.path, FORM), self._open(to_and_fro=self.fortran) as file:
            for start in range(0, self.shape[0], step):
                stop = min(start + step, self.shape[0])
                yield native((self._down if self.fortran else self._across)(file, start, stop))

    def _across(self, file: BinaryIO, start: int, stop: int) -> NDArray[Any]:
        array = np.empty((stop - start, *self.shape[1:]), self.dtype)
        _read_at(file, self._offset + start * prod(self.shape[1:]) * self.dtype.itemsize, array)
        return array

    def _down(self, file: BinaryIO, start: int, stop: int) -> NDArray[Any]:
        """Rows of an array in Fortran order, copied from a stretch of each feature's column."""
        array = np.empty((*self.shape[:0:-1], stop - start), self.dtype)
        for j, column in enumerate(array.reshape(prod(self.shape[1:]), stop - start)):
            _read_at(file, self._offset + (j * self.shape[0] + start) * self.dtype.itemsize, column)
        return array.T


def _header(file: BytesIO, path: Place) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """The shape, memory order and dtype in a header, which is parsed and never executed."""
    try:
        version = npy_format.read_magic(file)
        if version not in ((1, 0), (2, 0), (3, 0)):
            raise _unreadable(path, f"versions 1.0, 2.0 and 3.0 of the format are known, it is of {version}")
        read = npy_format.read_array_header_1_0 if version == (1, 0) else npy_format.read_array_header_2_0
        shape, fortran, dtype = read(file)
    except FileError:
        raise
    except Exception as error:  # NumPy takes the header for Python's own text, whose parser has a dozen errors
        raise _unreadable(path, f"its header: {reason(error)}") from None
    if len(shape) > AXES or any(type(n) is not int or n < 0 for n in shape):
        raise _unreadable(path, f"its shape must be of at most {AXES} sizes, none negative, it is {_shown(shape)}")
    if dtype.hasobject:
        raise KindError(f"an array of numbers is needed, {str(path)!r} holds Python objects, which are never unpickled")
    if dtype.kind not in "iufb":
        raise KindError(f"an array of real numbers is needed, {str(path)!r} is of {dtype}")
    if dtype.itemsize > 8:
        raise KindError(f"numbers of at most 64 bits are needed, {str(path)!r} is of {dtype}; save it as float64")
    return shape, fortran, dtype


def _shown(shape: tuple[int, ...]) -> str:
    text = str(shape)
    return text if len(text) <= 60 else f"{text[:60]}…"


def _unreadable(path: Place, why: str) -> FileError:
    return FileError(f"{str(path)!r} cannot be read as {FORM}: {why}")


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

    def __init__(self, path: Path, source: ArraySource) -> None:
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
