"""Formats by file names, errors of reading and writing, and the atomic replacement of files."""

import errno
import lzma
import os
import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple, TypeVar
from zipfile import BadZipFile

import pyarrow as pa

from gammabeta.data.io import part_files
from gammabeta.data.io.remote import Place, Remote, located
from gammabeta.errors import DataError, FileError, GammabetaError, KindError
from gammabeta.kernels import thread_pool

FORMATS = {
    ".csv": "csv",
    ".tsv": "csv",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".arrow": "arrow",
    ".feather": "arrow",
    ".ipc": "arrow",
    ".npy": "npy",
    ".npz": "npz",
    ".json": "statistics",
}
COMPRESSIONS = {".gz": "gzip", ".zst": "zstd", ".bz2": "bz2", ".xz": "xz", ".zip": "zip"}
MAX_COMPRESSION = 1 << 16  # zstd writes 128 KiB of one byte in four bytes, which is 2¹⁵ to 1
KNOWN = ".csv, .tsv (also .gz, .zst, .bz2, .xz, .zip), .parquet, .arrow, .feather, .npy or .npz"
LONGEST = 300  # of another library's words: some quote all that they were given

_ALLOCATOR = 4  # threads that Arrow's allocator may start beside its own

_enough_threads = False

P = TypeVar("P", Path, Remote, Place)


class OutputError(FileError):
    """An output cannot be written, whatever is read: skipping a bad input would not help."""


class State(NamedTuple):
    """A file's size, time, inode and device, which detect a change during a run; 0 where they are not known."""

    size: int
    mtime_ns: int
    inode: int = 0
    device: int = 0


class Kind(NamedTuple):
    """A file's format by its name, and for text its compression."""

    format: str
    compression: str | None = None


def kind_of(path: Place) -> Kind:
    """The format and compression of a file by its name.

    Raises:
        FileError: the extension is not known.
    """
    suffixes = [suffix.lower() for suffix in path.suffixes[-2:]]
    compression = COMPRESSIONS.get(suffixes[-1]) if suffixes else None
    inner = suffixes[:-1] if compression else suffixes
    found = FORMATS.get(inner[-1]) if inner else None
    if found is None or (compression and found != "csv"):
        raise FileError(f"a data file's name must end in {KNOWN}, got {str(path)!r}; rename or convert it")
    return Kind(found, compression)


def existing(path: P) -> P:
    """The path of a file, checked: it exists and is not empty.

    Raises:
        FileError: there is no such file, it is a folder, or it is empty.
    """
    try:
        found = path.stat()
    except FileError:
        raise
    except OSError as error:
        raise FileError(f"cannot read {str(path)!r}: {reason(error)}") from None
    if path.is_dir():
        raise FileError(f"a data file is needed, but {str(path)!r} is a folder; name one file in it")
    if found.st_size == 0 and path.is_file():
        raise FileError(f"{str(path)!r} is empty: it has 0 bytes")
    return path


def state_of(path: Place) -> State:
    """A file's state as it is now.

    Raises:
        FileError: it is not there any more.
    """
    if isinstance(path, Remote):
        return State(*path.size_and_time())
    try:
        found = path.stat()
    except OSError as error:
        raise FileError(f"cannot read {str(path)!r}: {reason(error)}") from None
    return State(found.st_size, found.st_mtime_ns, found.st_ino, found.st_dev)


def changed(path: Place, how: str = "") -> FileError:
    """The error that a file was changed while it was read."""
    seen = f": {how}" if how else ""
    return FileError(f"{str(path)!r} was changed while it was read{seen}; run again when nothing writes to it")


def arrow_file(path: Place) -> pa.NativeFile:
    """A file opened for Arrow, to be read at any offset."""
    # as bytes: a name need not be text
    return path.arrow_file() if isinstance(path, Remote) else pa.OSFile(os.fsencode(path), "rb")


def arrow_has_threads() -> bool:
    """Whether Arrow can have the threads that it may ask for: where it cannot, PyArrow 26 waits for ever and 17 ends
    the process. Known to be so, it is not looked at again."""
    global _enough_threads
    if not _enough_threads:
        wanted = pa.io_thread_count() + pa.cpu_count() + _ALLOCATOR
        _enough_threads = thread_pool.free(wanted) == wanted
    return _enough_threads


def reason(error: BaseException) -> str:
    """The text of an error, in one line."""
    if isinstance(error, OSError) and error.errno:
        return "no such file" if error.errno == errno.ENOENT else os.strerror(error.errno)
    lines = str(error).strip().splitlines()
    if not lines:
        return type(error).__name__
    return lines[0] if len(lines[0]) <= LONGEST else f"{lines[0][:LONGEST]}…"


@contextmanager
def reading(path: Place, what: str) -> Iterator[None]:
    """Turn what PyArrow, NumPy and the system raise while a file is read into one `FileError` that names the file."""
    try:
        yield
    except GammabetaError:
        raise
    except MemoryError as error:  # Arrow's own too, which is one of its errors
        if not _claims_too_much(path, error):
            raise
        raise FileError(f"{str(path)!r} cannot be read as {what}: it claims more than it can hold") from error
    except Exception as error:
        known = (OSError, pa.ArrowException, UnicodeDecodeError, EOFError, lzma.LZMAError, zlib.error, BadZipFile)
        if not isinstance(error, known) and not isinstance(path, Remote):  # file systems elsewhere have their own
            raise
        raise FileError(f"{str(path)!r} cannot be read as {what}: {reason(error)}") from error


def _claims_too_much(path: Place, error: MemoryError) -> bool:
    """Whether Arrow was asked for more memory than any file of this size can need: its lengths are false."""
    asked = re.search(r"of size (\d+) failed", str(error))
    with suppress(OSError):
        return asked is not None and int(asked[1]) > MAX_COMPRESSION * path.stat().st_size
    return False


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn what is raised while a file is written into one error that names the file and what became of it."""
    try:
        yield
    except (GammabetaError, MemoryError):
        raise
    except OSError as error:
        kept = "the old file is as it was" if path.exists() else "nothing was written"
        raise OutputError(f"cannot write {str(path)!r}: {reason(error)}; {kept}") from error
    except pa.ArrowNotImplementedError as error:
        raise KindError(f"cannot write {str(path)!r}: {reason(error)}; choose another format") from error
    except pa.ArrowException as error:
        raise DataError(f"cannot write {str(path)!r}: {reason(error)}") from error


@contextmanager
def replacing(path: Path, *, durable: bool = False, clear: bool = True) -> Iterator[Path]:
    """A context with a temporary file that replaces `path` at its end, or is removed after an error.

    The file is made at once, so that a folder nobody may write in is found out before any work. A name that is a link
    keeps being one: what it points at is replaced. Where an old file gives way, or it is to be durable, the new one is
    on the disk first: even a power cut leaves one whole file or none. What killed runs left of the same file is
    removed, unless who calls it for many files of a folder has done so for all: `clear`.

    Raises:
        FileError: the folder is missing or cannot be written in, `path` is a folder, or elsewhere.
    """
    if isinstance(located(path), Remote):
        raise FileError(
            f"the output must be a file of this machine, got {str(located(path))!r}; write it, then copy it"
        )
    target = path.resolve()
    if target.is_dir():
        raise OutputError(f"the output must be a file, but {str(path)!r} is a folder; add a file name")
    if not target.parent.is_dir():
        raise OutputError(f"cannot write {str(path)!r}: there is no folder {str(target.parent)!r}; make it first")
    with writing(path):
        if clear:
            part_files.clear(target.parent, [target.name])
        temporary, lock = part_files.begun(target)
        try:
            yield temporary
            if target.exists():
                temporary.chmod(target.stat().st_mode & 0o7777)
            if durable or target.exists():
                _to_disk(temporary)
            if os.name == "nt":  # which renames no file that is open
                os.close(lock)
                lock = -1
            temporary.replace(target)
        except BaseException:
            with suppress(OSError):
                temporary.unlink()
            raise
        finally:
            if lock >= 0:
                os.close(lock)


def _to_disk(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
