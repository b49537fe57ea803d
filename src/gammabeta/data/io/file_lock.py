"""Files that one process at a time may have open."""

import os
from pathlib import Path

from gammabeta.data.io.part_files import lock
from gammabeta.data.io.paths import writing
from gammabeta.errors import FileError

_FLAGS = os.O_RDWR | os.O_CREAT | os.O_APPEND | getattr(os, "O_BINARY", 0)


def open_locked(path: Path) -> int:
    """A descriptor of a locked file, created if missing, to read and append; closing it releases the lock.

    Raises:
        FileError: another process has it open so, it cannot be written, or there is no folder for it.
    """
    if not path.parent.is_dir():
        raise FileError(f"cannot write {str(path)!r}: there is no folder {str(path.parent)!r}; make it first")
    with writing(path):
        while True:
            descriptor = os.open(path, _FLAGS, 0o666)
            try:
                _lock(descriptor, path)
                if os.path.samestat(os.fstat(descriptor), path.stat()):
                    return descriptor
            except FileNotFoundError:
                pass  # it was removed, or another took its place, before it was locked
            except BaseException:
                os.close(descriptor)
                raise
            os.close(descriptor)


def _lock(descriptor: int, path: Path) -> None:
    try:
        lock(descriptor)
    except BlockingIOError:
        raise FileError(f"another process is at work with {str(path)!r}; run again when it is done") from None
