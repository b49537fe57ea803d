"""The first pass over an array: the exact statistics of its features, whichever axes are reduced."""

from collections.abc import Callable, Iterator
from itertools import product
from math import prod
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from gammabeta.backends import masked
from gammabeta.data.core.infinities import infinity_error
from gammabeta.data.formats.array import ArraySource, Part
from gammabeta.data.io.prefetch import prefetch
from gammabeta.errors import KindError
from gammabeta.statistics import Extrema, Moments

AT_ONCE = 2048  # features: a value of 100,000 costs 25 times as much as one of 2,000, whose sums stay in the cache

S = TypeVar("S", Moments, Extrema)
Corner = tuple[tuple[int, int], ...]  # where a part's features begin and end, axis by axis


def of_features(source: ArraySource, progress: Callable[[int, int], None]) -> tuple[int, Moments, Extrema]:
    """The number of values of a feature, missing ones included, and the statistics in the features' shape.

    Raises:
        KindError: the array is not of real numbers.
        DataError: ±inf.
    """
    if not source.is_numeric:
        raise KindError(f"an array of real numbers is needed, {str(source.path)!r} is of {source.dtype}")
    totals: dict[Corner, tuple[int, Moments, Extrema]] = {}
    with source.unchanged():
        for whole in prefetch(source.parts(), in_caller_thread=source.in_caller_thread):
            for part in _cut(whole, source.feature_axes):
                corner = tuple((part.start[i], part.start[i] + part.values.shape[i]) for i in source.feature_axes)
                found = _of_part(source, part)
                totals[corner] = _added(totals[corner], found) if corner in totals else found
            progress(whole.done, source.size)
    if not totals:
        nothing = np.empty((0, *source.features))
        return 0, Moments.of(nothing), Extrema.of(nothing)
    rows = {rows for rows, _, _ in totals.values()}
    corners = list(totals)
    return (
        max(rows),
        _together(source.features, corners, [moments for _, moments, _ in totals.values()], Moments.stack),
        _together(source.features, corners, [extrema for _, _, extrema in totals.values()], Extrema.stack),
    )


def _cut(part: Part, feature_axes: tuple[int, ...]) -> Iterator[Part]:
    """A part cut into views of `AT_ONCE` neighbouring features at most."""
    box, left = list(part.values.shape), AT_ONCE
    for axis in reversed(feature_axes):
        box[axis] = max(1, min(box[axis], left))
        left //= box[axis]
    for at in product(*(range(0, n, max(step, 1)) for n, step in zip(part.values.shape, box, strict=True))):
        values = part.values[tuple(slice(i, i + step) for i, step in zip(at, box, strict=True))]
        yield Part(values, tuple(i + j for i, j in zip(part.start, at, strict=True)), part.done)


def _of_part(source: ArraySource, part: Part) -> tuple[int, Moments, Extrema]:
    values = part.values
    if values.dtype.kind in "iu" and values.dtype.itemsize < 4:
        values = values.astype(np.float32)  # exact, and three times as fast
    moments = Moments.of(values, source.axis, weights=source.weights_of(part))
    if moments.infinities.any():
        _refuse_infinity(source, part)
    rows = prod(values.shape[i] for i in source.axis)
    return rows, moments, Extrema.of(values, source.axis)


def _added(a: tuple[int, Moments, Extrema], b: tuple[int, Moments, Extrema]) -> tuple[int, Moments, Extrema]:
    return a[0] + b[0], a[1] + b[1], a[2] + b[2]


def _together(shape: tuple[int, ...], corners: list[Corner], parts: list[S], stack: Callable[[list[S]], S]) -> S:
    """The statistics of boxes of features joined to one of `shape`."""
    if len(parts) == 1 and parts[0].shape == shape:
        return parts[0]
    widest = max(prod(part.shape) for part in parts)
    # to be stacked all must be as long: those that are shorter repeat their last, which nothing looks at
    flat = [_flat(part, widest) for part in parts]
    which, where = np.empty(shape, np.intp), np.empty(shape, np.intp)
    for i, (corner, part) in enumerate(zip(corners, parts, strict=True)):
        at = tuple(slice(*ends) for ends in corner)
        which[at], where[at] = i, np.arange(prod(part.shape)).reshape(part.shape)
    return stack(flat)[which, where]


def _flat(part: S, length: int) -> S:
    place: NDArray[np.intp] = np.minimum(np.arange(length), prod(part.shape) - 1)
    return part[np.unravel_index(place, part.shape)]


def _refuse_infinity(source: ArraySource, part: Part) -> None:
    at = np.argwhere(np.isinf(masked.filled(part.values)))[0]
    value = float(part.values[tuple(at)])
    index = tuple(int(i) for i in at + part.start)
    place_among = tuple(index[i] for i in source.feature_axes)
    feature = source.names[int(np.ravel_multi_index(place_among, source.features)) if place_among else 0]
    where = index[0] if source.axis == (0,) else f"place {index}"
    raise infinity_error(feature, value, where, source.path, "remove it or make it NaN")
