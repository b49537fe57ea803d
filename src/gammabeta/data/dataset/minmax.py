"""The least and greatest values of a data set of Parquet files, from their footers where those can be believed."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from gammabeta.data.core.columns import selected
from gammabeta.data.core.options import ignore_progress
from gammabeta.data.core.statistics import Ranges, Recipe
from gammabeta.data.dataset.discovery import DataSet, none_good
from gammabeta.data.dataset.file_statistics import taken
from gammabeta.data.dataset.schema import SchemaCheck
from gammabeta.data.formats.registry import open_source
from gammabeta.data.passes.minmax import completed
from gammabeta.errors import FileError
from gammabeta.statistics import Extrema


def ranges_of_set(
    found: DataSet,
    columns: Sequence[str] | None,
    exclude: Sequence[str] | None,
    recipe: Recipe | None,
    bad: dict[str, str] | None,
) -> Ranges:
    """The ranges of a data set of Parquet files. bad: filled with unreadable files' errors; None to raise them."""
    schema, rows = SchemaCheck(columns, exclude, found.read.union), 0
    total: dict[str, Extrema] = {}
    for place, part in enumerate(found.parts):
        try:
            source = open_source(part.path, read=found.read)
            chosen = taken(source.columns, columns, exclude, part.path, found.read.union)
            known = completed(source.footer_minmax([column.name for column in chosen]), source, chosen, ignore_progress)
        except FileError as error:
            if bad is None:
                raise
            bad[part.name] = str(error)
            continue
        schema.look(place, part.path, source.columns)
        rows += source.rows or 0
        for name, extrema in known.items():
            total[name] = total[name] + extrema if name in total else extrema
    if bad and len(bad) == len(found.parts):
        raise none_good(bad)
    chosen = selected(schema.together(), columns, exclude, Path(found.where))
    none = Extrema.of(np.empty(0))
    return Ranges(chosen, rows, Extrema.stack([total.get(c.name, none) for c in chosen]), recipe or Recipe("minmax"))
