"""A preview of scaling: each column's histogram before and after, and nothing written."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gammabeta.data.core.arrow_numpy import Vector
from gammabeta.data.core.options import ProgressFn
from gammabeta.data.core.sink import scaled_schema
from gammabeta.data.core.source import Column, Scaling, Source
from gammabeta.data.core.statistics import Recipe, Statistics
from gammabeta.data.io.peekable import single_pass_error
from gammabeta.data.io.prefetch import prefetch
from gammabeta.data.passes.measure import measure_source
from gammabeta.data.passes.scale import first_half, second_half
from gammabeta.data.passes.transform import unscaled
from gammabeta.errors import DataError

SAMPLE = 100_000  # values a column: a histogram of twelve bins shows no more of a million

Bins = NDArray[np.int64]


@dataclass(frozen=True)
class Preview:
    """What scaling a file would do: `before` and `after` are histograms, (k, bins), over each column's own range.

    `low` and `high` are the ends of the ranges afterwards, (k,); the statistics hold those before.
    """

    statistics: Statistics
    before: Bins
    after: Bins
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    converted: tuple[Column, ...]
    passed: tuple[Column, ...]


def preview_source(
    source: Source,
    recipe: Recipe | None,
    columns: Sequence[str] | None,
    exclude: Sequence[str] | None,
    bins: int,
    progress: ProgressFn,
) -> Preview:
    """The `Preview` of an open source. Arguments and errors are those of `gammabeta.data.preview`."""
    if source.single_pass:
        raise DataError(single_pass_error(str(source.path)))
    found = measure_source(source, columns, exclude, recipe, first_half(progress))
    if not found.rows:
        raise DataError(f"at least one row is needed to scale by, {str(source.path)!r} has none")
    affine, names = found.affine(), found.names
    fields = pa.schema([source.schema.field(name) for name in names])
    scaling = Scaling(names, affine, scaled_schema(fields, names))
    report_progress = second_half(progress)
    low, high = affine(found.extrema.min), affine(found.extrema.max)
    before, after = np.zeros((2, len(names), bins), np.int64)
    step = max(1, found.rows // SAMPLE)
    with source.unchanged():
        for chunk in prefetch(source.chunks(names), in_caller_thread=source.in_caller_thread):
            scaled = chunk.scaled(scaling)
            first = -chunk.start % step
            for i, name in enumerate(names):
                before[i] += _counts(chunk[name][first::step], found.extrema.min[i], found.extrema.max[i], bins)
                after[i] += _counts(scaled[name][first::step], low[i], high[i], bins)
            report_progress(chunk.done, source.size)
    return Preview(found, before, after, low, high, *unscaled(source, names))


def _counts(values: Vector, low: Any, high: Any, bins: int) -> Bins:
    """The histogram, (bins,), of finite values over low…high; all in the middle bin where low = high."""
    values = values[np.isfinite(values)].astype(np.float64) if values.dtype.kind == "f" else values.astype(np.float64)
    if not high > low:
        return np.bincount(np.full(len(values), bins // 2), minlength=bins)
    # halves, because max − min may be beyond the largest float
    place = (values / 2 - low / 2) / (high / 2 - low / 2) * bins
    return np.bincount(np.clip(place, 0, bins - 1).astype(np.int64), minlength=bins)
