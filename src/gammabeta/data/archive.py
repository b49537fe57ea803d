"""The zip file that `.npz` is: its members, each to be read where it lies or, if it is compressed, as a stream."""

import shutil
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from gammabeta.data.files import reason
from gammabeta.data.remote import Place
from gammabeta.errors import FileError

_LOCAL = 30  # bytes of a member's own header, before its name


@contextmanager
def zipped(path: Place) -> Iterator[zipfile.ZipFile]:
    """The zip file, for as long as it is wanted.

    Raises:
        FileError: it is none, or it is damaged.
    """
    try:
        with path.open("rb") as file, zipfile.ZipFile(file) as archive:
            yield archive
    except (zipfile.BadZipFile, zlib.error, RuntimeError, NotImplementedError, struct.error) as error:
        raise FileError(f"{str(path)!r} cannot be read as NumPy's .npz: {reason(error)}") from error


@contextmanager
def opened_member(path: Place, member: str, *, to_and_fro: bool = False) -> Iterator[Any]:
    """A member's bytes as a file at their beginning: in the archive itself, unless they are compressed.

    What is compressed comes as a stream, or by way of a temporary file if it is to be read `to_and_fro`.
    """
    with zipped(path) as archive, ExitStack() as stack:
        found = archive.getinfo(member)
        if found.compress_type == zipfile.ZIP_STORED:
            file = stack.enter_context(path.open("rb", buffering=0))
            file.seek(found.header_offset)
            name, extra = struct.unpack("<26xHH", file.read(_LOCAL))
            file.seek(found.header_offset + _LOCAL + name + extra)
            yield file
            return
        stream = stack.enter_context(archive.open(found))
        if to_and_fro:
            file = stack.enter_context(tempfile.TemporaryFile())
            shutil.copyfileobj(stream, file, 1 << 20)
            file.seek(0)
        yield file if to_and_fro else stream
