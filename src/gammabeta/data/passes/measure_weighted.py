"""The first pass where each row has a weight, in a column of the source: Σw, Σw·x and Σw·x², all exact."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from gammabeta.data.core import arrow_numpy, nested
from gammabeta.data.core.arrow_numpy import Vector
from gammabeta.data.core.infinities import infinity_error, row_place, without_infinities
from gammabeta.data.core.options import ProgressFn
from gammabeta.data.core.source import STACK_BELOW, Chunk, Column, Source, stacked
from gammabeta.data.core.statistics import Recipe, Statistics
from gammabeta.data.io.prefetch import prefetch
from gammabeta.data.io.remote import Place
from gammabeta.errors import DataError, KindError
from gammabeta.statistics import Extrema, Moments
from gammabeta.statistics.concat import concat

Weights = NDArray[np.float64]
Both = tuple[Moments, Extrema]
Block = tuple[list[int], Vector, Weights]
"""The places of some columns, their values (rows, columns), and what each row counts for them."""


def measured_weighted(
    source: Source, columns: tuple[Column, ...], weights: str, recipe: Recipe | None, progress: ProgressFn
) -> Statistics:
    """The statistics of numeric columns of an open source, each row weighted. `Restart` passes through to the caller.

    Raises:
        DataError: a weight is missing, negative or not finite, by its row; ±inf, unless it is to be left out.
        KindError: a column is of lists, whose numbers have no weight each.
    """
    names = [column.name for column in columns]
    total: Both | None = None
    rows, infinite = 0, np.zeros(len(names), np.int64)
    with source.unchanged():
        chunks = source.chunks([*names, weights])
        for chunk in prefetch(chunks, in_caller_thread=source.in_caller_thread):
            found, left = _of_chunk(chunk, names, weights_of(chunk, weights, source.path), source)
            total = found if total is None else (total[0] + found[0], total[1] + found[1])
            rows, infinite = rows + chunk.rows, infinite + left
            progress(chunk.done, source.size)
    none = np.empty((0, len(names)))
    moments, extrema = total or (Moments.of(none), Extrema.of(none))
    left_out = source.left_out(names)
    return Statistics(
        columns, rows, moments, extrema, recipe or Recipe(), source.read, left_out, tuple(infinite.tolist())
    )


def weights_of(chunk: Chunk, name: str, path: Place) -> Weights:
    """The checked weights of a chunk's rows, (rows,)."""
    values = chunk[name].astype(np.float64)
    wrong = np.flatnonzero(~(np.isfinite(values) & (values >= 0)))
    if len(wrong):
        at = int(wrong[0])
        raise DataError(
            f"weights must be finite and not negative, column {name!r} of {str(path)!r} holds "
            f"{'none' if np.isnan(values[at]) else values[at]} in {row_place(chunk.start + at)}; "
            "leave a row out with a weight of 0"
        )
    return values


def _of_chunk(chunk: Chunk, names: Sequence[str], weights: Weights, source: Source) -> tuple[Both, NDArray[np.int64]]:
    """The statistics of the columns in their order, and how many infinities were left out of each."""
    parts: list[Both] = []
    order: list[int] = []
    dropped = np.zeros(len(names), np.int64)
    for at, values, own in _blocks(chunk, names, weights, source.path):
        moments = Moments.of(values, weights=own)
        if moments.infinities.any():
            if source.read.infinite == "raise":
                _refuse(chunk, [names[i] for i in at], weights, source.path)
            dropped[at] = moments.infinities
            values = without_infinities(values)
            moments = Moments.of(values, weights=own)
        counted = own > 0
        extrema = Extrema.of(values if counted.all() else values[counted])
        parts.append((moments, extrema))
        order += at
    back = np.argsort(order)
    moments, extrema = concat(parts)
    return (moments[back], extrema[back]), dropped


def _refuse(chunk: Chunk, names: Sequence[str], weights: Weights, path: Place) -> None:
    """Raise for the first infinity that counts."""
    for name in names:
        values = chunk[name]
        found = np.flatnonzero(np.isinf(values) & (weights > 0))
        if len(found):
            raise infinity_error(name, float(values[found[0]]), chunk.start + int(found[0]), path)


def _blocks(chunk: Chunk, names: Sequence[str], weights: Weights, path: Place) -> Iterator[Block]:
    """The columns' values with their rows' weights; where rows are few, columns of one type of floats together."""
    alike: dict[np.dtype[Any], list[int]] = {}
    columns = [chunk.column(name) for name in names]
    for i, column in enumerate(columns):
        if nested.is_list(column.type):
            raise KindError(
                f"numbers of lists have no weight each, column {names[i]!r} of {str(path)!r} is pooled; leave it out"
            )
        values = arrow_numpy.raw(column)
        if values.dtype.kind == "f" and chunk.rows < STACK_BELOW:
            alike.setdefault(values.dtype, []).append(i)
            continue
        there = np.asarray(pc.is_valid(column)) if column.null_count else None
        yield [i], values[:, None], weights if there is None else np.where(there, weights, 0.0)
    for dtype, at in alike.items():
        yield at, stacked([arrow_numpy.filled(columns[i]) for i in at], dtype), weights
