"""`gammabeta export`: a map in the terms of what runs it where there is no gammabeta."""

import pickle
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gammabeta.cli.terminal import say
from gammabeta.errors import DataError, StateError

if TYPE_CHECKING:
    from gammabeta.scalers import MinMaxScaler, StandardScaler


class To(StrEnum):
    """The values of `--to`."""

    sql = "sql"
    onnx = "onnx"
    torch = "torch"
    polars = "polars"
    sklearn = "sklearn"
    c = "c"
    json = "json"


def export(
    stats: Annotated[
        Path, typer.Argument(metavar="S.json", help="Statistics that scale or stats wrote, or a scaler's JSON.")
    ],
    to: Annotated[To, typer.Option(help="What is to run the map.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The file to write.")],
    table: Annotated[str | None, typer.Option(help="With sql: the table to read from.", metavar="NAME")] = None,
    dialect: Annotated[
        str | None,
        typer.Option(help="With sql: ansi, duckdb, postgresql, bigquery, spark or sqlite.", metavar="NAME"),
    ] = None,
    name: Annotated[str | None, typer.Option(help="With c: the function's name; scale without it.")] = None,
) -> None:
    """Write a fitted map as what runs where gammabeta is not.

    \b
      gammabeta export s.json --to sql --table people --dialect duckdb -o scale.sql
      gammabeta export s.json --to onnx -o scale.onnx     from "x" to "y", float32, double inside
      gammabeta export s.json --to torch -o scale.pt2     a torch.export program
      gammabeta export s.json --to c --name scale -o scale.h
      gammabeta export s.json --to polars -o scaling.py   a module with the list `expressions`
      gammabeta export s.json --to sklearn -o scaler.pkl  a pickle of scikit-learn's own scaler
      gammabeta export s.json --to json -o map.json       columns, center, slope, shift, limits

    All give the numbers of apply; the page "Ship a scaler" says where they round.
    """
    from gammabeta.data.io.paths import replacing
    from gammabeta.export import polars_expressions

    for given, value, wanted in (("--table", table, To.sql), ("--dialect", dialect, To.sql), ("--name", name, To.c)):
        if value is not None and to is not wanted:
            raise DataError(f"{given} goes with --to {wanted}, got --to {to}")
    if to is To.sql and table is None:
        raise DataError("--to sql needs --table, the table to read from")
    known = _known(stats)
    if to is To.torch:
        with replacing(output) as temporary:
            _save_program(known, temporary)
        say(f"{stats} as {to} → {output}")
        return
    if to is To.sql:
        written: str | bytes = known.to_sql(None, table or "", dialect=dialect or "ansi") + ";\n"  # type: ignore[arg-type]
    elif to is To.onnx:
        written = known.to_onnx().SerializeToString()
    elif to is To.c:
        written = known.to_c(name or "scale")
    elif to is To.polars:
        fitted = known._fitted_map().checked()
        written = polars_expressions.module(fitted.columns(None), fitted.features, fitted.limits)
    elif to is To.json:
        written = known._fitted_map().to_json()
    else:
        written = pickle.dumps(known.to_sklearn())
    with replacing(output) as temporary:
        temporary.write_bytes(written.encode() if isinstance(written, str) else written)
    say(f"{stats} as {to} → {output}")


def _known(path: Path) -> "StandardScaler | MinMaxScaler":
    """The scaler in a file: one that was saved, or the one that the statistics of a file's columns give."""
    from gammabeta.data.core.statistics import FORMAT
    from gammabeta.data.core.statistics_io import contents, load
    from gammabeta.data.io.paths import existing
    from gammabeta.data.io.remote import located
    from gammabeta.scalers import MinMaxScaler, StandardScaler
    from gammabeta.statistics import serialization

    try:
        document = serialization.parsed(contents(existing(located(str(path))), FORMAT))
    except StateError:
        document = None
    kind = document.get("format") if isinstance(document, dict) else None
    for scaler in StandardScaler, MinMaxScaler:
        if kind == scaler._format:
            return scaler.from_json(path.read_bytes())
    return _of_statistics(load(str(path)))


def _of_statistics(found: Any) -> "StandardScaler | MinMaxScaler":
    """The scaler of a stats file, with its columns' names."""
    from gammabeta.scalers import MinMaxScaler, StandardScaler

    recipe = found.recipe
    scaler: StandardScaler | MinMaxScaler
    if recipe.method == "minmax":
        scaler = MinMaxScaler.from_extrema(found.extrema, feature_range=recipe.feature_range)
    else:
        scaler = StandardScaler.from_moments(found.moments, ddof=recipe.ddof)
    scaler._name_features(len(found.names), found.names)
    return scaler


def _save_program(known: Any, path: Path) -> None:
    try:
        from gammabeta.torch.norm.normalize import save_program
    except ModuleNotFoundError:
        raise DataError("--to torch needs PyTorch, which is not installed: pip install torch") from None
    save_program(known, path)
