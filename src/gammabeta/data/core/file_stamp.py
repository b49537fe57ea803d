"""A file's size and modification time, which ledgers and manifests record to detect changes."""

from pathlib import Path
from typing import Any, NamedTuple

from gammabeta.data.io.paths import existing
from gammabeta.errors import StateError
from gammabeta.statistics import serialization


# Apart from io.paths.State, which holds during one run and has the inode and device too: those do not outlast a copy.
class FileStamp(NamedTuple):
    """A file's size in bytes and modification time in nanoseconds."""

    size: int
    mtime_ns: int

    @classmethod
    def of_record(cls, size: Any, mtime_ns: Any) -> "FileStamp":
        """The stamp in a recorded line. StateError if it is none."""
        if not (serialization.is_count(size) and type(mtime_ns) is int and abs(mtime_ns) <= serialization.MOST):
            raise StateError(f"size and time of a file must be integers, got {serialization.shown([size, mtime_ns])}")
        return cls(size, mtime_ns)


def stamp_of(path: Path) -> FileStamp:
    """A file's stamp. Raises `FileError` where there is no such file, or nothing in it."""
    found = existing(path).stat()
    return FileStamp(found.st_size, found.st_mtime_ns)


def stamp_if_there(path: Path) -> FileStamp | None:
    """A file's stamp, None if there is no file or the system does not say."""
    try:
        found = path.stat()
    except OSError:
        return None
    return FileStamp(found.st_size, found.st_mtime_ns)
