"""The first pass: the exact statistics of one source's columns."""

from collections.abc import Iterator, Sequence

import numpy as np

from gammabeta.data.core.arrow_numpy import Vector
from gammabeta.data.core.columns import selected
from gammabeta.data.core.infinities import refuse_infinities, without_infinities
from gammabeta.data.core.options import ProgressFn, ignore_progress
from gammabeta.data.core.source import Chunk, Column, Restart, Source
from gammabeta.data.core.statistics import Recipe, Statistics, no_column
from gammabeta.data.formats.array import ArraySource
from gammabeta.data.io.parallel import ItemProgressFn, map_concurrently
from gammabeta.data.io.prefetch import prefetch
from gammabeta.data.passes.measure_array import of_features
from gammabeta.data.passes.measure_weighted import measured_weighted
from gammabeta.errors import DataError
from gammabeta.kernels import thread_pool
from gammabeta.statistics import Extrema, Moments
from gammabeta.statistics.concat import concat, of_columns

Both = tuple[Moments, Extrema]
Group = tuple[str, ...]
Totals = dict[Group, Both]
Share = tuple[Totals, dict[str, int], dict[str, int]]
"""The statistics by block of columns; of each column the number of rows, and of infinities that were left out."""

AT_ONCE = 4  # shares of a file's columns at most, on any number of processors: each takes some 30 MB


def measure_source(
    source: Source,
    columns: Sequence[str] | None = None,
    exclude: Sequence[str] | None = None,
    recipe: Recipe | None = None,
    progress: ProgressFn = ignore_progress,
) -> Statistics:
    """The statistics of an open source. Arguments and errors are those of `gammabeta.data.measure`."""
    while True:
        try:
            return measured(source, selected(source.measurable(), columns, exclude, source.path), recipe, progress)
        except Restart:
            continue


def source_moments(source: Source, columns: Sequence[str] | None) -> Moments:
    """The moments of an open source: shape (k,), or the features' shape of an array of which no columns are named."""
    if isinstance(source, ArraySource) and columns is None:
        return of_features(source, ignore_progress)[1]
    return measure_source(source, columns).moments


def measured(source: Source, columns: tuple[Column, ...], recipe: Recipe | None, progress: ProgressFn) -> Statistics:
    """The statistics of one or more numeric columns of an open source. `Restart` passes through to the caller."""
    names = tuple(column.name for column in columns)
    if isinstance(source, ArraySource):
        return _measured_array(source, columns, recipe, progress)
    if source.read.weights is not None:
        return measured_weighted(source, columns, source.read.weights, recipe, progress)
    totals: Totals = {}
    infinite = dict.fromkeys(names, 0)
    rows = dict.fromkeys(names, 0)
    with source.unchanged():
        for part, found, dropped in _parts(source, names, progress):
            rows |= found
            infinite |= dropped
            for key, both in part.items():
                totals[key] = added(totals[key], both) if key in totals else both
    moments, extrema = in_order(totals, names)
    left_out = source.left_out(names)
    left = tuple(infinite.values())
    return Statistics(columns, rows[names[0]], moments, extrema, recipe or Recipe(), source.read, left_out, left)


def _parts(source: Source, names: tuple[str, ...], progress: ProgressFn) -> Iterator[Share]:
    """For every share of the columns: its statistics."""

    def share(group: tuple[str, ...], report_progress: ItemProgressFn) -> Share:
        return _total(source, source.pieces(group), lambda done: report_progress(done * len(group) // len(names)))

    alone = thread_pool.count() == 1
    shares = [] if alone else source.shares(names)
    if len(shares) <= 1:
        pieces = prefetch(source.pieces(names), in_caller_thread=source.in_caller_thread or alone)
        yield _total(source, pieces, lambda done: progress(done, source.size))
        return
    sizes = [source.size * len(group) // len(names) for group in shares]
    for _, found in map_concurrently(share, shares, sizes, AT_ONCE, lambda done: progress(done, source.size)):
        yield found


def _total(source: Source, pieces: Iterator[tuple[Group, Chunk]], report_progress: ItemProgressFn) -> Share:
    totals: Totals = {}
    rows: dict[str, int] = {}
    infinite: dict[str, int] = {}
    for group, piece in pieces:
        for name in group:
            rows[name] = rows.get(name, 0) + piece.rows
        both = of_columns(piece.columns(group))
        if both[0].infinities.any():
            if source.read.infinite == "raise":
                refuse_infinities(piece, group, source.path)
            for name, count in zip(group, both[0].infinities.tolist(), strict=True):
                infinite[name] = infinite.get(name, 0) + count
            both = of_columns([without_infinities(values) for values in piece.columns(group)])
        totals[group] = added(totals[group], both) if group in totals else both
        report_progress(piece.done)
    return totals, rows, infinite


def _measured_array(
    source: ArraySource, columns: tuple[Column, ...], recipe: Recipe | None, progress: ProgressFn
) -> Statistics:
    rows, moments, extrema = of_features(source, progress)
    if len(source.features) == 1 and columns == source.columns:  # to look up 50,000 names takes 0.04 s
        return Statistics(columns, rows, moments, extrema, recipe or Recipe())
    places = [source.place[column.name] for column in columns]
    index = np.unravel_index(places, source.features) if source.features else np.newaxis
    return Statistics(columns, rows, moments[index], extrema[index], recipe or Recipe())


def both_of(values: Vector) -> Both:
    """Moments and extrema of a block, (n,) or (n, k): of shape () for one column, (k,) for more."""
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    return Moments.of(values), Extrema.of(values)


def added(a: Both, b: Both) -> Both:
    """The sums of the statistics of two blocks of the same columns."""
    return a[0] + b[0], a[1] + b[1]


def in_order(totals: dict[tuple[str, ...], Both], names: tuple[str, ...]) -> Both:
    """The statistics of blocks joined to one of shape (k,), in the order of the names."""
    if list(totals) == [names] and len(names) > 1:
        return totals[names]
    met = [name for key in totals for name in key]
    if sorted(met) == sorted(names):
        moments, extrema = concat(list(totals.values()))
        place = {name: i for i, name in enumerate(met)}
        at = [place[name] for name in names]
        return moments[at], extrema[at]
    single: dict[str, Both] = dict.fromkeys(names, both_of(np.empty(0)))
    for key, (moments, extrema) in totals.items():
        for i, name in enumerate(key):
            part = (moments[i], extrema[i]) if len(key) > 1 else (moments, extrema)
            single[name] = added(single[name], part)
    return Moments.stack([m for m, _ in single.values()]), Extrema.stack([e for _, e in single.values()])


def scan_source(source: Source, columns: Sequence[str] | None) -> Iterator[Chunk]:
    """The chunks of an open source, in order, of all columns or of those named."""
    source.learn()
    names = None
    if columns is not None:
        known = [column.name for column in source.columns]
        for name in columns:
            if name not in known:
                raise DataError(no_column(name, known, source.path))
        names = list(columns)
    with source.unchanged():
        yield from prefetch(source.chunks(names), in_caller_thread=source.in_caller_thread)
