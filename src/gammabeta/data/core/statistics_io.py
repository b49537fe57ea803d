"""Reading and writing of stats files."""

from pathlib import Path

from gammabeta.data.core.statistics import FORMAT, Statistics
from gammabeta.data.io.paths import existing, replacing
from gammabeta.data.io.remote import Place, located
from gammabeta.errors import FileError, StateError
from gammabeta.statistics import serialization

_LARGE = 1 << 20  # bytes, of which no more is read of what is something else


def statistics_path(path: str | Path) -> Path:
    """A stats file's path. FileError if it does not end in .json, so that no data file is replaced by statistics."""
    path = Path(path)
    if path.suffix.lower() != ".json":
        raise FileError(f"a stats file's name must end in .json, got {str(path)!r}")
    return path


def save(statistics: Statistics, path: str | Path) -> None:
    """Write statistics to a `.json` file, which appears when it is whole.

    Raises:
        FileError: it cannot be written, or its name does not end in .json.
    """
    with replacing(statistics_path(path)) as temporary:
        temporary.write_text(statistics.to_json(), "utf-8")


def load(path: str | Place) -> Statistics:
    """The statistics in a file that `save` wrote.

    Raises:
        FileError: there is no such file, or it cannot be read.
        StateError: it is not a stats file, is damaged or of another version.
    """
    path = existing(located(path))
    try:
        return Statistics.from_json(contents(path, FORMAT))
    except StateError as error:
        raise StateError(f"{str(path)!r} is not a stats file to be used: {error}") from None


def contents(path: Place, kind: str) -> bytes:
    """The bytes of a file that may be a document of that kind; a large file is read only if it begins like one.

    Raises:
        FileError: it cannot be read.
        StateError: it is large and begins in another way.
    """
    beginning = serialization.dump(kind, {})[:-1].encode()
    try:
        with path.open("rb") as file:
            first: bytes = file.read(_LARGE)
            if len(first) == _LARGE and not first.startswith(beginning):
                raise StateError(f"a document of more than 1 MiB must begin with {beginning.decode()}, it does not")
            return first + file.read()
    except OSError as error:
        raise FileError(f"cannot read {str(path)!r}: {error.strerror}") from error
