"""y = (x − center) · scale + shift in float64, rounded once to y's type, over arrays of any layout and type."""

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gammabeta.kernels import binding, layout, thread_pool
from gammabeta.kernels.binding import letter
from gammabeta.kernels.dtypes import Array

Floats = NDArray[np.float64]
Parameters = tuple[Floats, Floats, Floats]
"""center, slope and shift, each (f,)."""

_PIECE = 2**17  # values of other layouts and types at a time
_WIDE = ("f", "d")
_TARGETS = (*_WIDE, "e", "E")  # NumPy's letters; E is bfloat16's
_SOURCES = (*_TARGETS, "?", "b", "B", "i", "l")
_PAIRS = (*(x + y for x in _SOURCES for y in _WIDE), "ee", "de", "EE", "dE")  # what kernels map from, and to
_ROWS, _RUNS = (
    {pair: binding.function(f"affine_{form}_{pair.replace('?', 'B')}") for pair in _PAIRS} for form in ("rows", "runs")
)
_VECTORS = {x + y: binding.function(f"affine_vectors_{x}{y}") for x in _WIDE for y in _WIDE}


def apply(x: Array, y: Array, reduced_axes: tuple[int, ...], parameters: Parameters) -> int:
    """Write the image of x to y, of the same shape, and count the infinite values of x on the way.

    reduced_axes: the axes along which parameters do not vary, in increasing order.
    """
    if x.size == 0:
        return 0
    pair = letter(x.dtype) + letter(y.dtype)
    if pair in _ROWS and x.flags.aligned and y.flags.aligned:
        in_front = not reduced_axes or reduced_axes[-1] == len(reduced_axes) - 1
        if in_front and x.flags.c_contiguous and y.flags.c_contiguous:
            return _rows(pair, x, y, parameters)
        grouped = layout.groups(x, reduced_axes)
        try:
            source, target = (layout.block(part, grouped, copy=False) for part in (x, y))
            if source.flags.c_contiguous and target.flags.c_contiguous:
                return _block(pair, source, target, parameters)
        except ValueError:
            pass
    return _strided(x, y, reduced_axes, parameters)


def _plain(x: Array) -> Array:
    """A view of x in a dtype that kernels take: bfloat16 as uint16, bool as uint8."""
    kind = letter(x.dtype)
    return x.view(np.uint16) if kind == "E" else x.view(np.uint8) if kind == "?" else x


def _block(pair: str, x: Array, y: Array, parameters: Parameters) -> int:
    """Map a contiguous block (a, f, b); the number of infinite values of x."""
    a, f, b = x.shape
    if b == 1 or f == 1:
        return _rows(pair, x, y, parameters)
    kernel, source, target = _RUNS[pair], _plain(x), _plain(y)

    def runs(between: tuple[int, int]) -> int:
        return kernel(source, target, b, *between, *parameters)

    return sum(thread_pool.run(runs, thread_pool.ranges(a * f, layout.SPLIT // b)))


def _rows(pair: str, x: Array, y: Array, parameters: Parameters) -> int:
    """Map contiguous rows of as many values as there are parameters; the number of infinite values of x."""
    kernel, source, target, size = _ROWS[pair], _plain(x), _plain(y), x.size
    if size < 2 * layout.SPLIT:
        return kernel(source, target, 0, size, *parameters)
    lanes = len(parameters[0])

    def rows(between: tuple[int, int]) -> int:
        return kernel(source, target, *between, *parameters)

    def part(between: tuple[int, int]) -> int:
        cut = slice(*between)
        return kernel(flat[cut], out[cut], 0, between[1] - between[0], *(p[cut] for p in parameters))

    if lanes < size:
        return sum(thread_pool.run(rows, thread_pool.ranges(size, layout.SPLIT, lanes)))
    flat, out = source.reshape(-1), target.reshape(-1)
    return sum(thread_pool.run(part, thread_pool.ranges(size, layout.SPLIT)))


def apply_columns(given: Sequence[Array], images: Sequence[Array], parameters: Parameters) -> int:
    """Write the image of each of several vectors of one type to another, of one type too; how many infinities come out.

    One call for all of them: with 50 columns of 20,000 values a call for each takes three times as long.
    """
    if given[0].dtype.kind != "f":
        given = [vector.astype(np.float64) for vector in given]
    kernel = _VECTORS.get(letter(given[0].dtype) + letter(images[0].dtype))
    if kernel is None:
        for i, (vector, image) in enumerate(zip(given, images, strict=True)):
            center, slope, shift = (p[i : i + 1] for p in parameters)
            apply(vector, image, (0,), (center, slope, shift))
        return sum(int(np.count_nonzero(np.isinf(image))) for image in images)
    source, target = layout.side_by_side(given), layout.side_by_side(images)
    places = source.starts, target.starts, source.lengths, *parameters

    def some(between: tuple[int, int]) -> int:
        part = slice(*between)
        return kernel(source.memory, target.memory, *(place[part] for place in places))

    mean = int(source.lengths.sum()) // len(given)
    return sum(thread_pool.run(some, thread_pool.ranges(len(given), layout.SPLIT // max(1, mean))))


def _strided(x: Array, y: Array, reduced_axes: tuple[int, ...], parameters: Parameters) -> int:
    """Map any other layout or type: copies of pieces, as blocks of types that a kernel takes; infinite values of x."""
    grouped = layout.groups(x, reduced_axes)
    order = [i for group in grouped for i in group]
    source, target = _types(x, y)
    feature_shape = [x.shape[i] for i in grouped[1]]
    shaped = [p.reshape(feature_shape) for p in parameters]
    along = int(np.argmax(x.shape))
    step = max(1, _PIECE * x.shape[along] // x.size)

    def piece(cut: slice) -> int:
        place = (slice(None),) * along + (cut,)
        given, image = (part[place].transpose(order) for part in (x, y))
        shape = [prod(x[place].shape[i] for i in group) for group in grouped]
        mapped = np.empty(shape, target)
        own = [p if along in reduced_axes else p[(slice(None),) * grouped[1].index(along) + (cut,)] for p in shaped]
        center, slope, shift = (np.ascontiguousarray(p).reshape(-1) for p in own)
        block = np.array(given, source, order="C").reshape(shape)
        infinite = _block(letter(source) + letter(target), block, mapped, (center, slope, shift))
        image[...] = mapped.reshape(given.shape)
        return infinite

    def work(between: tuple[int, int]) -> int:
        return sum(piece(slice(at, min(at + step, between[1]))) for at in range(*between, step))

    return sum(thread_pool.run(work, thread_pool.ranges(x.shape[along], layout.COSTLY * x.shape[along] // x.size)))


def _types(x: Array, y: Array) -> tuple[np.dtype[Any], np.dtype[Any]]:
    """The types of x and y as kernels take them, float64 where they take none."""
    source, target = x.dtype.newbyteorder("="), y.dtype.newbyteorder("=")
    double = np.dtype(np.float64)
    target = target if letter(target) in _TARGETS else double
    return source if letter(source) + letter(target) in _ROWS else double, target
