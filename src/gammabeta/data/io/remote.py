"""Files at an address such as `s3://bucket/table.parquet`, with the part of `Path`'s methods that reading needs.

PyArrow's own file systems read what they know, which is S3, Google's and Azure's storage and HDFS; fsspec's read the
rest, such as `http://` and `memory://`, and chains of addresses.
"""

import re
from functools import cached_property
from pathlib import Path, PurePosixPath
from types import SimpleNamespace
from typing import Any, TypeAlias
from urllib.request import url2pathname

import pyarrow as pa
from pyarrow import fs

from gammabeta.errors import FileError

ARROWS = {"abfs", "abfss", "gcs", "gs", "hdfs", "s3", "viewfs"}
_ADDRESS = re.compile(r"([a-z][a-z0-9+.-]+):/+(.*)", re.S)  # two letters at least: C:/ is a drive


class Remote:
    """A file at an address, with the methods of `Path` that reading needs."""

    def __init__(self, address: str) -> None:
        self.address = address

    def __str__(self) -> str:
        """The address, without a password if there is one in it."""
        return re.sub(r"(?<=://)[^/@]*@", "", self.address)

    @cached_property
    def _plain(self) -> PurePosixPath:
        first = self.address.partition("::")[0]
        query = first.partition("?")[0] if first.startswith("http") else first
        return PurePosixPath(query.partition("://")[2])

    @property
    def parts(self) -> tuple[str, ...]:
        """The folders, and the name."""
        return self._plain.parts

    @property
    def name(self) -> str:
        """The last part of the path."""
        return self._plain.name

    @property
    def suffix(self) -> str:
        """The extension."""
        return self._plain.suffix

    @property
    def suffixes(self) -> list[str]:
        """All extensions."""
        return self._plain.suffixes

    @staticmethod
    def _of_arrow(address: str) -> tuple[fs.FileSystem, str]:
        found: tuple[fs.FileSystem, str] = fs.FileSystem.from_uri(address)
        return found

    @cached_property
    def _found(self) -> tuple[fs.FileSystem, str]:
        """The file system, and the path in it."""
        scheme = self.address.partition(":")[0]
        try:
            if scheme in ARROWS and "::" not in self.address:
                return self._of_arrow(self.address)
            return _of_fsspec(self.address)
        except (pa.ArrowException, ImportError, OSError, ValueError) as error:
            raise FileError(f"cannot read {str(self)!r}: {str(error).strip().splitlines()[0]}") from error

    @cached_property
    def _info(self) -> fs.FileInfo:
        return self._asked()

    def _asked(self) -> fs.FileInfo:
        system, path = self._found
        try:
            return system.get_file_info(path)
        except Exception as error:  # each file system has errors of its own
            raise FileError(f"cannot read {str(self)!r}: {str(error).strip() or type(error).__name__}") from error

    def stat(self) -> Any:
        """The size, as `st_size`.

        Raises:
            FileNotFoundError: there is no such file.
        """
        if self._info.type == fs.FileType.NotFound:
            raise FileNotFoundError(2, "no such file", str(self))
        if self._info.size is None and self.is_file():
            raise FileError(f"cannot read {str(self)!r}: its size is not known; copy it here first")
        return SimpleNamespace(st_size=self._info.size or 0)

    def size_and_time(self) -> tuple[int, int]:
        """The size, and when it was last written in nanoseconds, as they are now; 0 where nobody tells."""
        info = self._asked()
        return info.size or 0, info.mtime_ns or 0

    def is_dir(self) -> bool:
        """Whether it is a folder."""
        return bool(self._info.type == fs.FileType.Directory)

    def is_file(self) -> bool:
        """Whether it is a file."""
        return bool(self._info.type == fs.FileType.File)

    def arrow_file(self, whole: bool = True) -> pa.NativeFile:
        """The file for Arrow; if it is not `whole`, those bytes come that are asked for, and no others around them."""
        system, path = self._found
        if whole or not isinstance(system, fs.PyFileSystem):
            return system.open_input_file(path)
        return pa.PythonFile(system.handler.fs.open(path, "rb", cache_type="none"), mode="r")

    def open(self, mode: str = "rb", buffering: int = -1) -> Any:
        """The file for Python."""
        return self.arrow_file()


Place: TypeAlias = Path | Remote


def located(source: str | Place) -> Place:
    """The `Path` of a local file, or the `Remote` of an address; `Path("s3:/bucket")` is an address too."""
    if isinstance(source, Remote):
        return source
    address = _ADDRESS.fullmatch(str(source))
    if address is None or (isinstance(source, Path) and source.exists()):
        return Path(source)
    scheme, rest = address.groups()
    if scheme == "file":
        return Path(url2pathname(f"/{rest}"))
    return Remote(f"{scheme}://{rest}" if isinstance(source, Path) else source)


def _of_fsspec(address: str) -> tuple[fs.FileSystem, str]:
    try:
        import fsspec
    except ImportError:
        raise FileError(f"{address!r} is read with fsspec: pip install 'gammabeta[remote]'") from None
    system, path = fsspec.core.url_to_fs(address)
    return fs.PyFileSystem(fs.FSSpecHandler(system)), path
