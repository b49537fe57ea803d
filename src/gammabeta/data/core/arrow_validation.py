"""The buffers of an Arrow IPC file: where each lies in the file, and the rows that are read of them.

Arrow reads a record batch whole or, of a mapped file, leaves it where it is. The first takes as much memory as its
writer liked, and the second ends the process where something cuts the file meanwhile, or a buffer is shorter than it
claims. So Arrow is given addresses as a mere place, as many as the file has bytes, of which no page is in memory but
those that messages are copied to. What Arrow lays out there is not looked at, but read from the file, some rows at a
time.
"""

import mmap
import os
import struct
import sys
from typing import Any

import numpy as np
import pyarrow as pa

from gammabeta.data.io.paths import changed
from gammabeta.data.io.remote import Place
from gammabeta.errors import FileError

_COPIED = 1 << 16  # bytes that are read at once: messages, and buffers of a few rows
_TAIL = 10  # bytes that follow a file's footer
_MARKER = 0xFFFFFFFF  # what a message begins with, but in files from before 2019
_NORESERVE = 0x4000 if sys.platform == "linux" else 0  # Python 3.13 names it: addresses alone, however many
_ANONYMOUS = {"flags": mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _NORESERVE} if hasattr(mmap, "MAP_PRIVATE") else {}


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

    def __init__(self, path: Place, *, is_file: bool) -> None:
        self._path, self._is_file = path, is_file  # or a stream of messages
        self._file = path.open("rb", buffering=0)
        self._size = os.fstat(self._file.fileno()).st_size
        self._pages = mmap.mmap(-1, max(1, self._size), **_ANONYMOUS)
        self._place = pa.py_buffer(self._pages)
        self._at = self._announced = 0

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
        found = bytes(memoryview(self._read(start, stop)))
        self._announced = int.from_bytes(found, "little") if len(found) == 4 else 0  # the size of a stream's message
        return found

    def read_buffer(self, size: int) -> pa.Buffer:
        """What Arrow calls instead of `read`: of large buffers the message alone is there to be looked at."""
        start, stop = self._at, min(self._at + size, self._size)
        self._at = max(start, stop)
        is_message = stop == self._size - _TAIL if self._is_file else size == self._announced
        if stop - start <= _COPIED or is_message:
            return self._read(start, stop)
        if self._is_file:  # the message and, after it, the buffers of which it tells
            self._fill(memoryview(self._pages)[start : start + self._message_size(start, stop)], start)
        return self._place[start:stop]

    def _message_size(self, start: int, stop: int) -> int:
        """The size of a message with what stands before it; one that makes no sense is Arrow's to refuse."""
        first, second = struct.unpack("<Ii", bytes(memoryview(self._read(start, start + 8))))
        size = 8 + second if first == _MARKER else 4 + first
        return size if 8 <= size <= stop - start else _COPIED

    def close(self) -> None:
        """Close the file."""
        self.closed = True
        self._file.close()

    def _read(self, start: int, stop: int) -> pa.Buffer:
        result = pa.allocate_buffer(max(0, stop - start))
        self._fill(memoryview(result), start)
        return result

    def _fill(self, view: memoryview, start: int) -> None:
        """Read the bytes from `start` on into a view, all of it."""
        self._file.seek(start)
        while len(view):
            got = self._file.readinto(view)
            if not got:
                raise changed(self._path)
            view = view[got:]

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
