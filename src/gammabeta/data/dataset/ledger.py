"""The ledger of a data set: a file of lines, one for each file read, that are appended and never changed.

    b0f2… {"format": "gammabeta.ledger", "version": 1}
    5e81… {"layout": "c9…", "columns": [["x", "float32", ""], ["name", "string", "not numeric"]]}
    03aa… {"file": "2024/a.parquet", "size": 10485760, "mtime_ns": 17…, "layout": "c9…", "rows": 52000, "of": [0], …}
    7d13… {"file": "2024/b.parquet", "size": 1024, "mtime_ns": 17…, "bad": "it cannot be read as Parquet: …"}

A line begins with its own CRC-32, and the last one about a file holds. A last line without its end, which a kill or a
full disk may leave, is as if it had never been begun. `of` are the columns that have statistics, `sums` those, packed;
`infinite`, where any were left out, how many infinite values each has.
"""

import json
import os
from base64 import b64decode, b64encode
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple
from zlib import crc32

from gammabeta.data.core.file_stamp import FileStamp
from gammabeta.data.core.read_options import PLAIN, ReadOptions
from gammabeta.data.core.source import Column
from gammabeta.data.core.statistics import Statistics
from gammabeta.data.dataset.file_statistics import FileStatistics, name_of_record
from gammabeta.data.io.file_lock import open_locked
from gammabeta.data.io.paths import replacing
from gammabeta.errors import FileError, StateError
from gammabeta.statistics import serialization
from gammabeta.statistics.binary import packed, unpacked

FORMAT = "gammabeta.ledger"
WASTE = 1 << 20  # bytes of lines that no longer hold, from which it is worth writing the rest anew

Layout = tuple[tuple[Column, ...], ReadOptions]  # a file's columns, and how it was read


class _Place(NamedTuple):
    """The position of the line about a file, and the stamp that the file had."""

    stamp: FileStamp
    start: int
    size: int


class LedgerFile:
    """A ledger, locked and open to read and append: a context manager.

    Raises:
        FileError: it cannot be read or written, or another process has it.
        StateError: it is no ledger, is of another version, or a line of it is damaged.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._layouts: dict[str, Layout] = {}
        self._places: dict[str, _Place] = {}
        self._end = 0
        self._file = open_locked(path)
        try:
            self._load()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> "LedgerFile":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            os.fsync(self._file)
        self.close()

    def close(self) -> None:
        """Close the file and release its lock."""
        os.close(self._file)

    @property
    def names(self) -> list[str]:
        """The names of the files whose statistics it holds."""
        return list(self._places)

    def entry(self, name: str, stamp: FileStamp) -> FileStatistics | None:
        """The recorded statistics of a file, None if it has another stamp now."""
        place = self._places.get(name)
        if place is None or place.stamp != stamp:
            return None
        try:
            return self._entry(stamp, serialization.parsed(_content(self._read(place.start, place.size))))
        except ValueError as error:
            raise self._damaged(place.start, error) from None

    def _entry(self, stamp: FileStamp, fields: dict[str, Any]) -> FileStatistics | None:
        known = self._layouts.get(fields["layout"])
        if known is None:  # that line was taken out
            return None
        layout, read = known
        places, rows = fields["of"], fields["rows"]
        if not (
            isinstance(places, list) and all(map(serialization.is_count, places)) and len({*places}) == len(places)
        ):
            raise ValueError("columns that are none")
        if not all(i < len(layout) and not layout[i].skip_reason for i in places) or not serialization.is_count(rows):
            raise ValueError("columns or rows that are none")
        moments, extrema = unpacked(b64decode(fields["sums"], validate=True), len(places))
        columns = tuple(layout[i] for i in places)
        infinite = tuple(serialization.counts(fields.get("infinite", [0] * len(places)), len(places), "infinite"))
        found = Statistics(columns, rows, moments, extrema, read=read, infinite=infinite)
        return FileStatistics(stamp, layout, found.possible())

    def add(self, name: str, entry: FileStatistics) -> None:
        """Append the statistics of a file."""
        known_as = entry.columns, entry.statistics.read
        layout = _key(known_as)
        if layout not in self._layouts:
            self._append(_layout_fields(layout, known_as))
            self._layouts[layout] = known_as
        found, known = entry.statistics, {column.name: i for i, column in enumerate(entry.columns)}
        fields = {"layout": layout, "rows": found.rows, "of": [known[column] for column in found.names]}
        fields |= {"infinite": list(found.infinite)} if found.infinite else {}
        sums = b64encode(packed(found.moments, found.extrema)).decode()
        start = self._end
        self._append({"file": name, **entry.stamp._asdict(), **fields, "sums": sums})
        self._places[name] = _Place(entry.stamp, start, self._end - start)

    def add_bad(self, name: str, stamp: FileStamp, reason: str) -> None:
        """Append the reason why a file could not be read; its older statistics no longer count."""
        self._append({"file": name, **stamp._asdict(), "bad": reason})
        self._places.pop(name, None)

    def _append(self, fields: dict[str, Any]) -> None:
        line = _line(fields)
        try:
            written = os.write(self._file, line)
            while written < len(line):  # a disk with little room takes what fits, then says so
                written += os.write(self._file, line[written:])
        except OSError as error:
            raise FileError(
                f"cannot write {str(self.path)!r}: {os.strerror(error.errno or 0)}; "
                "what is in it is kept, and the same command goes on from there"
            ) from error
        self._end += len(line)

    def _load(self) -> None:
        with os.fdopen(os.dup(self._file), "rb") as file:
            file.seek(0)
            first = file.readline(_LONGEST_HEAD)
            if not first.endswith(b"\n") and _line(_HEAD).startswith(first):
                os.ftruncate(self._file, 0)  # a new file, or one whose first line was cut off
                self._append(_HEAD)
                return
            self._check_head(first)
            self._end = len(first)
            for line in file:
                if line.endswith(b"\n"):
                    self._learn(line)
                    self._end += len(line)
        os.ftruncate(self._file, self._end)

    def _check_head(self, line: bytes) -> None:
        try:
            serialization.load(_content(line), FORMAT, ())
        except ValueError as error:
            raise StateError(f"{str(self.path)!r} is not a ledger to be used: {error}") from None

    def _learn(self, line: bytes) -> None:
        try:
            fields = serialization.parsed(_content(line))
            keys = set(fields) if isinstance(fields, dict) else set()
            if keys in (_LAYOUT, _LAYOUT | {"read"}):
                self._layouts[fields["layout"]] = _layout(fields)
                return
            keys -= {"infinite"} if keys >= _FILE else set()
            if keys not in (_BAD, _FILE):
                raise ValueError("it is about no file")
            name, stamp = name_of_record(fields["file"]), FileStamp.of_record(fields["size"], fields["mtime_ns"])
            if keys == _FILE and isinstance(fields["layout"], str) and isinstance(fields["sums"], str):
                self._places[name] = _Place(stamp, self._end, len(line))
            elif keys == _BAD and isinstance(fields["bad"], str):
                self._places.pop(name, None)
            else:
                raise ValueError("what it tells of a file is none")
        except ValueError as error:
            raise self._damaged(self._end, error) from None

    def _damaged(self, start: int, error: ValueError) -> StateError:
        number = self._read(0, start).count(b"\n") + 1
        return StateError(
            f"line {number} of {str(self.path)!r} is damaged; take the line out, and the file that it is about "
            f"will be read again: {error}"
        )

    def compact(self, names: set[str]) -> None:
        """Rewrite the ledger with these files only, if most of its lines no longer count. Call it last."""
        live = {name: place for name, place in self._places.items() if name in names}
        held = sum(place.size for place in live.values())
        if self._end - held < max(WASTE, held) or os.name == "nt":  # Windows replaces no file that is open
            return
        with replacing(self.path) as temporary, temporary.open("wb") as file:
            file.writelines(self._kept(live))

    def _kept(self, live: dict[str, _Place]) -> Iterator[bytes]:
        yield _line(_HEAD)
        for name, layout in self._layouts.items():
            yield _line(_layout_fields(name, layout))
        for place in live.values():
            yield self._read(place.start, place.size)

    def _read(self, start: int, size: int) -> bytes:
        os.lseek(self._file, start, os.SEEK_SET)
        return os.read(self._file, size)


_HEAD = serialization.document(FORMAT, {})
_LONGEST_HEAD = 1000  # bytes: whatever the file is, no more of it is read for its first line
_LAYOUT, _BAD = {"layout", "columns"}, {"file", "size", "mtime_ns", "bad"}
_FILE = {"file", "size", "mtime_ns", "layout", "rows", "of", "sums"}


def _key(layout: Layout) -> str:
    columns, read = layout
    text = json.dumps(columns) + (json.dumps(read.document(), sort_keys=True) if read != PLAIN else "")
    return sha256(text.encode()).hexdigest()[:16]


def _layout_fields(key: str, layout: Layout) -> dict[str, Any]:
    columns, read = layout
    return {"layout": key, "columns": columns} | ({"read": read.document()} if read != PLAIN else {})


def _layout(fields: dict[str, Any]) -> Layout:
    """The columns in a line, and how they were read. ValueError if they are none."""
    key, listed, read = fields["layout"], fields["columns"], ReadOptions.of_document(fields.get("read", {}))
    whole = isinstance(listed, list) and all(
        isinstance(c, list) and len(c) == 3 and serialization.texts(c) for c in listed
    )
    columns = tuple(Column(*column) for column in listed) if whole else ()
    if not whole or len({column.name for column in columns}) < len(columns) or key != _key((columns, read)):
        raise ValueError("columns that are none")
    return columns, read


def _line(fields: dict[str, Any]) -> bytes:
    content = json.dumps(fields).encode()
    return b"%08x %s\n" % (crc32(content), content)


def _content(line: bytes) -> bytes:
    """The JSON text of a line. ValueError if its checksum is wrong."""
    content = line[9:-1]
    if line[:9] != b"%08x " % crc32(content):
        raise ValueError("it is no line of a ledger, or not as it was written")
    return content
