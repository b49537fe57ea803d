"""The bytes of a CSV file as UTF-8 text: decompressed, decoded, without comments, and in blocks of whole rows."""

import codecs
import io
import lzma
import os
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from gammabeta.data.formats.csv_quotes import Quotes
from gammabeta.data.io.paths import COMPRESSIONS, arrow_file, reason
from gammabeta.data.io.remote import Place
from gammabeta.errors import FileError

# How files begin, whatever they are called.
_BEGINNINGS = {
    b"\x1f\x8b": "gzip",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"BZh": "bz2",
    b"\xfd7zXZ\x00": "xz",
    b"PK\x03\x04": "zip",
}
_IN_PYTHON = ("xz", "zip")
_READ = 1 << 16


def named_compression(path: Place) -> str | None:
    """How a file is compressed by its name."""
    return COMPRESSIONS.get(path.suffix.lower())


def compression_of(path: Place) -> str | None:
    """How a file is compressed: by its name, or else by its first bytes."""
    named = named_compression(path)
    if named:
        return named
    first = arrow_file(path).read(6)
    return next((name for mark, name in _BEGINNINGS.items() if first.startswith(mark)), None)


def is_of_python(compression: str | None) -> bool:
    """Whether Python decompresses this, and not Arrow."""
    return compression in _IN_PYTHON


def open_bytes(path: Place, compression: str | None) -> tuple[Any, Any]:
    """The file, which tells how far it has been read, and its decompressed bytes."""
    raw = arrow_file(path)  # closed with its last reference, and without a warning
    if compression not in _IN_PYTHON:
        return raw, pa.CompressedInputStream(raw, compression) if compression else raw
    try:
        return raw, lzma.open(raw) if compression == "xz" else _only_member(raw, path)
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError) as error:
        raise FileError(f"{str(path)!r} cannot be read as CSV: {reason(error)}") from error


def _only_member(file: Any, path: Place) -> Any:
    archive = zipfile.ZipFile(file)
    names = [
        member.filename
        for member in archive.infolist()
        if not member.is_dir() and not member.filename.startswith("__MACOSX/")
    ]
    if len(names) != 1:
        shown = ", ".join(map(repr, names[:5])) or "none"
        raise FileError(f"a zip file of CSV must hold one file, {str(path)!r} holds {len(names)}: {shown}; unpack it")
    return archive.open(names[0])


def writer(path: Path, target: Path, compression: str | None) -> tuple[Any, Any]:
    """The file at `path`, which will be called `target`, and the stream that compresses what is written to it."""
    if compression not in _IN_PYTHON:
        raw = pa.OSFile(os.fsencode(path), "wb")
        return raw, pa.CompressedOutputStream(raw, compression) if compression else raw
    file = path.open("wb")
    if compression == "xz":
        return file, lzma.open(file, "wb")
    archive = zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED)
    return _Closing(archive, file), archive.open(target.name.removesuffix(target.suffix), "w", force_zip64=True)


class _Closing:
    """Two things that are closed one after the other."""

    def __init__(self, *things: Any) -> None:
        self._things = things

    def close(self) -> None:
        """Close both."""
        for thing in self._things:
            thing.close()


def utf16_of(path: Place, compression: str | None) -> str | None:
    """The name of UTF-16 if the text begins with its byte order mark."""
    _, stream = open_bytes(path, compression)
    return "utf-16" if stream.read(2) in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE) else None


class Utf8Stream(io.RawIOBase):
    """A stream of text in another encoding, as UTF-8.

    Raises:
        UnicodeDecodeError: it is not in that encoding.
    """

    def __init__(self, stream: Any, encoding: str) -> None:
        self._stream, self._decoder = stream, codecs.getincrementaldecoder(encoding)()
        self._held, self._ended = b"", False

    def readable(self) -> bool:
        """Whether it can be read: it can."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Read some bytes into a buffer; returns how many, 0 at the end."""
        while not self._held and not self._ended:
            data = self._stream.read(_READ)
            self._ended = not data
            self._held = self._decoder.decode(bytes(data), final=self._ended).encode()
        taken = self._held[: len(buffer)]
        buffer[: len(taken)] = taken
        self._held = self._held[len(taken) :]
        return len(taken)


def row_blocks(stream: Any, delimiter: str, comment: bytes | None, size: int, limit: int) -> Iterator[bytes]:
    """The text after the header in blocks of whole rows, of about `size` bytes, without the lines of comments.

    Raises:
        UnclosedError: a quoted cell has no end.
        OverflowError: a row has more than `limit` bytes.
    """
    quotes, held = Quotes(delimiter, at_start=False), b""
    left = b""  # of a line that is not whole yet
    ended = False
    while not ended:
        data = bytes(stream.read(size))
        ended = not data
        data = left + data
        end = len(data) if ended else _end_of_lines(data)
        new, left = data[:end], data[end:]
        for lines in _without_comments(new, comment, quotes) if comment else _taken(new, quotes):
            held += lines
        if ended:
            quotes.end()
        if held and not quotes.is_open:
            yield held
            held = b""
        if len(held) + len(left) > limit:
            raise OverflowError


def _end_of_lines(data: bytes) -> int:
    return data.rfind(b"\n") + 1 or data.rfind(b"\r", 0, -1) + 1


def _taken(lines: bytes, quotes: Quotes) -> Iterator[bytes]:
    quotes.take(lines)
    yield lines


def _without_comments(lines: bytes, comment: bytes, quotes: Quotes) -> Iterator[bytes]:
    """Whole lines but for those that begin with `comment` outside of a quoted cell."""
    if comment not in lines:
        yield from _taken(lines, quotes)
        return
    for line in lines.splitlines(keepends=True):
        if quotes.is_open or not line.lstrip(b" \t").startswith(comment):
            yield from _taken(line, quotes)


def line_of(stream: Any, offset: int) -> int:
    """The number of the line, from 1, in which a byte of a text is."""
    line = 1
    while offset > 0 and (block := stream.read(min(offset, 1 << 20))):
        line += block.count(b"\n")
        offset -= len(block)
    return line
