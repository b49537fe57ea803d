"""The second pass over a data set: its files are scaled, one by one, into a folder of the same structure.

However a run ends, by Ctrl-C, a kill or a bad file, the same call goes on from there, and the folder comes out as if
nothing had happened. What that goes by is in the output's folder, under `.gammabeta`.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from gammabeta.affine import Affine
from gammabeta.data.core.options import RunOptions
from gammabeta.data.core.results import Written
from gammabeta.data.core.statistics import Ranges, Recipe, Statistics
from gammabeta.data.dataset.discovery import DataSet
from gammabeta.data.dataset.file_jobs import FileJobs, stamped
from gammabeta.data.dataset.manifest import FOLDER, locked, refuse_links
from gammabeta.data.dataset.minmax import ranges_of_set
from gammabeta.data.dataset.update import update_set
from gammabeta.data.io.paths import OutputError, writing


def scale_folder(
    source: DataSet,
    out: Path,
    columns: Sequence[str] | None,
    exclude: Sequence[str] | None,
    recipe: Recipe | None,
    stats: str | Path | None,
    footers: bool,
    options: RunOptions,
) -> Written:
    """Scale a folder's files by the statistics of all of them. See `scale`."""
    stamps, read = stamped(source), 0
    bytes_ = sum(stamp.size for stamp in stamps.values())

    def first(done: int, size: int) -> None:
        nonlocal read
        read = size
        options.report_progress(done, size + bytes_)

    def second(done: int, size: int) -> None:
        options.report_progress(read + done, read + size)

    with prepared(source, out):
        known: Statistics | Ranges
        bad: dict[str, str] = {}
        by_footers = footers and stats is None and source.format == "parquet" and source.read.weights is None
        if by_footers and recipe and recipe.method == "minmax":
            known = ranges_of_set(source, columns, exclude, recipe, bad if options.skip_bad else None)
        else:
            found = update_set(
                source,
                stats or out / FOLDER / "stats.json",
                columns,
                exclude,
                recipe=recipe,
                skip_bad=options.skip_bad,
                check=None,
                progress=first,
                on_file_done=options.on_file_done,
            )
            known, bad = found.statistics, found.bad
        return FileJobs(source, stamps, known, known.affine(), out, bad, replace(options, report_progress=second)).run()


def map_folder(known: Statistics, affine: Affine, source: DataSet, out: Path, options: RunOptions) -> Written:
    """Scale a folder's files by a given map. See `apply`."""
    stamps = stamped(source)
    with prepared(source, out):
        return FileJobs(source, stamps, known, affine, out, {}, options).run()


@contextmanager
def prepared(source: DataSet, out: Path) -> Iterator[None]:
    """A context with a checked, locked output folder, which is apart from the source.

    Raises:
        FileError: one folder is in the other, the output cannot be written in, or another run writes to it.
    """
    there = out.resolve()
    above = {folder for part in source.parts for folder in part.path.resolve().parents}
    whole = {Path(source.where).resolve()} if Path(source.where).is_dir() else set()
    if there in above or whole & {there, *there.parents}:
        raise OutputError(f"the output must be a folder apart from {source.where!r}, {str(out)!r} is not; take another")
    if out.exists() and not out.is_dir():
        raise OutputError(f"the output of a folder must be a folder, {str(out)!r} is a file; take another name")
    if not there.parent.is_dir():
        raise OutputError(f"cannot write {str(out)!r}: there is no folder {str(there.parent)!r}; make it first")
    refuse_links(out, (part.name for part in source.parts))
    with writing(out):
        out.mkdir(exist_ok=True)
    with locked(out):
        yield
