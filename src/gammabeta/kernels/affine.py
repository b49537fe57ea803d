"""y = (x − center) · scale + shift in float64, rounded once to y's type, over arrays of any layout and type."""

from typing import Any

import numpy as np
from numba import float64, njit
from numpy.typing import NDArray

from gammabeta.kernels import layout, threads
from gammabeta.kernels.layout import Array

Parameters = tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]
"""center, scale and shift, each (f,)."""

_WIDTH = 512  # parameters laid out for so many lanes stay in the L1 cache, and a row is long enough to vectorize
_FLOATS = (np.dtype(np.float32), np.dtype(np.float64))


@njit(nogil=True, cache=True)
def _rows(x, y, center, scale, shift):
    """Rows of lanes, each lane with its parameters; how many values are infinite. x, y: 1-d; center, …: (lanes,)."""
    lanes, infinite = len(center), 0
    for start in range(0, len(x), lanes):
        values, results = x[start : start + lanes], y[start : start + lanes]
        for j in range(len(values)):
            v = float64(values[j])
            infinite += abs(v) == np.inf
            results[j] = (v - center[j]) * scale[j] + shift[j]
    return infinite


@njit(nogil=True, cache=True)
def _runs(x, y, width, start, stop, center, scale, shift):
    """Runs of `width` values, run i with the parameters of feature i mod f; how many values are infinite."""
    infinite = 0
    for run in range(start, stop):
        feature = run % len(center)
        c, s, t = center[feature], scale[feature], shift[feature]
        values, results = x[run * width : (run + 1) * width], y[run * width : (run + 1) * width]
        for j in range(width):
            v = float64(values[j])
            infinite += abs(v) == np.inf
            results[j] = (v - c) * s + t
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
    if b > 1 and f > 1:
        runs = threads.ranges(a * f, layout.SPLIT // b)
        found = threads.run(lambda r: _runs(flat, out, b, *r, *parameters), runs)
    elif a * b > 1:
        several = max(1, min(_WIDTH // f, a * b))
        center, scale, shift = (np.tile(p, several) for p in parameters)
        pieces = threads.ranges(flat.size, layout.SPLIT, several * f)
        found = threads.run(lambda r: _rows(flat[slice(*r)], out[slice(*r)], center, scale, shift), pieces)
    else:
        pieces = threads.ranges(f, layout.SPLIT)
        found = threads.run(
            lambda r: _rows(flat[slice(*r)], out[slice(*r)], *(p[slice(*r)] for p in parameters)), pieces
        )
    return sum(found)


def _strided(x: Array, y: Array, away: tuple[int, ...], parameters: Parameters) -> int:
    """Any other layout or type, piece by piece in float64."""
    shape = [1 if i in away else n for i, n in enumerate(x.shape)]
    spread: list[NDArray[Any]] = [np.broadcast_to(p.reshape(shape), x.shape) for p in parameters]
    along = int(np.argmax(x.shape))
    step = max(1, layout.PIECE * x.shape[along] // x.size)

    def work(between: tuple[int, int]) -> int:
        infinite = 0
        for at in range(*between, step):
            place = (slice(None),) * along + (slice(at, min(at + step, between[1])),)
            piece = x[place].astype(np.float64)
            infinite += np.count_nonzero(np.isinf(piece))
            piece -= spread[0][place]
            piece *= spread[1][place]
            piece += spread[2][place]
            y[place] = _odd(piece) if y.dtype.name == "bfloat16" else piece
        return infinite

    return sum(threads.run(work, threads.ranges(x.shape[along], layout.SPLIT * x.shape[along] // x.size)))


def _odd(y: NDArray[np.float64]) -> NDArray[np.float32]:
    """y in float32, rounded to odd: bfloat16 is made from float32, and this keeps the second rounding right."""
    with np.errstate(over="ignore"):
        near = y.astype(np.float32)
    bits = near.view(np.int32)
    bits -= np.abs(near) > np.abs(y)
    bits |= near != y
    return np.where(np.isnan(y), np.float32(np.nan), near)
