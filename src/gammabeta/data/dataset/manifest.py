"""The manifest of an output folder: which files have been written, so that a later run goes on from there.

A line of JSON for each file that is finished: the size and time of what was read, the map it went through, the size and
time of what was written. A line counts while all of that is so still, never because a file is there. One that was cut
short, by a kill or a full disk, is no line, and its file is written again.
"""

import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from gammabeta.affine import Affine
from gammabeta.data.core.file_stamp import FileStamp, stamp_if_there
from gammabeta.data.core.read_options import PLAIN, ReadOptions
from gammabeta.data.dataset.file_statistics import name_of_record
from gammabeta.data.io.file_lock import open_locked
from gammabeta.data.io.paths import OutputError, reason, replacing, writing
from gammabeta.errors import FileError, StateError
from gammabeta.statistics import serialization

FOLDER = ".gammabeta"  # what begins with a dot is no data to Arrow, Spark, Hive and us
FORMAT = "gammabeta.written"
_FIELDS = {"file", "source", "map", "output", "rows"}
_LONGEST_HEAD = 1000  # bytes: whatever the file is, no more of it is read for its first line


@dataclass(frozen=True)
class Line:
    """A file that is written: its name, the stamps of its source and output, the map's fingerprint, and its rows."""

    name: str
    source: FileStamp
    map: str
    output: FileStamp
    rows: int


def fingerprint(names: tuple[str, ...], affine: Affine, read: ReadOptions = PLAIN) -> str:
    """A hash of a map, its columns' names and how they are read: SHA-256 in hexadecimal."""
    digest = sha256(json.dumps(names).encode())
    if read != PLAIN:
        digest.update(json.dumps(read.document(), sort_keys=True).encode())
    for parameter in (affine.center, affine.slope, affine.shift):
        digest.update(np.ascontiguousarray(parameter, "<f8").tobytes())
    return digest.hexdigest()


class Manifest:
    """The manifest of a folder: the last valid line for each name.

    Raises:
        StateError: the record is of another version, or none.
        FileError: it cannot be read or written.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / FOLDER / "written.jsonl"
        last = {line.name: line for line in _lines(self._path)} if self._path.exists() else {}
        self.lines = {name: line for name, line in last.items() if stamp_if_there(folder / name) == line.output}
        with replacing(self._path) as temporary:
            temporary.write_text(
                "".join([serialization.dump(FORMAT, {}) + "\n", *map(_text, self.lines.values())]), "utf-8"
            )

    def add(self, line: Line) -> None:
        """Append a line; it is whole in the file when this returns."""
        with writing(self._path), self._path.open("a", encoding="utf-8") as file:
            file.write(_text(line))
        self.lines[line.name] = line


def _text(line: Line) -> str:
    fields = {"file": line.name, "source": line.source, "map": line.map, "output": line.output, "rows": line.rows}
    return json.dumps(fields) + "\n"


def _lines(path: Path) -> Iterator[Line]:
    try:
        with path.open("rb") as file:
            serialization.load(file.readline(_LONGEST_HEAD), FORMAT, ())
            yield from filter(None, map(_line, file))
    except StateError as error:
        raise StateError(f"{str(path)!r} does not say what has been written: {error}; or remove it") from None
    except OSError as error:
        raise FileError(f"cannot read {str(path)!r}: {reason(error)}") from error


def _line(text: bytes) -> Line | None:
    """The `Line` in a line of text, None where it is damaged."""
    try:
        found: Any = serialization.parsed(text)
        if not isinstance(found, dict) or set(found) != _FIELDS:
            return None
        name, key, rows = name_of_record(found["file"]), found["map"], found["rows"]
        source, output = (FileStamp.of_record(*found[side]) for side in ("source", "output"))
    except (StateError, TypeError):
        return None
    if (
        not (isinstance(key, str) and serialization.is_count(rows))
        or Path(name).is_absolute()
        or ".." in Path(name).parts
    ):
        return None
    return Line(name, source, key, output, rows)


def linked(folder: Path, name: Path) -> Path | None:
    """The first symbolic link on the way from a folder to a name in it, None if there is none."""
    at = folder
    for part in name.parts:
        at /= part
        if at.is_symlink():
            return at
    return None


def refuse_links(folder: Path, names: Iterable[str]) -> None:
    """Refuse an output folder that has a symbolic link where one of these names, or the manifest, is to be written.

    Raises:
        FileError: there is one: what it leads to may be anywhere.
    """
    own = [FOLDER]
    with suppress(FileNotFoundError, NotADirectoryError):
        own += [f"{FOLDER}/{entry.name}" for entry in (folder / FOLDER).iterdir()]
    for name in (*own, *names):
        link = linked(folder, Path(name))
        if link is not None:
            raise OutputError(
                f"in the output folder no link is followed, {str(link)!r} is one; remove it, or take another folder"
            )


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """A context that locks an output folder. The lock ends with the process, however that ends.

    Raises:
        FileError: another run is at work in it, or it cannot be written in.
    """
    with writing(folder):
        (folder / FOLDER).mkdir(exist_ok=True)
    descriptor = open_locked(folder / FOLDER / "lock")
    try:
        yield
    finally:
        os.close(descriptor)
