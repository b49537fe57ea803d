"""The command that writes the tables which the documentation's pages read, so that their commands run as printed."""

from pathlib import Path
from typing import Annotated

import typer

from gammabeta.cli.terminal import say
from gammabeta.errors import DataError

NAMES = ("cells", "events")
COLUMNS = 3  # of the breast cancer table's thirty


def example(
    name: Annotated[str, typer.Argument(metavar="NAME", help="cells: cells.csv and more.csv. events: a folder.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The folder to write into.", metavar="FOLDER")],
) -> None:
    """Write the tables that the documentation's pages read. A file that exists is never replaced.

    \b
      gammabeta example cells -o .       cells.csv and more.csv: three measured columns and a name
      gammabeta example events -o .      events/year=2023 and year=2024: the three columns in Parquet

    They are scikit-learn's breast cancer table: 569 cell samples.
    """
    from gammabeta.data.io.paths import replacing

    if name not in NAMES:
        raise DataError(f"an example's name must be one of {', '.join(NAMES)}, got {name!r}")
    files = {output / path: content for path, content in (_cells() if name == "cells" else _events()).items()}
    there = [str(path) for path in files if path.exists()]
    if there:
        raise DataError(
            f"an example replaces no file, and {there[0]!r} exists; move it, or name another folder with -o"
        )
    for path, content in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as temporary:
            temporary.write_bytes(content)
    say(f"written: {', '.join(map(str, files))}")


def _cells() -> dict[str, bytes]:
    values, names, kinds = _table()
    found = {}
    for file, rows in (("cells.csv", slice(0, 400)), ("more.csv", slice(400, None))):
        pairs = zip(values[rows], kinds[rows], strict=True)
        lines = [",".join([*names, "kind"]), *(",".join([*map(repr, row), kind]) for row, kind in pairs)]
        found[file] = "\n".join([*lines, ""]).encode()
    return found


def _events() -> dict[str, bytes]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    values, names, _ = _table()
    found = {}
    for year, rows in ((2023, slice(0, 300)), (2024, slice(300, None))):
        columns = dict(zip(names, map(list, zip(*values[rows], strict=True)), strict=True))
        sink = pa.BufferOutputStream()
        pq.write_table(pa.table(columns), sink)
        found[f"events/year={year}/part-0.parquet"] = sink.getvalue().to_pybytes()
    return found


def _table() -> tuple[list[list[float]], list[str], list[str]]:
    """The rows of the first columns, their names, and the kind of each row."""
    from gammabeta.data.formats.table import breast_cancer

    table = breast_cancer()
    names = table.column_names[:COLUMNS]
    values = zip(*(table[name].to_pylist() for name in names), strict=True)
    return [list(row) for row in values], [name.replace(" ", "_") for name in names], table["diagnosis"].to_pylist()
