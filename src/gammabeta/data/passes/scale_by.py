"""Scaling by group: each row by the statistics of its own group, in two passes over one source."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from gammabeta.affine import Affine
from gammabeta.data.core.options import ProgressFn
from gammabeta.data.core.results import Written
from gammabeta.data.core.source import Chunk, Source
from gammabeta.data.core.statistics import Recipe
from gammabeta.data.core.statistics_io import statistics_path
from gammabeta.data.formats.array import ArraySource
from gammabeta.data.formats.registry import check_output
from gammabeta.data.io.paths import changed, replacing
from gammabeta.data.io.peekable import single_pass_error
from gammabeta.data.passes.group_labels import columns_of_labels, labels_of_rows
from gammabeta.data.passes.groupby import GroupStatistics, check_labels, measure_groups
from gammabeta.data.passes.scale import first_half, second_half
from gammabeta.data.passes.transform import write_mapped
from gammabeta.errors import DataError, KindError
from gammabeta.statistics.factorize import found_or

Unseen = Literal["raise", "whole"]


def scale_source_by(
    source: Source,
    out: Path,
    by: str | Sequence[str],
    columns: Sequence[str] | None,
    exclude: Sequence[str] | None,
    recipe: Recipe | None,
    stats: str | Path | None,
    progress: ProgressFn,
) -> Written:
    """Scale an open source by group into the file `out`. Arguments and errors are those of `gammabeta.data.scale`."""
    _check(source, out)
    if source.single_pass:
        raise DataError(single_pass_error(str(source.path)))
    with ExitStack() as stack:
        stats_file = stack.enter_context(replacing(statistics_path(stats))) if stats is not None else None
        temporary = stack.enter_context(replacing(out))
        found = measure_groups(source, by, columns, exclude, first_half(progress))
        found = replace(found, recipe=recipe or Recipe())
        if stats_file is not None:
            stats_file.write_text(found.to_json(), "utf-8")
        if not found.rows:
            raise DataError(f"at least one row is needed to scale by, {str(source.path)!r} has none")
        written = _written(source, found, found.affine(), "raise", temporary, out, second_half(progress))
        if written.rows != found.rows:
            raise changed(source.path, f"it had {found.rows:,} rows and then {written.rows:,}")
        return written


def map_source_by(
    source: Source,
    known: GroupStatistics,
    direction: Callable[[Affine], Affine],
    unseen: Unseen,
    out: Path,
    progress: ProgressFn,
) -> Written:
    """Write an open source with each row mapped by its own group's map. Errors are those of `gammabeta.data.apply`."""
    if unseen not in ("raise", "whole"):
        raise DataError(f"unseen must be raise or whole, got {unseen!r}")
    _check(source, out)
    affine = known.affine()
    if unseen == "whole":
        affine = affine.with_row(known.total().affine())
    with replacing(out) as temporary:
        return _written(source, known, direction(affine), unseen, temporary, out, progress)


def _check(source: Source, out: Path) -> None:
    if isinstance(source, ArraySource):
        raise KindError(f"groups are of a table's rows, {str(source.path)!r} holds one array; leave by out")
    check_output(out, source)


def _written(
    source: Source,
    known: GroupStatistics,
    affine: Affine,
    unseen: Unseen,
    temporary: Path,
    out: Path,
    progress: ProgressFn,
) -> Written:
    by = columns_of_labels(known.by)
    check_labels(source, by)
    whole = len(known.labels)

    def places(chunk: Chunk) -> NDArray[np.intp]:
        labels = labels_of_rows(chunk, by)
        found = found_or(known.labels, labels, whole)
        new = np.flatnonzero(found == whole)
        if len(new) and unseen == "raise":
            raise DataError(
                f"every row must be of a group that has statistics, row {chunk.start + int(new[0]) + 1} of "
                f"{str(source.path)!r} has {labels[new[0]]!r} in {known.by.name!r}, which has none; scale such rows by "
                "the statistics of all: --unseen whole"
            )
        return found

    return write_mapped(source, known.total(), affine, temporary, out, progress, places)
