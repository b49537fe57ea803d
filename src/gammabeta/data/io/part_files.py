"""Temporary files of unfinished outputs: each lies beside its target, and is locked as long as its run lives.

A run that is killed leaves its file, without the lock. A later run to the same target finds it so, and removes it.
"""

import errno
import os
import re
import secrets
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

fcntl: Any = None
with suppress(ImportError):  # Windows knows no such locks
    import fcntl

_NAME = re.compile(r"\.(.+)\.[0-9a-f]{8}\.part", re.DOTALL)
_KEPT = 200  # characters of the target's name
_NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS)  # of a file system that has none


def lock(descriptor: int) -> bool:
    """Take the lock of an open file; False where there are no locks. It goes with the descriptor.

    Raises:
        BlockingIOError: another process has it.
    """
    if fcntl is None:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        return False
    return True


def begun(target: Path) -> tuple[Path, int]:
    """Create an empty temporary file beside the target; returns its path and a locked descriptor."""
    while True:
        path = target.with_name(f".{target.name[:_KEPT]}.{secrets.token_hex(4)}.part")
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o666)
        try:
            lock(descriptor)
            if os.path.samestat(os.fstat(descriptor), path.stat()):
                return path, descriptor
        except (BlockingIOError, FileNotFoundError):
            pass  # another run took it for one that is left over, before it had its lock
        except BaseException:
            os.close(descriptor)
            path.unlink(missing_ok=True)
            raise
        os.close(descriptor)


def clear(folder: Path, names: Iterable[str] | None) -> None:
    """Remove temporary files that killed runs left in a folder, for targets of these names or (None) for all."""
    known = None if names is None else {name[:_KEPT] for name in names}
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            match = _NAME.fullmatch(entry.name)
            if match and (known is None or match[1] in known) and entry.is_file(follow_symlinks=False):
                _remove_if_dead(Path(entry.path))


def _remove_if_dead(path: Path) -> None:
    with suppress(OSError):  # it is gone, is at work, or not ours to remove
        descriptor = os.open(path, os.O_RDWR | getattr(os, "O_NOFOLLOW", 0))
        try:
            if lock(descriptor):
                path.unlink()
        finally:
            os.close(descriptor)
