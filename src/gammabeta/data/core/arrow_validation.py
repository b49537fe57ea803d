"""The buffers of an Arrow IPC file: where each lies in the file, and the rows that are read of them.

Arrow reads a record batch whole or, of a mapped file, leaves it where it is. The first takes as much memory as its
writer liked, and the second ends the process where something cuts the file meanwhile, or a buffer is shorter than it
claims. So Arrow is given a mapping as a mere place: what it lays out there is not looked at, but read from the file,
some rows at a time.
"""

import mmap
import os
from typing import Any

import numpy as np
import pyarrow as pa

from gammabeta.data.io.paths import changed
from gammabeta.data.io.remote import Place
from gammabeta.errors import FileError

_COPIED = 1 << 16  # bytes that are read at once: messages, and buffers of a few rows


def is_flat(kind: pa.DataType) -> bool:
    """Whether a column of this type can be read some rows at a time: numbers, times, flags, text and bytes can."""
    types = pa.types
    fixed = types.is_primitive(kind) or types.is_decimal(kind) or types.is_fixed_size_binary(kind)
    return bool(fixed or _offset_type(kind) is not None)


def _offset_type(kind: pa.DataType) -> type[np.signedinteger[Any]] | None:
    types = pa.types
    if types.is_string(kind) or types.is_binary(kind):
        return np.int32
    return np.int64 if types.is_large_string(kind) or types.is_large_binary(kind) else None


class Buffers:
    """A file object for Arrow whose record batches are addresses in the file, not data; `rows` reads their rows."""

    closed = False

    def __init__(self, path: Place) -> None:
        self._path = path
        self._file = path.open("rb", buffering=0)
        self._size = os.fstat(self._file.fileno()).st_size
        self._place = pa.py_buffer(mmap.mmap(self._file.fileno(), 0, access=mmap.ACCESS_READ))
        self._at = 0

    def seek(self, offset: int, whence: int = 0) -> int:
        """As of any file."""
        self._at = (0, self._at, self._size)[whence] + offset
        return self._at

    def tell(self) -> int:
        """As of any file."""
        return self._at

    def read(self, size: int = -1) -> bytes:
        """As of any file: the bytes, copied."""
        start, stop = self._at, self._size if size < 0 else min(self._at + size, self._size)
        self._at = max(start, stop)
        return bytes(memoryview(self._read(start, stop)))

    def read_buffer(self, size: int) -> pa.Buffer:
        """What Arrow calls instead of `read`: for large buffers it returns the mapping, which must not be looked at."""
        start, stop = self._at, min(self._at + size, self._size)
        self._at = max(start, stop)
        if stop - start <= _COPIED:
            return self._read(start, stop)
        if os.fstat(self._file.fileno()).st_size < stop:  # the message at its beginning is looked at
            raise changed(self._path)
        return self._place[start:stop]

    def close(self) -> None:
        """Close the file."""
        self.closed = True
        self._file.close()

    def _read(self, start: int, stop: int) -> pa.Buffer:
        result = pa.allocate_buffer(max(0, stop - start))
        view = memoryview(result)
        self._file.seek(start)
        while len(view):
            got = self._file.readinto(view)
            if not got:
                raise changed(self._path)
            view = view[got:]
        return result

    def rows(self, name: str, column: pa.Array, start: int, stop: int) -> pa.Array:
        """A copy of some rows of a flat column, read from the file and checked against the sizes of its buffers.

        Raises:
            FileError: a buffer is shorter than the rows that the file claims.
        """
        kind, first = column.type, (column.offset + start) & ~7  # bits begin with a byte
        offset, last = column.offset + start - first, column.offset + stop
        validity, *others = column.buffers()
        bits = None if validity is None else self._part(name, validity, first // 8, -(-last // 8))
        ends = _offset_type(kind)
        if ends is None:
            width = kind.bit_width
            data = [self._part(name, others[0], first * width // 8, -(-last * width // 8))]
        else:
            size = np.dtype(ends).itemsize
            raw = self._part(name, others[0], first * size, (last + 1) * size)
            places = np.frombuffer(raw, ends)
            text = self._part(name, others[1], int(places[0]), int(places[-1]))
            data = [pa.py_buffer(places - places[0]), text]
        result = pa.Array.from_buffers(kind, stop - start, [bits, *data], offset=offset)
        result.validate(full=True)
        return result

    def _part(self, name: str, buffer: pa.Buffer | None, start: int, stop: int) -> pa.Buffer:
        """A copy of some bytes of a buffer. FileError where the buffer is shorter."""
        held = 0 if buffer is None else buffer.size
        if not 0 <= start <= stop <= held:
            raise FileError(
                f"{str(self._path)!r} cannot be read as Arrow IPC: column {name!r} must hold the rows that it claims, "
                f"bytes {start:,} to {stop:,} are asked of a buffer of {held:,}; it is damaged, write it again"
            )
        if buffer is None:
            return pa.py_buffer(b"")
        at = buffer.address - self._place.address
        if not 0 <= at < self._size:
            return buffer[start:stop]
        return self._read(at + start, at + stop)
