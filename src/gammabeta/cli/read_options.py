"""The options of the commands that say how a file is read."""

import inspect
from collections.abc import Callable
from functools import wraps
from typing import Annotated, Any

import typer

from gammabeta.cli.names import split_names
from gammabeta.errors import DataError

# Each option, by the argument of `ReadOptions` that it gives.
_OPTIONS: dict[str, tuple[Any, Any]] = {
    "missing": (
        Annotated[
            list[str] | None,
            typer.Option(
                help="Words for no value in CSV, beside NA, null and the like; a number, such as -9999, is a sentinel. "
                "May be repeated.",
                metavar="WORD",
            ),
        ],
        None,
    ),
    "delimiter": (
        Annotated[str | None, typer.Option(help="Between the cells of CSV; tab for a tab.", metavar="SIGN")],
        None,
    ),
    "decimal": (Annotated[str | None, typer.Option(help="The decimal sign of CSV: . or ,", metavar="SIGN")], None),
    "thousands": (Annotated[str | None, typer.Option(help="Between groups of digits in CSV.", metavar="SIGN")], None),
    "comment": (Annotated[str | None, typer.Option(help="Leave out lines that begin with it.", metavar="TEXT")], None),
    "skip_rows": (
        Annotated[int | None, typer.Option(min=0, help="Lines of CSV before the header.", metavar="N")],
        None,
    ),
    "no_header": (Annotated[bool, typer.Option("--no-header", help="No line of CSV names the columns.")], False),
    "encoding": (Annotated[str | None, typer.Option(help="Of CSV, such as latin-1.", metavar="NAME")], None),
    "flatten": (
        Annotated[
            list[str] | None,
            typer.Option(
                help="Columns of lists whose numbers are pooled, each in one statistic. May be repeated.",
                metavar="NAMES",
            ),
        ],
        None,
    ),
    "infinite": (
        Annotated[
            str | None,
            typer.Option(
                help="raise: refuse infinities. omit: count them as missing and say how many.", metavar="RULE"
            ),
        ],
        None,
    ),
    "weights": (
        Annotated[
            str | None,
            typer.Option(help="The column that says how much each row counts in statistics.", metavar="NAME"),
        ],
        None,
    ),
    "union": (
        Annotated[
            bool, typer.Option("--union", help="Of many files: a column that only some have is missing in the others.")
        ],
        False,
    ),
    "format": (
        Annotated[
            str | None,
            typer.Option(help="Of files whose name does not say it: csv, parquet, arrow, npy, npz.", metavar="NAME"),
        ],
        None,
    ),
}


def with_read_options(command: Callable[..., None]) -> Callable[..., None]:
    """A command with these options, which come to it as `read`: a `ReadOptions`, None where none is given."""
    signature = inspect.signature(command)
    own = [parameter for name, parameter in signature.parameters.items() if name != "read"]
    kind = inspect.Parameter.KEYWORD_ONLY
    added = [
        inspect.Parameter(name, kind, default=default, annotation=annotation)
        for name, (annotation, default) in _OPTIONS.items()
    ]

    @wraps(command)
    def wrapper(**given: Any) -> None:
        options = {name: given.pop(name) for name in _OPTIONS}
        command(**given, read=_read_options(options))

    own = [parameter.replace(kind=kind) for parameter in own]
    wrapper.__signature__ = inspect.Signature([*own, *added])  # type: ignore[attr-defined]
    hints = {name: hint for name, hint in command.__annotations__.items() if name != "read"}
    wrapper.__annotations__ = hints | {name: annotation for name, (annotation, _) in _OPTIONS.items()}
    return wrapper


def _read_options(given: dict[str, Any]) -> Any:
    from gammabeta.data import ReadOptions

    options = {name: value for name, value in given.items() if value not in (None, False, [])}
    if options.get("delimiter") in ("tab", "\\t"):
        options["delimiter"] = "\t"
    if "flatten" in options:
        options["flatten"] = split_names(options["flatten"])
    if options.pop("no_header", False):
        options["header"] = False
    try:
        return ReadOptions(**options) if options else None
    except DataError as error:
        name, _, rest = str(error).partition(" ")
        if f"{name}" in _OPTIONS:
            raise DataError(f"--{name.replace('_', '-')} {rest}") from None
        raise
