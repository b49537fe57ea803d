"""y = (x − center) · scale + shift in float64, rounded once to y's type, over arrays of any layout and type."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numba import float64
from numpy.typing import NDArray

from gammabeta.kernels import layout, threads
from gammabeta.kernels.intrinsics import kernel, prefetch
from gammabeta.kernels.layout import Array

Parameters = tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]
"""center, scale and shift, each (f,)."""

_WIDTH = 512  # values at a time: with their parameters they stay in the L1 cache
_AHEAD = 2  # rows fetched ahead: a row of 4,096 values then maps twice as fast
_HEIGHT = 8  # rows under the same parameters, where a row is longer than that
_PIECE = 2**17  # values of other layouts and types at a time
_FLOATS = (np.dtype(np.float32), np.dtype(np.float64))


@kernel
def _infinite(words, marks):
    """How many floats, given as the integers of their bits, are infinite. marks: all bits but the sign's; infinity's.

    Integers have a maximum that vectorizes; only where it reaches infinity, or NaN beyond it, are they counted.
    """
    magnitude, infinity = marks[0], marks[1]
    top = words[0] & magnitude
    for j in range(len(words)):
        top = max(top, words[j] & magnitude)
    count = 0
    if top >= infinity:
        for j in range(len(words)):
            count += (words[j] & magnitude) == infinity
    return count


@kernel
def _rows(x, y, words, marks, room, center, scale, shift):
    """Rows of lanes, each lane with its parameters; how many values are infinite. x, y: 1-d; center, …: (lanes,).

    Where x and y are one array, values pass through `room`, (`_WIDTH`,), which is empty otherwise: no compiler
    vectorizes a loop from an array into itself.
    """
    lanes, infinite = len(center), 0
    for top in range(0, len(x), lanes * _HEIGHT):
        bottom = min(top + lanes * _HEIGHT, len(x))
        for at in range(0, lanes, _WIDTH):
            c, s, t = center[at : at + _WIDTH], scale[at : at + _WIDTH], shift[at : at + _WIDTH]
            for first in range(top + at, bottom, lanes):
                last = min(first + len(c), bottom)
                values, results = x[first:last], y[first:last]
                infinite += _infinite(words[first:last], marks)
                for j in range(0, len(values), layout.LINE // x.itemsize):
                    prefetch(x, first + _AHEAD * lanes + j)
                for j in range(0, len(values), layout.LINE // y.itemsize):
                    prefetch(y, first + _AHEAD * lanes + j)
                if len(room):
                    for j in range(len(values)):
                        room[j] = values[j]
                    for j in range(len(values)):
                        results[j] = (room[j] - c[j]) * s[j] + t[j]
                else:
                    for j in range(len(values)):
                        results[j] = (float64(values[j]) - c[j]) * s[j] + t[j]
    return infinite


@kernel
def _runs(x, y, words, marks, room, width, start, stop, center, scale, shift):
    """Runs of `width` values, run i with the parameters of feature i mod f; how many values are infinite."""
    infinite = 0
    for run in range(start, stop):
        feature = run % len(center)
        c, s, t = center[feature], scale[feature], shift[feature]
        for first in range(run * width, (run + 1) * width, _WIDTH):
            last = min(first + _WIDTH, (run + 1) * width)
            values, results = x[first:last], y[first:last]
            infinite += _infinite(words[first:last], marks)
            if len(room):
                for j in range(len(values)):
                    room[j] = values[j]
                for j in range(len(values)):
                    results[j] = (room[j] - c) * s + t
            else:
                for j in range(len(values)):
                    results[j] = (float64(values[j]) - c) * s + t
    return infinite


@kernel
def _vectors(x, y, words, marks, froms, tos, lengths, center, scale, shift):
    """Vector i, of lengths[i] values, goes from x[froms[i]:] to y[tos[i]:]; how many infinities arrive there."""
    infinite = 0
    for i in range(len(lengths)):
        c, s, t = center[i], scale[i], shift[i]
        for first in range(0, lengths[i], _WIDTH):
            last = min(first + _WIDTH, lengths[i])
            values, results = x[froms[i] + first : froms[i] + last], y[tos[i] + first : tos[i] + last]
            for j in range(len(values)):
                results[j] = (float64(values[j]) - c) * s + t
            infinite += _infinite(words[tos[i] + first : tos[i] + last], marks)
    return infinite


def apply(x: Array, y: Array, away: tuple[int, ...], parameters: Parameters) -> int:
    """Write the image of x to y, of the same shape, and count the infinite values of x on the way.

    away: the axes along which parameters do not vary.
    """
    if x.size == 0:
        return 0
    grouped = layout.groups(x, away)
    if x.dtype in _FLOATS and y.dtype in _FLOATS:
        try:
            source, target = (layout.block(part, grouped, copy=False) for part in (x, y))
            if source.flags.c_contiguous and target.flags.c_contiguous:
                return _contiguous(source, target, parameters)
        except ValueError:
            pass
    return _strided(x, y, away, parameters)


def _contiguous(x: Array, y: Array, parameters: Parameters) -> int:
    """A contiguous block (a, f, b) of float32 or float64."""
    a, f, b = x.shape
    flat, out = layout.readable(x.reshape(-1)), y.reshape(-1)
    words, marks = _bits(flat)
    width = _WIDTH if flat.ctypes.data == out.ctypes.data else 0

    def runs(between: tuple[int, int]) -> int:
        return int(_runs(flat, out, words, marks, np.empty(width), b, *between, *parameters))

    def rows(between: tuple[int, int]) -> int:
        part = slice(*between)
        lanes = (p[part] for p in parameters) if a * b == 1 else tiled
        return int(_rows(flat[part], out[part], words[part], marks, np.empty(width), *lanes))

    if b > 1 and f > 1:
        return sum(threads.run(runs, threads.ranges(a * f, layout.SPLIT // b)))
    several = max(1, min(_WIDTH // f, a * b))
    tiled = [np.tile(p, several) for p in parameters]
    return sum(threads.run(rows, threads.ranges(flat.size, layout.SPLIT, several * f if a * b > 1 else 1)))


def _bits(flat: Array) -> tuple[Array, Array]:
    """The bits of floats as integers, and what `_infinite` needs to tell infinities among them."""
    integer = np.int32 if flat.dtype == np.float32 else np.int64
    return flat.view(integer), np.array([np.iinfo(integer).max, np.array(np.inf, flat.dtype).view(integer)], integer)


def apply_beside(given: Sequence[Array], images: Sequence[Array], parameters: Parameters) -> int:
    """Write the image of each of several vectors of one type to another, of one type too; how many infinities come out.

    One call for all of them: with 50 columns of 20,000 values a call for each takes three times as long.
    """
    if given[0].dtype.kind != "f":
        given = [vector.astype(np.float64) for vector in given]
    if not (given[0].dtype in _FLOATS and images[0].dtype in _FLOATS):
        for vector, image, *one in zip(given, images, *(p[:, None] for p in parameters), strict=True):
            if vector.size:
                _strided(vector, image, (0,), (one[0], one[1], one[2]))
        return sum(int(np.count_nonzero(np.isinf(image))) for image in images)
    source, target = layout.side_by_side(given), layout.side_by_side(images)
    words, marks = _bits(target.memory)
    places = source.starts, target.starts, source.lengths, *parameters

    def some(between: tuple[int, int]) -> int:
        part = slice(*between)
        return int(_vectors(source.memory, target.memory, words, marks, *(place[part] for place in places)))

    mean = int(source.lengths.sum()) // len(given)
    return sum(threads.run(some, threads.ranges(len(given), layout.SPLIT // max(1, mean))))


def _strided(x: Array, y: Array, away: tuple[int, ...], parameters: Parameters) -> int:
    """Any other layout or type, piece by piece in float64."""
    shape = [1 if i in away else n for i, n in enumerate(x.shape)]
    spread: list[NDArray[Any]] = [np.broadcast_to(p.reshape(shape), x.shape) for p in parameters]
    along = int(np.argmax(x.shape))
    step = max(1, _PIECE * x.shape[along] // x.size)

    def work(between: tuple[int, int]) -> int:
        infinite = 0
        for at in range(*between, step):
            place = (slice(None),) * along + (slice(at, min(at + step, between[1])),)
            piece = x[place].astype(np.float64)
            infinite += int(np.count_nonzero(np.isinf(piece)))
            piece -= spread[0][place]
            piece *= spread[1][place]
            piece += spread[2][place]
            with np.errstate(over="ignore"):  # what is beyond y's range becomes infinite, as in the kernels
                y[place] = _odd(piece) if y.dtype.name == "bfloat16" else piece
        return infinite

    return sum(threads.run(work, threads.ranges(x.shape[along], layout.COSTLY * x.shape[along] // x.size)))


def _odd(y: NDArray[np.float64]) -> NDArray[np.float32]:
    """y in float32, rounded to odd: bfloat16 is made from float32, and this keeps the second rounding right."""
    near = y.astype(np.float32)
    bits = near.view(np.int32)
    bits -= np.abs(near) > np.abs(y)
    bits |= near != y
    return np.where(np.isnan(y), np.float32(np.nan), near)
