"""A CSV reader by Python's `csv` module, in the caller's thread.

Twenty times slower than Arrow's reader, which cannot do without threads of its own: for where the system starts none.
"""

import csv
from collections.abc import Iterable, Iterator
from typing import Any

import pyarrow as pa

from gammabeta.data.io.remote import Place
from gammabeta.errors import FileError

BLOCK = 1 << 20  # characters


def blocks(path: Place, text: Iterable[str], delimiter: str, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    """Record batches of the cells after the header, as text.

    Args:
        text: the lines after the header.
        schema: a column of text for each name.

    Cells without a character beyond the header's last are left out: Excel writes such delimiters.

    Raises:
        FileError: a row has another number of cells than the header, or a quote is never closed.
        UnicodeDecodeError: it is not UTF-8.
    """
    rows: list[list[str]] = []
    size = 0
    for row in _rows(path, csv.reader(text, delimiter=delimiter, strict=True), len(schema)):
        rows.append(row)
        size += sum(map(len, row)) + len(row)
        if size >= BLOCK:
            yield _batch(rows, schema)
            rows, size = [], 0
    if rows:
        yield _batch(rows, schema)


def without_comments(lines: Iterable[str], comment: str | None) -> Iterable[str]:
    """The lines that do not begin with `comment`."""
    if comment is None:
        return lines
    return (line for line in lines if not line.lstrip(" \t").startswith(comment))


def _rows(path: Place, reader: Any, width: int) -> Iterator[list[str]]:
    """The rows, of `width` cells each. Empty lines are left out, but are missing values where there is one column."""
    try:
        for row in reader:
            cells = row or [""] * (width == 1)
            if len(cells) > width and not any(cells[width:]):
                cells = cells[:width]
            if len(cells) == width:
                yield cells
            elif cells:
                raise FileError(
                    f"{str(path)!r} cannot be read as CSV: line {reader.line_num + 1} must have {width} cells as the "
                    f"header has, it has {len(cells)}"
                )
    except csv.Error as error:
        raise FileError(f"{str(path)!r} cannot be read as CSV: line {reader.line_num + 1}: {error}") from error


def _batch(rows: list[list[str]], schema: pa.Schema) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays(
        [pa.array(cells, pa.string()) for cells in zip(*rows, strict=True)], schema=schema
    )
