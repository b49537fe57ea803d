"""`gammabeta stats` of a data set: with a ledger, if the statistics are kept."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from gammabeta.cli.interrupts import resumable
from gammabeta.cli.progress import Meter
from gammabeta.cli.terminal import note
from gammabeta.errors import DataError, GammabetaError

if TYPE_CHECKING:
    from gammabeta.data import DataSet, ReadOptions, Recipe, Updated


def data_set_of(sources: Sequence[Path], read: "ReadOptions | None") -> "DataSet | None":
    """The data set named by the arguments: a folder, a pattern, or several data files of one format.

    None for anything else that has statistics: stats files among them, one file, files twice or of several formats.
    """
    from gammabeta.data.dataset.discovery import data_set, is_data_set

    if len(sources) == 1:
        return data_set(sources[0], read) if is_data_set(sources[0]) else None
    if any(map(is_data_set, sources)) or any(path.suffix.lower() == ".json" for path in sources):
        return None
    try:
        return data_set(list(sources), read)
    except GammabetaError:  # files one by one say best what is wrong with them
        return None


def updated(
    found: "DataSet",
    output: Path,
    columns: list[str] | None,
    exclude: list[str] | None,
    recipe: "Recipe | None",
    skip_bad: bool,
    check: int | None,
) -> "Updated":
    """Update the statistics, and note on stderr which files were left out."""
    from gammabeta import data
    from gammabeta.data.dataset.update import ledger_path

    ledger = ledger_path(output)
    with Meter() as meter:

        def state() -> str:
            done, files = meter.files
            return f"interrupted; {done} of {files} files are in {str(ledger)!r}: the same command goes on from there"

        with resumable(state):
            result = data.update(
                output,
                found,
                columns,
                exclude,
                recipe=recipe,
                skip_bad=skip_bad,
                check=check,
                progress=meter,
                on_file_done=meter.on_file_done,
            )
    for reason in result.bad.values():
        note(f"left out: {reason}")
    return result


def tell_ignored(found: "DataSet", output: Path | None) -> None:
    """Note on stderr which files of a folder are no data, apart from the stats file and its ledger."""
    from gammabeta.data.core.statistics import listed
    from gammabeta.data.dataset.update import ledger_path

    own = set() if output is None else {output.resolve(), ledger_path(output).resolve()}
    others = [name for name in found.ignored if (found.root / name).resolve() not in own]
    if others:
        note(f"left out, their names are not those of data: {listed(others)}")


def refuse(skip_bad: bool, check: bool, but: str = "") -> None:
    """Refuse options that need a ledger."""
    for option, given in (("--skip-bad", skip_bad), ("--check", check)):
        if given:
            raise DataError(f"{option} goes with a folder, a pattern or several data files, and with -o S.json{but}")
