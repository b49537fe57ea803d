"""A page about a file: each column's numbers, its shape on three axes, and what to watch before it is scaled.

    from gammabeta import report

    report.write("table.parquet", "report.html")
    report.write("january.csv", "drift.html", against="february.csv")   # how far February has moved from January

The page is one HTML file that opens without a network. What `gammabeta report` does is in these functions.
"""

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TypeAlias

import pyarrow as pa

from gammabeta.data.core.columns import selected
from gammabeta.data.core.options import ProgressFn, ignore_progress
from gammabeta.data.core.source import Column, Source
from gammabeta.data.formats.registry import open_source
from gammabeta.data.io.paths import replacing
from gammabeta.errors import DataError, FileError
from gammabeta.networks.diagnose import Diagnosis
from gammabeta.report import document
from gammabeta.report.document import Document
from gammabeta.report.drift import Drift
from gammabeta.report.profile_pass import profiles

__all__ = ["Document", "compare", "describe", "network", "write"]

Input: TypeAlias = Source | pa.Table | str | Path


def describe(
    source: Input,
    columns: Sequence[str] | None = None,
    exclude: Sequence[str] | None = None,
    *,
    progress: ProgressFn = ignore_progress,
) -> Document:
    """What is known of a file's columns of numbers, as the document that its page shows.

    Args:
        source: a CSV, Parquet, Arrow IPC (Feather) or `.npy` file, or an Arrow table.
        columns, exclude: which columns, names or patterns, as for `gammabeta.data.measure`.
        progress: called with the bytes read so far and the size of the file.

    Count, mean, std (divisor n), min and max are exact, those of `gammabeta.data.measure`. Infinities are counted
    apart, and all else is of the finite values; NaN and nulls are missing. Memory stays bounded, however long the file.

    Raises:
        FileError: the file cannot be read as what its name says.
        DataError: an unknown column, no numeric column, no rows.
        KindError: a column named in `columns` is not of numbers.

    >>> found = describe(pa.table({"height": [1.5, None, 2.5], "name": ["a", "b", "c"]}))
    >>> [(column["name"], column["mean"], column["missing"]) for column in found["columns"]]
    [('height', 2.0, 1)]
    """
    source = open_source(source)
    found = profiles(source, lambda: selected(source.columns, columns, exclude, source.path), progress)
    return document.of_file(source, found, _others(source, [p.name for p in found]))


def compare(
    source: Input,
    against: Input,
    columns: Sequence[str] | None = None,
    exclude: Sequence[str] | None = None,
    *,
    progress: ProgressFn = ignore_progress,
) -> Document:
    """How far the columns of the file `against` have moved from those of `source`, under the statistics of `source`.

        difference = (mean₂ − mean₁) / std₁,    ratio = std₂ / std₁,    outside = the share of values beyond min₁…max₁

    Columns are found by name and sorted by |difference|; those that one file alone has are named. Arguments and errors
    are those of `describe`; the columns are chosen among those of both files.

    >>> found = compare(pa.table({"a": [0.0, 2.0]}), pa.table({"a": [3.0, 5.0]}))
    >>> found["columns"][0]["difference"], found["columns"][0]["outside"]
    (3.0, 1.0)
    """
    sources = [open_source(source), open_source(against)]
    for one in sources:
        one.learn()
    chosen = [selected(one.columns, columns, exclude, one.path) for one in sources]
    names = [[column.name for column in part] for part in chosen]
    both = [name for name in names[0] if name in set(names[1])]
    if not both:
        paths = " and ".join(repr(str(one.path)) for one in sources)
        raise DataError(f"two files to compare must have a numeric column in common, {paths} have none")
    before, now = ([column for column in part if column.name in set(both)] for part in chosen)
    first = profiles(sources[0], lambda: before, lambda done, size: progress(done, 2 * size))
    known = {profile.name: profile for profile in first}
    second = profiles(sources[1], lambda: now, lambda done, size: progress(size + done, 2 * size), known)
    later = {profile.name: profile for profile in second}
    drifts = [Drift(known[name], later[name]) for name in both]
    only = [[document.readable(name) for name in part if name not in set(both)] for part in names]
    return document.of_two(sources, drifts, only, _others(sources[0], names[0]))


def write(
    source: Input,
    out: str | Path = "report.html",
    *,
    against: Input | None = None,
    columns: Sequence[str] | None = None,
    exclude: Sequence[str] | None = None,
    progress: ProgressFn = ignore_progress,
) -> Document:
    """Write the page of `describe`, or of `compare` if there is a file to compare with, and return its document.

    The page appears when it is whole; an old one stays as it was until then.

    Raises:
        FileError: the output cannot be written, or its name does not end in .html.
        DataError: what the page is made with is not installed. The rest is as for `describe`.
    """
    out = Path(out)
    if out.suffix.lower() not in (".html", ".htm"):
        raise FileError(f"a report's name must end in .html, got {str(out)!r}")
    check_installed()
    with replacing(out) as temporary:
        if against is None:
            found = describe(source, columns, exclude, progress=progress)
        else:
            found = compare(source, against, columns, exclude, progress=progress)
        from gammabeta.report.column_page import rendered

        temporary.write_text(rendered(found), "utf-8", newline="\n")
    return found


def network(diagnosis: Diagnosis, out: str | Path = "network.html") -> None:
    """Write the page of what `diagnose` of torch, Keras or flax found: what to watch, and a picture of each layer.

    One HTML file without a script, that asks no server for anything. An old one stays as it was until the new is whole.

    Raises:
        FileError: the output cannot be written, or its name does not end in .html.
        DataError: Jinja2 is not installed.
    """
    out = Path(out)
    if out.suffix.lower() not in (".html", ".htm"):
        raise FileError(f"a page's name must end in .html, got {str(out)!r}")
    if find_spec("jinja2") is None:
        raise DataError("a page is made with Jinja2: pip install 'gammabeta[report]'")
    from gammabeta.report.network_page import rendered

    with replacing(out) as temporary:
        temporary.write_text(rendered(diagnosis.document()), "utf-8", newline="\n")


def check_installed() -> None:
    """Refuse to begin without the packages that make the page."""
    missing = [name for module, name in _NEEDED.items() if find_spec(module) is None]
    if missing:
        raise DataError(f"a report is made with {' and '.join(missing)}: pip install 'gammabeta[report]'")


_NEEDED = {"jinja2": "Jinja2", "vl_convert": "vl-convert-python"}


def _others(source: Source, names: Sequence[str]) -> list[Column]:
    chosen = set(names)
    return [column for column in source.columns if column.name not in chosen]
