"""A folder is scaled: the statistics of all its files first, then file by file into a folder of the same shape.

However a run ends, by Ctrl-C, a kill or a bad file, the same call goes on from there, and the folder comes out as if
nothing had happened. What that goes by is in the output's folder, under `.gammabeta`.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from gammabeta.affine import Affine
from gammabeta.data.dataset import DataSet, Part
from gammabeta.data.files import OutputError, writing
from gammabeta.data.first_pass import Progress, ranges
from gammabeta.data.journal import Mark, locked
from gammabeta.data.second_pass import Written
from gammabeta.data.state import Ranges, Recipe, Statistics
from gammabeta.data.store import gather
from gammabeta.data.work import Bad, Work
from gammabeta.errors import DataError, GammabetaError

AT_ONCE = 4  # files: each takes up to 100 MB


def scale_folder(
    source: DataSet,
    out: Path,
    *,
    recipe: Recipe | None,
    columns: Sequence[str] | None,
    exclude: Sequence[str] | None,
    stats: Path | None,
    footers: bool,
    workers: int | None,
    skip_bad: bool,
    progress: Progress,
) -> Written:
    """Scale a folder's files by the statistics of all of them. See `scale`."""
    marks = {part: Mark.of(part.path) for part in source.parts}
    bad: Bad = {}
    with prepared(source, out):
        known: Statistics | Ranges
        if footers and stats is None and recipe is not None and recipe.method == "minmax":
            known = _ranges(source.parts, columns, exclude, recipe, bad if skip_bad else None)
        else:
            known = gather([p.path for p in source.parts], columns, exclude, recipe=recipe)
        good = {part: mark for part, mark in marks.items() if part.name not in bad}
        work = Work(good, known, known.affine(), out, bad, lambda done, size: progress(size + done, 2 * size))
        return work.run(workers or _at_once(), skip_bad, left_out(source))


def map_folder(
    known: Statistics,
    affine: Affine,
    source: DataSet,
    out: Path,
    *,
    workers: int | None,
    skip_bad: bool,
    progress: Progress,
) -> Written:
    """Put a folder's files through a map that is there already. See `apply`."""
    marks = {part: Mark.of(part.path) for part in source.parts}
    with prepared(source, out):
        return Work(marks, known, affine, out, {}, progress).run(workers or _at_once(), skip_bad, left_out(source))


def left_out(source: DataSet) -> tuple[str, ...]:
    """The names of what is no data, and of what others write beside it: `_metadata` would no longer be true."""
    beside = [path.name for path in source.root.glob("_*") if path.is_file()]
    return tuple(sorted([*source.ignored, *beside]))


def _at_once() -> int:
    return min(AT_ONCE, len(os.sched_getaffinity(0)))


def _ranges(
    parts: Sequence[Part], columns: Sequence[str] | None, exclude: Sequence[str] | None, recipe: Recipe, bad: Bad | None
) -> Statistics | Ranges:
    """The ranges of all files' columns together; the reasons of bad ones go to `bad`, where there is such a thing."""
    total: Statistics | Ranges | None = None
    for part in parts:
        try:
            found = ranges(part.path, columns, exclude, recipe=recipe)
            total = found if total is None else total + found
        except GammabetaError as error:
            if bad is None:
                raise
            bad[part.name] = str(error)
    if total is None:
        raise DataError("no good file")
    return total


@contextmanager
def prepared(source: DataSet, out: Path) -> Iterator[None]:
    """An output folder that is there, apart from the source, and ours alone as long as the work lasts.

    Raises:
        FileError: one folder is in the other, the output cannot be written in, or another run writes to it.
    """
    there = out.resolve()
    above = {folder for part in source.parts for folder in part.path.resolve().parents}
    whole = Path(source.where).is_dir() and Path(source.where).resolve()
    if there in above or (whole and whole in (there, *there.parents)):
        raise OutputError(f"the output must be a folder apart from {source.where!r}, {str(out)!r} is not; take another")
    if out.exists() and not out.is_dir():
        raise OutputError(f"the output of a folder must be a folder, {str(out)!r} is a file; take another name")
    if not there.parent.is_dir():
        raise OutputError(f"cannot write {str(out)!r}: there is no folder {str(there.parent)!r}; make it first")
    with writing(out):
        out.mkdir(exist_ok=True)
    with locked(out):
        yield
