"""`gammabeta stats --by`: statistics of the groups of a file's rows."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gammabeta._util.findings import finite_or_none
from gammabeta.cli import output as results
from gammabeta.cli.terminal import Heading, say, say_json, say_table

if TYPE_CHECKING:
    from gammabeta.data import GroupStatistics, ReadOptions

By = Annotated[
    list[str] | None,
    typer.Option(
        help="By group: a column of text, integers or dates, or several, separated by commas.", metavar="COLUMN"
    ),
]


def stats(
    sources: Sequence[Path],
    by: list[str] | None,
    output: Path | None,
    columns: list[str] | None,
    exclude: list[str] | None,
    read: "ReadOptions | None",
    as_json: bool,
) -> None:
    """Take the statistics of files by group and add them up."""
    from gammabeta import data
    from gammabeta.cli.progress import Meter
    from gammabeta.data.core.statistics_io import statistics_path

    if output is not None:
        statistics_path(output)
    with Meter() as meter:
        found = data.gather_groups(sources, by, columns, exclude, read=read, progress=meter)
    if output is not None:
        data.save_groups(found, output)
    show([str(path) for path in sources], found, as_json, output)


def show(names: Sequence[str], found: "GroupStatistics", as_json: bool, output: Path | None) -> None:
    """Print the statistics of each group, as a table or as JSON."""
    if as_json:
        head = {"input": list(names), "rows": found.rows, "by": found.by.name}
        say_json(head | {"groups": _groups(found), "output": None if output is None else str(output)})
        return
    name = ", ".join(names) if len(names) <= 3 else f"{len(names)} files"
    groups, columns = results.many(len(found.labels), "group"), results.many(len(found.columns), "column")
    say(f"{name}: {results.many(found.rows, 'row')}, {groups} by {found.by.name}, {columns}")
    headings = [
        Heading(text, left=i in (0, 2))
        for i, text in enumerate((found.by.name, "rows", "column", "mean", "std", "min", "max"))
    ]
    rows = []
    shown = -(-results.SHOWN // len(found.columns))
    for group in _groups(found, shown):
        for i, column in enumerate(group["columns"]):
            first = (label(group["label"]), f"{group['rows']:,}") if i == 0 else ("", "")
            values = (results.number(_or_nan(column[key])) for key in ("mean", "std", "min", "max"))
            rows.append([*first, column["name"], *values])
    say_table(headings, rows)
    if len(found.labels) > shown:
        say(f"… and {len(found.labels) - shown:,} more groups (--json shows all)")
    if output is not None:
        say(f"kept in {output}, for: gammabeta stats {output}")


def label(value: Any) -> str:
    """The text of a group's label.

    >>> label("a"), label(3), label(None), label(["a", 3])
    ('a', '3', '(none)', 'a, 3')
    """
    if isinstance(value, list):
        return ", ".join(map(label, value))
    return "(none)" if value is None else str(value)


def _groups(found: "GroupStatistics", limit: int | None = None) -> list[dict[str, Any]]:
    from gammabeta.data.passes.group_labels import SEVERAL, plain

    moments, extrema = found.moments.moments, found.extrema.extrema
    values = {"mean": moments.mean, "std": moments.std, "min": extrema.min, "max": extrema.max}
    several = found.by.type == SEVERAL
    return [
        {
            "label": json.loads(name) if several else plain(name),
            "rows": int(found.moments.rows[i]),
            "columns": [
                {"name": column.name, "count": int(moments.count[i, j])}
                | {key: finite_or_none(value[i, j]) for key, value in values.items()}
                for j, column in enumerate(found.columns)
            ],
        }
        for i, name in enumerate(found.labels[:limit])
    ]


def _or_nan(value: float | None) -> float:
    return float("nan") if value is None else value
