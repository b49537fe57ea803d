"""Output of the commands: tables for a person or, with `--json`, a document for a program."""

from collections.abc import Sequence
from math import isfinite, nan
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gammabeta._util.findings import finite_or_none
from gammabeta._util.findings import number as in_digits
from gammabeta.cli.terminal import Heading, say, say_json, say_table, visible, width

if TYPE_CHECKING:
    from gammabeta.data import Column, Files, Preview, Ranges, Statistics, Updated, Written

SHOWN = 40  # columns in a table; --json has them all
NAME = 10  # characters of a name at least: a table rather has one histogram or, if NARROW, no means and deviations
NARROW = 80
BARS = " ▁▂▃▄▅▆▇█"
FORMULAS = {
    "standard": "y = (x − mean) / std",
    "minmax": "y = (x − min) / (max − min)",
}


def bins() -> int:
    """The number of bars in a histogram, by the width of the terminal."""
    return 12 if width() >= 100 else 8


def spark(counts: Sequence[int]) -> str:
    """A histogram in one line of text: the fullest bin is a full block, an empty one a blank.

    >>> spark([1, 2, 0, 4])
    '▂▄ █'
    """
    highest = max(counts, default=0) or 1
    return "".join(BARS[-(-8 * int(count) // highest)] for count in counts)


def number(value: float) -> str:
    """A number in four digits, or in all those before its point up to ten million; – where there is none.

    The minus sign is the one that every terminal has.

    >>> number(0.15625), number(104999.0), number(123456789.0), number(float("nan"))
    ('0.1562', '104999', '1.235e+08', '–')
    """
    if not isfinite(value):
        return "–"
    return f"{value:.0f}" if 1e4 <= abs(value) < 1e7 else in_digits(value, minus="-")


def shortened(name: str, room: int) -> str:
    """A name cut in its middle to so many characters: names of one table often begin alike.

    >>> shortened("sensor_temperature_left", 12), shortened("left", 12)
    ('sensor…_left', 'left')
    """
    if len(name) <= room:
        return name
    end = (room - 1) // 2
    return f"{name[: room - 1 - end]}…{name[len(name) - end :]}"


def show_preview(name: str, found: "Preview", as_json: bool) -> None:
    """Print a preview: a table with a histogram of each column before and after."""
    if as_json:
        columns = _columns(found.statistics)
        for i, column in enumerate(columns):
            column |= {"before": found.before[i].tolist(), "after": found.after[i].tolist()}
            column |= {
                "scaled_min": finite_or_none(found.low[i]),
                "scaled_max": finite_or_none(found.high[i]),
            }
        say_json(_head(name, found.statistics) | {"columns": columns, **_others(found), "output": None})
        return
    statistics = found.statistics
    say(_title(name, statistics))
    rows = []
    spread = statistics.moments.with_ddof(statistics.recipe.ddof).std
    for i in range(min(SHOWN, len(statistics.columns))):
        before = [number(statistics.extrema.min[i]), spark(found.before[i]), number(statistics.extrema.max[i])]
        after = [number(found.low[i]), spark(found.after[i]), number(found.high[i])]
        rows.append([number(statistics.moments.mean[i]), number(spread[i]), *before, *after])
    _print_table(statistics, ["mean", "std", "min", "before", "max", "min", "after", "max"], rows)
    say("The same shape before and after: an affine map changes the axis, never the distribution.")
    _tell_others(found)
    say("Nothing was written; to write the scaled file: -o OUT")


def show_written(verb: str, name: str, written: "Written", as_json: bool, stats: Path | None) -> None:
    """Print what was written."""
    if as_json:
        outputs = {"output": str(written.path), "stats": None if stats is None else str(stats)}
        say_json(
            _head(name, written.statistics, written.rows)
            | {"columns": _columns(written.statistics)}
            | _others(written)
            | ({} if written.files is None else {"files": _outputs(written.files)})
            | outputs
        )
        return
    columns = many(len(written.statistics.columns), "column")
    files = "" if written.files is None else f"{many(written.files.written + written.files.unchanged, 'file')}, "
    say(f"{name}: {files}{many(written.rows, 'row')}, {columns} {verb} → {written.path}")
    _tell_infinite(written.statistics)
    _tell_others(written)
    if written.files is not None:
        _tell_outputs(written.files)
    if stats is not None:
        say(f"statistics kept in {stats}, for: gammabeta apply {stats} IN -o OUT")


def show_statistics(
    names: Sequence[str], found: "Statistics", as_json: bool, output: Path | None, files: "Updated | None" = None
) -> None:
    """Print statistics as a table or JSON. files: which files they are of, where there is a ledger."""
    name = ", ".join(names) if len(names) <= 3 else f"{len(names)} files"
    if as_json:
        of_files = {} if files is None else {"files": _files(files)}
        stats_file = None if output is None else str(output)
        left_out = {"left_out": _reasons(found.left_out)}
        document = _head(list(names), found) | {"columns": _columns(found)} | left_out | of_files
        say_json(document | {"output": stats_file})
        return
    weighted = "" if found.read.weights is None else f", weighted by {found.read.weights}"
    say(f"{name}: {many(found.rows, 'row')}{weighted}")
    spread = found.moments.with_ddof(found.recipe.ddof).std
    values = (found.moments.mean, spread, found.extrema.min, found.extrema.max)
    rows = [[column.type, *(number(value[i]) for value in values)] for i, column in enumerate(found.columns[:SHOWN])]
    _print_table(found, ["type", "mean", "std", "min", "max"], rows)
    _tell_infinite(found)
    _tell_left_out(found.left_out)
    if files is not None:
        _tell_files(files)
    if output is not None:
        say(f"kept in {output}, for: gammabeta apply {output} IN -o OUT")


def _files(files: "Updated") -> dict[str, Any]:
    bad = [{"file": name, "reason": reason} for name, reason in files.bad.items()]
    names = {"read": files.read, "gone": files.gone, "checked": files.checked}
    return {"unchanged": files.unchanged, **{key: list(value) for key, value in names.items()}, "bad": bad}


def _tell_files(files: "Updated") -> None:
    parts = [f"{many(len(files.read), 'file')} read", f"{files.unchanged:,} as before"]
    parts += [f"{len(files.gone):,} gone"] if files.gone else []
    parts += [f"{len(files.bad):,} left out"] if files.bad else []
    say(", ".join(parts))
    if files.checked:
        shown = ", ".join(files.checked[:8])
        more = f" and {len(files.checked) - 8} more" if len(files.checked) > 8 else ""
        say(f"read again and found the same: {shown}{more}")


def show_page(found: dict[str, Any], output: Path, as_json: bool) -> None:
    """Print a summary of the page that was written."""
    if as_json:
        say_json(found | {"output": str(output)})
        return
    names = " → ".join(file["name"] for file in found["files"])
    say(f"{names}: {many(len(found['columns']), 'column')} → {output}")
    for text in found["between"]:
        say(text)
    for side, only in found["only"].items():
        say(f"only in {side}: {', '.join(only[:8])}{f' and {len(only) - 8} more' if len(only) > 8 else ''}")
    for kind in found["kinds"]:
        at = [c["name"] for c in found["columns"] if any(f["kind"] == kind["key"] for f in c["findings"])]
        if at:
            more = f" and {len(at) - 8} more" if len(at) > 8 else ""
            say(f"{kind['title'].lower()}: {', '.join(at[:8])}{more}")


def many(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def _title(name: str, found: "Statistics") -> str:
    formula = FORMULAS[found.recipe.method]
    if found.recipe.method == "minmax" and found.recipe.feature_range != (0, 1):
        formula += " · ({1:g} − {0:g}) + {0:g}".format(*found.recipe.feature_range)
    return f"{name}: {many(found.rows, 'row')}, {many(len(found.columns), 'column')} to scale by {formula}"


def _print_table(found: "Statistics", headers: list[str], rows: list[list[str]]) -> None:
    """Print a row for each column, with its missing values if any column has some; long names are cut in the middle."""
    missing = (found.rows - found.extrema.count).clip(min=0)  # rows hold many values of lists that are pooled
    if missing.any() and found.read.weights is None:
        headers = [*headers, "missing"]
        rows = [[*row, f"{count:,.0f}"] for count, row in zip(missing, rows, strict=False)]
    if headers[:2] == ["mean", "std"] and _room(headers, rows) < NAME:
        left_out = (headers.index("after"),) if width() >= NARROW else (0, 1)  # the histogram is the one before
        headers, *rows = [[cell for i, cell in enumerate(r) if i not in left_out] for r in (headers, *rows)]
    room = max(_room(headers, rows), NAME)
    headings = [Heading("column", left=True)]
    for i, header in enumerate(headers):
        left = header in ("before", "after", "type") or headers[i - 1] in ("before", "after")
        headings.append(Heading(header, left))
    names = (visible(column.name) for column in found.columns)
    cut = (shortened(name, room) for name in names)
    say_table(headings, [[name, *row] for name, row in zip(cut, rows, strict=False)])
    if len(found.columns) > SHOWN:
        say(f"… and {len(found.columns) - SHOWN:,} more columns (--json shows all)")


def _room(headers: list[str], rows: list[list[str]]) -> int:
    """The width in characters that the terminal leaves for names."""
    return width() - 2 - sum(max(map(len, cells)) + 2 for cells in zip(headers, *rows, strict=True))


def _tell_others(found: "Preview | Written") -> None:
    if found.passed:
        say(f"passed through untouched: {_listed(found.passed, reasons=True)}")
    if found.converted:
        say(f"float64 once scaled: {_listed(found.converted)}")


def _tell_infinite(found: "Statistics | Ranges") -> None:
    """Say how many values were infinite and left out."""
    counts = getattr(found, "infinite", ())
    at = [i for i, count in enumerate(counts) if count]
    if at:
        more = f" and {len(at) - 8} more columns" if len(at) > 8 else ""
        say(f"infinite, left out: {', '.join(f'{found.names[i]} ({counts[i]:,})' for i in at[:8])}{more}")


def _tell_left_out(columns: "Sequence[Column]") -> None:
    """Say which columns have no statistics, and why: first those that only a cell or two make text."""
    unfit = [column for column in columns if column.skip_reason != "not selected"]
    unfit.sort(key=lambda column: ":" not in column.skip_reason)
    if unfit:
        say(f"left out: {_listed(unfit, reasons=True)}")
    if len(unfit) < len(columns):
        say(f"not selected: {many(len(columns) - len(unfit), 'column')}")


def _listed(columns: "Sequence[Column]", reasons: bool = False) -> str:
    parts = [f"{c.name} ({c.type}{_reason(c) if reasons else ''})" for c in columns[:8]]
    return ", ".join(parts) + (f" and {len(columns) - 8} more" if len(columns) > 8 else "")


def _reason(column: "Column") -> str:
    """A column's reason to be left out, if it says more than the type does."""
    known = ("", "not selected", "not numeric", "empty")
    return "" if column.skip_reason in known else f", {column.skip_reason.removeprefix('not numeric: ')}"


def _reasons(columns: "Sequence[Column]") -> list[dict[str, str]]:
    return [{"name": c.name, "type": c.type, "reason": c.skip_reason} for c in columns]


def _head(name: Any, found: "Statistics | Ranges", rows: int | None = None) -> dict[str, Any]:
    return {"input": name, "rows": found.rows if rows is None else rows, "scaling": found.recipe.document()}


def _columns(found: "Statistics | Ranges") -> list[dict[str, Any]]:
    from gammabeta.data import Ranges

    affine = found.affine()
    unknown = [nan] * len(found.columns)
    values = {
        "mean": unknown if isinstance(found, Ranges) else found.moments.mean,
        "std": unknown if isinstance(found, Ranges) else found.moments.with_ddof(found.recipe.ddof).std,
        "min": found.extrema.min,
        "max": found.extrema.max,
        "center": affine.center,
        "slope": affine.slope,
        "shift": affine.shift,
    }
    counts: dict[str, Any] = {"count": found.extrema.count}
    if getattr(found, "infinite", ()):
        counts["infinite"] = getattr(found, "infinite", ())
    return [
        {
            "name": column.name,
            "type": column.type,
            **{key: int(value[i]) if isfinite(value[i]) else None for key, value in counts.items()},
            **{key: finite_or_none(value[i]) for key, value in values.items()},
        }
        for i, column in enumerate(found.columns)
    ]


def _outputs(files: "Files") -> dict[str, Any]:
    bad = [{"file": name, "reason": reason} for name, reason in files.bad.items()]
    stale, left_out = list(files.stale), list(files.left_out)
    return {"written": files.written, "unchanged": files.unchanged, "bad": bad, "stale": stale, "left_out": left_out}


def _tell_outputs(files: "Files") -> None:
    if files.unchanged:
        say(f"{many(files.unchanged, 'file')} of an earlier run as before, {files.written:,} written")
    for title, names in (
        ("no data, left out", files.left_out),
        ("left over from earlier runs, of files that were not scaled now", files.stale),
    ):
        if names:
            say(f"{title}: {', '.join(names[:8])}{f' and {len(names) - 8} more' if len(names) > 8 else ''}")


def _others(found: "Preview | Written") -> dict[str, Any]:
    return {"passed_through": _reasons(found.passed), "converted_to_float64": [c.name for c in found.converted]}
