"""What has been written of a folder, kept in it: a later run goes on from there.

A line of JSON for each file that is finished: the size and time of what was read, the map it went through, the size and
time of what was written. A line counts while all of that is so still, never because a file is there. One that was cut
short, by a kill or a full disk, is no line, and its file is written again.
"""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from gammabeta import states
from gammabeta.affine import Affine
from gammabeta.data.files import OutputError, replacing, writing
from gammabeta.errors import StateError

FOLDER = ".gammabeta"  # what begins with a dot is no data to Arrow, Spark, Hive and us
FORMAT = "gammabeta.written"

try:
    import fcntl
except ImportError:  # Windows has none: there nothing keeps two runs apart
    fcntl = None  # type: ignore[assignment]


class Mark(NamedTuple):
    """What tells a file from a later one of the same name: its size in bytes, and its time in nanoseconds."""

    size: int
    time: int

    @classmethod
    def of(cls, path: Path) -> "Mark":
        """The mark of a file as it is now; of none, size −1."""
        try:
            found = path.stat()
        except OSError:
            return cls(-1, 0)
        return cls(found.st_size, found.st_mtime_ns)


@dataclass(frozen=True)
class Line:
    """A file that is finished: its name, what it was made of and how, what came of it, and its rows."""

    name: str
    source: Mark
    map: str
    output: Mark
    rows: int


def fingerprint(names: tuple[str, ...], affine: Affine) -> str:
    """What tells a map of these columns from any other: SHA-256 in hexadecimal."""
    digest = sha256(json.dumps(names).encode())
    for parameter in (affine.center, affine.scale, affine.shift):
        digest.update(np.ascontiguousarray(parameter, "<f8").tobytes())
    return digest.hexdigest()


@dataclass(frozen=True)
class Files:
    """What became of a folder's files, by their names in it.

    `written`: how many this run wrote; `kept`: how many an earlier one had; `bad`: names and reasons of those skipped;
    `stale`: outputs of earlier runs that are none of this one, since their source is bad or gone; `left_out`: what is
    no data, and did not go along.
    """

    written: int
    kept: int
    bad: tuple[tuple[str, str], ...]
    stale: tuple[str, ...]
    left_out: tuple[str, ...]


class Journal:
    """The lines of a folder that count, the last one for each name."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / FOLDER / "written.jsonl"
        last = {line.name: line for line in _lines(self._path)} if self._path.exists() else {}
        self.lines = {name: line for name, line in last.items() if Mark.of(folder / name) == line.output}
        with replacing(self._path) as temporary:
            temporary.write_text("".join([states.dump(FORMAT, {}) + "\n", *map(_text, self.lines.values())]), "utf-8")

    def add(self, line: Line) -> None:
        """Keep a line: it is there when this returns, whole."""
        with writing(self._path), self._path.open("a", encoding="utf-8") as file:
            file.write(_text(line))
        self.lines[line.name] = line


def _text(line: Line) -> str:
    fields = {"file": line.name, "source": line.source, "map": line.map, "output": line.output, "rows": line.rows}
    return json.dumps(fields) + "\n"


def _lines(path: Path) -> Iterator[Line]:
    header, *rest = path.read_text("utf-8", errors="replace").split("\n")
    try:
        states.load(header, FORMAT, ())
    except StateError as error:
        raise StateError(f"{str(path)!r} does not say what has been written: {error}; or remove it") from None
    for text in rest:
        line = _line(text)
        if line is not None:
            yield line


def _line(text: str) -> Line | None:
    try:
        found: Any = json.loads(text)
        name, key, rows = found["file"], found["map"], found["rows"]
        marks = [Mark(*found[side]) for side in ("source", "output")]
    except (ValueError, TypeError, KeyError):
        return None
    numbers = [rows, *marks[0], *marks[1]]
    if not (isinstance(name, str) and isinstance(key, str) and all(type(number) is int for number in numbers)):
        return None
    if Path(name).is_absolute() or ".." in Path(name).parts:
        return None
    return Line(name, marks[0], key, marks[1], rows)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep other runs out of an output folder. The lock goes with the process, however that ends.

    Raises:
        FileError: another run is at work in it, or it cannot be written in.
    """
    path = folder / FOLDER / "lock"
    with writing(folder):
        path.parent.mkdir(exist_ok=True)
        descriptor = os.open(path, os.O_CREAT | os.O_RDWR, 0o666)
    try:
        if fcntl is not None:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise OutputError(f"another run is writing to {str(folder)!r}; wait for it to end") from None
        yield
    finally:
        os.close(descriptor)
