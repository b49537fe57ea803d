"""The compression of an Arrow IPC file's buffers, which PyArrow does not tell.

Arrow's messages are FlatBuffers: a table begins with the distance back to its vtable, which holds the size of itself
and of the table and then where each field is, 0 if it is absent. The tables and fields are those of Arrow's format
files: Footer.recordBatches[0] → Message.header → RecordBatch.compression → BodyCompression.codec.
"""

import struct

import pyarrow as pa
import pyarrow.ipc as ipc

_CODECS = {0: "lz4", 1: "zstd"}
_TAIL = 10  # the footer's size in 4 bytes, and the magic word


def codec_of_file(file: pa.NativeFile) -> str | None:
    """The codec of the first record batch in a file: lz4, zstd or None."""
    end = file.size() - _TAIL
    (size,) = struct.unpack("<i", _read(file, 4, end))
    footer = _read(file, size, end - size)
    batches = _followed(footer, _root(footer), 3)
    if not batches or not struct.unpack_from("<I", footer, batches)[0]:
        return None
    offset, length = struct.unpack_from("<qi", footer, batches + 4)
    message = _read(file, length, offset)
    return _codec(message[8:] if bytes(message[:4]) == b"\xff\xff\xff\xff" else message[4:])


def codec_of_stream(file: pa.NativeFile) -> str | None:
    """The codec of the first record batch in a stream: lz4, zstd or None."""
    for message in ipc.MessageReader.open_stream(file):
        if message.type == "record batch":
            return _codec(memoryview(message.metadata))
    return None


def _read(file: pa.NativeFile, size: int, offset: int) -> memoryview:
    """Some bytes of a file. struct.error if it is shorter: a length read from it may be any number."""
    if not 0 <= offset <= offset + size <= file.size():
        raise struct.error(f"bytes {offset} to {offset + size} are asked of a file of {file.size()}")
    return memoryview(file.read_at(size, offset))


def _codec(message: memoryview) -> str | None:
    batch = _followed(message, _root(message), 2)
    compression = _followed(message, batch, 3) if batch else 0
    if not compression:
        return None
    place = _place(message, compression, 0)
    return _CODECS.get(struct.unpack_from("<b", message, compression + place)[0] if place else 0)


def _root(data: memoryview) -> int:
    return int(struct.unpack_from("<I", data)[0])


def _place(data: memoryview, table: int, number: int) -> int:
    """A field's offset from the beginning of its flatbuffer table; 0 if it is absent."""
    vtable = table - struct.unpack_from("<i", data, table)[0]
    (size,) = struct.unpack_from("<H", data, vtable)
    at = 4 + 2 * number
    return int(struct.unpack_from("<H", data, vtable + at)[0]) if at < size else 0


def _followed(data: memoryview, table: int, number: int) -> int:
    """The position of the table or vector that a field points at; 0 if it is absent."""
    place = _place(data, table, number)
    return table + place + int(struct.unpack_from("<I", data, table + place)[0]) if place else 0
