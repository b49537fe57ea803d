"""The options of a folder's files, and what is said when the work on them is interrupted."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from gammabeta.cli import Interrupted

Workers = Annotated[
    int | None, typer.Option(min=1, help="Of a folder: so many files at once. Without it one for each core, up to 4.")
]
SkipBad = Annotated[bool, typer.Option("--skip-bad", help="Of a folder: go on without files that cannot be used.")]


@contextmanager
def resumable(source: Path | None, output: Path) -> Iterator[None]:
    """Say at Ctrl-C how to go on, if it is a folder's files that are written."""
    try:
        yield
    except KeyboardInterrupt:
        if source is None or not source.is_dir():
            raise
        raise Interrupted(
            f"interrupted; what is finished in {str(output)!r} stays: run the same command again to go on"
        ) from None
