"""Batch norm, an addition and a ReLU in one sweep, y = max(norm(x) + residual, 0), and the pieces of its gradient.

For the backward pass of a ReLU one bit is kept of each value: whether it got through.
"""

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from gammabeta.kernels import batchnorm, layout, rows, threads
from gammabeta.kernels.batchnorm import Axes, Batch, Floats, _Block, _state
from gammabeta.kernels.layout import Array
from gammabeta.kernels.storage import put, stored, take

Bits = NDArray[np.uint8]

_BYTE = 8


def applied(
    x: Array, away: Axes, mean: Floats, rest: Floats, scale: Floats, shift: Floats, residual: Array | None, relu: bool
) -> Array:
    """max(((x − mean) − rest) · scale + shift + residual, 0), without the maximum unless `relu`."""
    if residual is None and not relu:
        return batchnorm.applied(x, away, mean, rest, scale, shift)
    block = _Block(x, away)
    y = block.new()
    added = block.flat if residual is None else block.beside(residual)
    least, adds = 0.0 if relu else -np.inf, residual is not None
    parameters = mean, rest, scale, shift

    def to_table(place: slice, lanes: int, height: int) -> None:
        state = _state(parameters, lanes, block.features)
        _table(block.flat[place], added[place], y.flat[place], lanes, height, state, adds, least)

    def to_runs(first: int, last: int) -> None:
        _runs(block.flat, added, y.flat, block.features, block.width, first, last, *parameters, adds, least)

    if block.width > 1:
        block.split_runs(to_runs)
    else:
        block.split_tables(to_table)
    return y.array


def forward(
    x: Array, away: Axes, gamma: Floats, beta: Floats, eps: float, residual: Array | None, relu: bool
) -> tuple[Array, Batch]:
    """max(γ · (x − mean) / √(var + eps) + β + residual, 0), without the maximum unless `relu`."""
    if residual is None and not relu:
        return batchnorm.forward(x, away, gamma, beta, eps)
    batch = batchnorm.moments(x, away)
    if x.dtype.itemsize == 8 and not np.isfinite(batch.var).all():
        y, batch = batchnorm.forward(x, away, gamma, beta, eps)
        y = y if residual is None else y + residual
        return (np.maximum(y, 0.0) if relu else y), batch
    with np.errstate(invalid="ignore"):
        scale = gamma / np.sqrt(batch.var + eps)
    return applied(x, away, batch.mean, batch.rest, scale, beta, residual, relu), batch


def sums(dy: Array, x: Array, away: Axes, mean: Floats, rest: Floats) -> Floats:
    """Σdy and Σdy · (x − mean), (2, f)."""
    block = _Block(x, away)
    return block.products(block.beside(dy), Batch(mean, rest, mean, 0))


def signs(y: Array) -> Bits:
    """A bit for each value of y in memory's order: whether it is not ≤ 0."""
    flat = _flat(y)
    bits = np.empty(-(-flat.size // _BYTE), np.uint8)
    threads.run(lambda r: _signs(flat, bits, *r), threads.ranges(bits.size, layout.SPLIT // _BYTE))
    return bits


def gated(dy: Array, order: list[int], bits: Bits) -> Array:
    """dy where y got through, else 0, in the layout of y: its `order` and its `signs`."""
    moved = layout.readable(stored(np.ascontiguousarray(dy.transpose(order), dy.dtype).reshape(-1)))
    memory = np.empty(moved.size, dy.dtype)
    out = stored(memory)
    threads.run(lambda r: _gate(moved, bits, out, *r), threads.ranges(bits.size, layout.SPLIT // _BYTE))
    return memory.reshape([dy.shape[i] for i in order]).transpose(np.argsort(order))


def order(y: Array) -> list[int]:
    """The axes from the longest stride to the shortest."""
    return sorted(range(y.ndim), key=lambda i: (-abs(y.strides[i]), i))


def _flat(y: Array) -> Any:
    return layout.readable(stored(y.transpose(order(y)).reshape(-1)))


@njit(nogil=True, cache=True)
def _signs(y, bits, first, last):
    """Bytes first to last."""
    whole = min(last, y.size // _BYTE)
    for i in range(first, whole):
        byte = 0
        for k in range(_BYTE):
            byte |= (0 if take(y, i * _BYTE + k) <= 0.0 else 1) << k
        put_byte(bits, i, byte)
    if last > whole:
        byte = 0
        for k in range(y.size - whole * _BYTE):
            byte |= (0 if take(y, whole * _BYTE + k) <= 0.0 else 1) << k
        put_byte(bits, whole, byte)


@njit(nogil=True, cache=True)
def put_byte(bits, place, byte):
    """Make bits[place] a byte."""
    bits[np.uint64(place)] = np.uint8(byte)


@njit(nogil=True, cache=True)
def _gate(dy, bits, out, first, last):
    """Bytes first to last."""
    for i in range(first, last):
        byte = bits[np.uint64(i)]
        if (i + 1) * _BYTE <= dy.size:
            for k in range(_BYTE):
                put(out, i * _BYTE + k, take(dy, i * _BYTE + k) if byte & (1 << k) else 0.0)
        else:
            for k in range(dy.size - i * _BYTE):
                put(out, i * _BYTE + k, take(dy, i * _BYTE + k) if byte & (1 << k) else 0.0)


@njit(nogil=True, cache=True)
def _run(x, added, y, at, size, mean, rest, scale, shift, adds, least):
    if adds:
        for j in range(at, at + size):
            v = ((take(x, j) - mean) - rest) * scale + shift + take(added, j)
            put(y, j, least if v < least else v)
    else:
        for j in range(at, at + size):
            v = ((take(x, j) - mean) - rest) * scale + shift
            put(y, j, least if v < least else v)


@njit(nogil=True, cache=True)
def _runs(x, added, y, features, width, first, last, mean, rest, scale, shift, adds, least):
    """Runs first to last of every feature, from the last: what the statistics read last is still in the cache."""
    for run in range(last - 1, first - 1, -1):
        for i in range(features):
            _run(x, added, y, (run * features + i) * width, width, mean[i], rest[i], scale[i], shift[i], adds, least)


@njit(nogil=True, cache=True)
def _row(x, added, y, at, size, state, g, adds, least):
    if adds:
        for j in range(size):
            d = (take(x, at + j) - take(state, g + j)) - take(state, g + 64 + j)
            v = d * take(state, g + 128 + j) + take(state, g + 192 + j) + take(added, at + j)
            put(y, at + j, least if v < least else v)
    else:
        for j in range(size):
            d = (take(x, at + j) - take(state, g + j)) - take(state, g + 64 + j)
            v = d * take(state, g + 128 + j) + take(state, g + 192 + j)
            put(y, at + j, least if v < least else v)


@njit(nogil=True, cache=True)
def _table(x, added, y, lanes, height, state, adds, least):
    """Rows of lanes, block by block from the last. state: mean, rest, scale, shift."""
    tall = max(np.int64(16), rows.TURN // lanes)
    for block in range((height - 1) // tall, -1, -1):
        for row in range(block * tall, min((block + 1) * tall, height)):
            for group in range(len(state) // rows.STATE):
                at = row * lanes + group * rows.LANES
                size = min(rows.LANES, lanes - group * rows.LANES)
                if size == rows.LANES:
                    _row(x, added, y, at, rows.LANES, state, group * rows.STATE, adds, least)
                else:
                    _row(x, added, y, at, size, state, group * rows.STATE, adds, least)
