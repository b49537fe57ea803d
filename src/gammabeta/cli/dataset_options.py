"""Options and messages of `gammabeta scale`, `apply` and `invert` for a folder's files."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gammabeta.cli.interrupts import resumable
from gammabeta.cli.progress import Meter
from gammabeta.cli.terminal import note

if TYPE_CHECKING:
    from gammabeta.data import Written

ONE_OR_MANY = "CSV, Parquet, Feather, Arrow IPC or .npy; or a folder, or a pattern in quotes, of one of them."
Inputs = Annotated[Path, typer.Argument(metavar="IN", help=ONE_OR_MANY)]
Workers = Annotated[
    int | None,
    typer.Option(min=1, metavar="N", help="Of many files: so many at once; as many as processors without it, up to 4."),
]
SkipBad = Annotated[bool, typer.Option("--skip-bad", help="Of many files: leave out those that cannot be read.")]


@contextmanager
def at_work(many: bool, output: Path) -> Iterator[Meter]:
    """A context with a progress bar; for many files, an interruption says how to go on."""
    with Meter() as meter:
        if not many:
            yield meter
            return
        message = f"interrupted; what is done is kept in {str(output)!r}: the same command goes on from there"
        with resumable(lambda: message):
            yield meter


def show_written(verb: str, name: str, written: "Written", as_json: bool, stats: Path | None) -> None:
    """Print what was written, and on stderr what was left out."""
    from gammabeta.cli import output as results

    for reason in () if written.files is None else written.files.bad.values():
        note(f"left out: {reason}")
    results.show_written(verb, name, written, as_json, stats)
