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
    """Rows of lanes, each lane with its parameters. x, y: 1-d; center, scale, shift: (lanes,)."""
    lanes = len(center)
    for start in range(0, len(x), lanes):
        values, results = x[start : start + lanes], y[start : start + lanes]
        for j in range(len(values)):
            results[j] = (float64(values[j]) - center[j]) * scale[j] + shift[j]


@njit(nogil=True, cache=True)
def _runs(x, y, width, start, stop, center, scale, shift):
    """Runs of `width` values, run i with the parameters of feature i mod f."""
    for run in range(start, stop):
        feature = run % len(center)
        c, s, t = center[feature], scale[feature], shift[feature]
        values, results = x[run * width : (run + 1) * width], y[run * width : (run + 1) * width]
        for j in range(width):
            results[j] = (float64(values[j]) - c) * s + t


def apply(x: Array, y: Array, away: tuple[int, ...], parameters: Parameters) -> None:
    """Write the image of x to y, of the same shape; `away` are the axes along which parameters do not vary."""
    if x.size == 0:
        return
    grouped = layout.groups(x, away)
    if x.dtype in _FLOATS and y.dtype in _FLOATS:
        try:
            source, target = (layout.block(part, grouped, copy=False) for part in (x, y))
            if source.flags.c_contiguous and target.flags.c_contiguous:
                _contiguous(source, target, parameters)
                return
        except ValueError:
            pass
    _strided(x, y, away, parameters)


def _contiguous(x: Array, y: Array, parameters: Parameters) -> None:
    """A contiguous block (a, f, b) of float32 or float64."""
    a, f, b = x.shape
    flat, out = layout.readable(x.reshape(-1)), y.reshape(-1)
    if b > 1 and f > 1:
        runs = threads.ranges(a * f, layout.SPLIT // b)
        threads.run(lambda r: _runs(flat, out, b, *r, *parameters), runs)
    elif a * b > 1:
        several = max(1, min(_WIDTH // f, a * b))
        center, scale, shift = (np.tile(p, several) for p in parameters)
        pieces = threads.ranges(flat.size, layout.SPLIT, several * f)
        threads.run(lambda r: _rows(flat[slice(*r)], out[slice(*r)], center, scale, shift), pieces)
    else:
        pieces = threads.ranges(f, layout.SPLIT)
        threads.run(lambda r: _rows(flat[slice(*r)], out[slice(*r)], *(p[slice(*r)] for p in parameters)), pieces)


def _strided(x: Array, y: Array, away: tuple[int, ...], parameters: Parameters) -> None:
    """Any other layout or type, piece by piece in float64."""
    shape = [1 if i in away else n for i, n in enumerate(x.shape)]
    spread: list[NDArray[Any]] = [np.broadcast_to(p.reshape(shape), x.shape) for p in parameters]
    along = int(np.argmax(x.shape))
    step = max(1, layout.PIECE * x.shape[along] // x.size)

    def work(between: tuple[int, int]) -> None:
        for at in range(*between, step):
            place = (slice(None),) * along + (slice(at, min(at + step, between[1])),)
            piece = x[place].astype(np.float64)
            piece -= spread[0][place]
            piece *= spread[1][place]
            piece += spread[2][place]
            y[place] = _odd(piece) if y.dtype.name == "bfloat16" else piece

    threads.run(work, threads.ranges(x.shape[along], layout.SPLIT * x.shape[along] // x.size))


def _odd(y: NDArray[np.float64]) -> NDArray[np.float32]:
    """y in float32, rounded to odd: bfloat16 is made from float32, and this keeps the second rounding right."""
    with np.errstate(over="ignore"):
        near = y.astype(np.float32)
    bits = near.view(np.int32)
    bits -= np.abs(near) > np.abs(y)
    bits |= near != y
    return np.where(np.isnan(y), np.float32(np.nan), near)
