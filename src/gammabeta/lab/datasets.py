"""The columns that the lab starts with, all real, and those of one's own file."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gammabeta import data
from gammabeta.data.formats.registry import open_source
from gammabeta.data.io.paths import kind_of
from gammabeta.errors import DataError, GammabetaError

Floats = NDArray[np.float64]

ROWS = 200_000  # of a file: a slider's move goes over all of them


class Column(NamedTuple):
    """Numbers, (n,), at least two of them different, and what they measure."""

    values: Floats
    title: str


def examples() -> dict[str, Column]:
    """By the key of its name in `words.TABLE`: a skewed column, one with two humps, one that is nearly even."""
    from sklearn.datasets import load_breast_cancer, load_iris, load_wine

    cells: Any = load_breast_cancer()
    flowers: Any = load_iris()
    wines: Any = load_wine()
    return {
        "skewed": Column(cells.data[:, 3], "cell area, pixels"),
        "two humps": Column(flowers.data[:, 2], "petal length, cm"),
        "nearly even": Column(wines.data[:, 0], "alcohol, % by volume"),
    }


def names(file: str, contents: bytes) -> list[str]:
    """The columns of numbers in a file.

    Args:
        file: its name, of which the extension alone is used: it says what kind of file it is.
        contents: its bytes.

    Raises:
        FileError: it cannot be read as what its name says.
        DataError: it has no column of numbers.
    """
    with _written(file, contents) as path:
        found = [column.name for column in open_source(path).columns if not column.skip_reason]
    if not found:
        raise DataError(f"at least one numeric column is needed, {file!r} has none")
    return found


def read(file: str, contents: bytes, name: str) -> Column:
    """A column of a file: what is finite in its first 200,000 rows.

    Raises:
        FileError: the file cannot be read.
        DataError: all its values are the same, or there is none.
    """
    parts: list[Floats] = []
    rows = 0
    with _written(file, contents) as path:
        for chunk in data.scan(path, [name]):
            parts.append(np.asarray(chunk[name], np.float64))
            rows += chunk.rows
            if rows >= ROWS:
                break
    values = np.concatenate(parts or [np.empty(0)])[:ROWS]
    values = values[np.isfinite(values)]
    if len(np.unique(values)) < 2:
        raise DataError(f"a column needs two different numbers at least to have a shape, {name!r} in {file!r} has not")
    return Column(values, name)


@contextmanager
def _written(file: str, contents: bytes) -> Iterator[Path]:
    """The file on the disk, for as long as it is read, under a name of ours and with an extension that is known.

    So it is one file of a table or an array, never a folder, and never a Zarr store, which is one by its name.
    """
    kind, extensions = kind_of(Path(file)), Path(file).suffixes
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "column").with_suffix("".join(extensions[-2 if kind.compression else -1 :]))
        path.write_bytes(contents)
        try:
            yield path
        except GammabetaError as error:
            raise type(error)(str(error).replace(repr(str(path)), repr(file))) from None
