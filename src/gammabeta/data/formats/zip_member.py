"""Members of a `.npz` file, a zip: each is read in place or, if it is compressed, as a stream.

What an archive says of itself is believed of no member: its place, its size and how it is packed are checked first.
"""

import shutil
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from gammabeta.data.io.paths import reading, reason
from gammabeta.data.io.remote import Place
from gammabeta.errors import FileError

FORM = "NumPy's .npz"
_LOCAL = struct.Struct("<4s22xHH")  # a member's own header, before its name: its mark and the sizes of what follows
_MARK = b"PK\3\4"
_ENCRYPTED = 1

Member = zipfile.ZipInfo


def members(path: Place) -> list[Member]:
    """The arrays in the archive.

    Raises:
        FileError: it is no zip file, it is damaged, or not what NumPy writes: two arrays of one name, arrays that are
            encrypted or packed in another way.
    """
    with reading(path, FORM):
        try:
            with path.open("rb") as file, zipfile.ZipFile(file) as archive:
                found = [member for member in archive.infolist() if member.filename.endswith(".npy")]
        except UnicodeDecodeError:
            raise damaged(path, "the name of a member must be in UTF-8, it is not") from None
        except (zipfile.BadZipFile, ValueError, OverflowError, NotImplementedError, struct.error) as error:
            raise damaged(path, reason(error)) from error
    names = set()
    for member in found:
        _check(member, path)
        if member.filename in names:
            raise damaged(path, f"its arrays must differ in name, {member.filename!r} comes twice")
        names.add(member.filename)
    return found


def _check(member: Member, path: Place) -> None:
    name = member.filename
    if member.flag_bits & _ENCRYPTED:
        raise damaged(path, f"{name!r} must not be encrypted")
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise damaged(
            path, f"arrays must be stored or deflated, as NumPy saves them, {name!r} is packed by {_method(member)}"
        )
    if member.compress_type == zipfile.ZIP_STORED and member.compress_size != member.file_size:
        raise damaged(
            path,
            f"{name!r} must be as long as it is stored, it says {member.file_size} bytes and has "
            f"{member.compress_size}",
        )


def _method(member: Member) -> str:
    known = {zipfile.ZIP_BZIP2: "bzip2", zipfile.ZIP_LZMA: "LZMA"}
    return known.get(member.compress_type, f"method {member.compress_type}")


def damaged(path: Place, why: str) -> FileError:
    """The error that an archive cannot be read."""
    return FileError(f"{str(path)!r} cannot be read as {FORM}: {why}")


@contextmanager
def open_member(path: Place, member: Member, *, to_and_fro: bool = False) -> Iterator[Any]:
    """A member's bytes as a file at their beginning: in the archive itself, unless they are compressed.

    What is compressed comes as a stream, or by way of a temporary file if it is to be read `to_and_fro`.

    Raises:
        FileError: they are damaged, or there is no room for the temporary file.
    """
    with ExitStack() as stack:
        raw = stack.enter_context(path.open("rb", buffering=0))
        _seek(raw, member, path)
        if member.compress_type == zipfile.ZIP_STORED:
            yield raw
            return
        stream = stack.enter_context(zipfile.ZipExtFile(raw, "r", member))
        try:
            yield stack.enter_context(_unpacked(stream, member, path)) if to_and_fro else stream
        except (zipfile.BadZipFile, zlib.error) as error:
            raise damaged(path, f"{member.filename!r}: {reason(error)}") from error


def _seek(file: Any, member: Member, path: Place) -> None:
    """Seek to a member's first byte."""
    file.seek(member.header_offset)
    header = file.read(_LOCAL.size)
    if len(header) < _LOCAL.size or not header.startswith(_MARK):
        raise damaged(path, f"{member.filename!r} is not where the archive says")
    _, name, extra = _LOCAL.unpack(header)
    first = member.header_offset + _LOCAL.size + name + extra
    if first + member.compress_size > path.stat().st_size:
        raise damaged(path, f"{member.filename!r} goes on beyond the end of the file")
    file.seek(first)


@contextmanager
def _unpacked(stream: Any, member: Member, path: Place) -> Iterator[Any]:
    free = shutil.disk_usage(tempfile.gettempdir()).free
    if member.file_size > free:
        raise FileError(
            f"{member.filename!r} in {str(path)!r} is unpacked to be read, and there must be room for its "
            f"{member.file_size:,} bytes in {tempfile.gettempdir()!r}, there are {free:,}; save it in C order"
        )
    with tempfile.TemporaryFile() as file:
        shutil.copyfileobj(stream, file, 1 << 20)
        file.seek(0)
        yield file
