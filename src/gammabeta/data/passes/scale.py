"""Both passes over one source: measure it, then write it scaled by its own statistics."""

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from gammabeta.data.core.options import ProgressFn
from gammabeta.data.core.results import Written
from gammabeta.data.core.source import Source
from gammabeta.data.core.statistics import Ranges, Recipe, Statistics
from gammabeta.data.core.statistics_io import statistics_path
from gammabeta.data.formats.registry import check_output
from gammabeta.data.io.paths import changed, replacing
from gammabeta.data.io.peekable import single_pass_error
from gammabeta.data.passes.measure import measure_source
from gammabeta.data.passes.minmax import ranges
from gammabeta.data.passes.transform import write
from gammabeta.errors import DataError


def scale_source(
    source: Source,
    out: Path,
    columns: Sequence[str] | None,
    exclude: Sequence[str] | None,
    recipe: Recipe | None,
    stats: str | Path | None,
    footers: bool,
    progress: ProgressFn,
) -> Written:
    """Scale an open source into the file `out`. Arguments and errors are those of `gammabeta.data.scale`."""
    check_output(out, source)
    if source.single_pass:
        raise DataError(single_pass_error(str(source.path)))
    with ExitStack() as stack:
        stats_file = stack.enter_context(replacing(statistics_path(stats))) if stats is not None else None
        temporary = stack.enter_context(replacing(out))
        found: Statistics | Ranges
        if footers and stats_file is None and recipe is not None and recipe.method == "minmax":
            found = ranges(source, columns, exclude, recipe, first_half(progress))
        else:
            found = measure_source(source, columns, exclude, recipe, first_half(progress))
            if stats_file is not None:
                stats_file.write_text(found.to_json(), "utf-8")
        if not found.rows:
            raise DataError(f"at least one row is needed to scale by, {str(source.path)!r} has none")
        written = write(source, found, found.affine(), temporary, out, second_half(progress))
        if written.rows != found.rows:  # the times of some file systems are of whole seconds
            raise changed(source.path, f"it had {found.rows:,} rows and then {written.rows:,}")
        return written


def first_half(progress: ProgressFn) -> ProgressFn:
    """The `ProgressFn` of the first of two passes, each over the whole file."""
    return lambda done, size: progress(done, 2 * size)


def second_half(progress: ProgressFn) -> ProgressFn:
    """The `ProgressFn` of the second of two passes, each over the whole file."""
    return lambda done, size: progress(size + done, 2 * size)
