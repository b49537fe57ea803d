"""Exact sums of x and x² on a GPU, the integers of `kernels.moments`; and affine maps, the bits of `kernels.affine`.

A window is `BINADES` powers of two: the values of a feature with 2^(top−BINADES) ≤ |x| < 2^top, multiplied by 2^−top,
so that the constants are the same for all: 1.5·2 is x + 3 rounded to a multiple of 2^−51, whose bits, less those of 3,
are that multiple, and so on downwards as there. Data whose values lie further apart are swept once for each window.

float64 squares are h + l by Veltkamp's and Dekker's splitting, which is exact with or without a fused multiply-add. No
operation here may be fused with another: the launch says so.
"""

import triton
import triton.language as tl

from gammabeta.kernels.triton import tiles

SINGLE, DOUBLE = 28, 25
"""The binades of a window: of values of at most 24 bits, whose squares float64 holds, and of float64."""

UNITS = ((1, -51), (2, -51), (2, -103), (1, -103), (2, -105), (2, -157))
"""What a fold sums, x or x², and the exponent of its unit, in a window below 2⁰. SINGLE has the first three."""

_MAGNITUDE = tl.constexpr(0x7FFF_FFFF_FFFF_FFFF)
_INFINITY = tl.constexpr(0x7FF0_0000_0000_0000)
_LOW = tl.constexpr(0xFFFF_FFFF)
_FIRST = tl.constexpr(3.0)  # 1.5 · 2^(52 − 51)
_SECOND = tl.constexpr(3.0 * 2.0**-52)
_THIRD = tl.constexpr(3.0 * 2.0**-54)
_FOURTH = tl.constexpr(3.0 * 2.0**-106)
_SPLITTER = tl.constexpr(2.0**27 + 1)


@triton.jit
def _bits(v):
    return v.to(tl.int64, bitcast=True)


@triton.jit
def extent(x, out, outer, features, width, RUNS: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    """Of each part and feature the greatest and the least finite |x| ≠ 0, as bits, and how many NaN, +inf and −inf.

    out: (5, parts, features), int64; 0 and the greatest integer where there is no such |x|.
    """
    block, part, parts = tl.program_id(0), tl.program_id(1), tl.num_programs(1)
    first, last = tiles.share(tiles.count(outer, width, RUNS, ROWS, COLUMNS), part, parts)
    feature, known = tiles.per(block, features, RUNS, COLUMNS)
    high, low = tl.zeros((ROWS, COLUMNS), tl.int64), tl.full((ROWS, COLUMNS), _MAGNITUDE, tl.int64)
    nans, plus, minus = (
        tl.zeros((ROWS, COLUMNS), tl.int32),
        tl.zeros((ROWS, COLUMNS), tl.int32),
        tl.zeros((ROWS, COLUMNS), tl.int32),
    )
    for tile in range(first, last):
        row, one, along, there = tiles.place(tile, block, outer, features, width, RUNS, ROWS, COLUMNS)
        v = tl.load(x + (row * features + one) * width + along, mask=there, other=0.0).to(tl.float64)
        size = _bits(v) & _MAGNITUDE
        finite = size < _INFINITY
        high = tl.maximum(high, tl.where(finite, size, 0))
        low = tl.minimum(low, tl.where(finite & (size > 0), size, _MAGNITUDE))
        nans += (size > _INFINITY).to(tl.int32)
        plus += ((size == _INFINITY) & (v > 0)).to(tl.int32)
        minus += ((size == _INFINITY) & (v < 0)).to(tl.int32)
    at, step = out + part * features + feature, parts.to(tl.int64) * features
    greatest, least = tl.max(high, 0, keep_dims=True), tl.min(low, 0, keep_dims=True)
    if RUNS:
        greatest, least = tl.max(greatest, 1, keep_dims=True), tl.min(least, 1, keep_dims=True)
    tl.store(at, greatest, mask=known)
    tl.store(at + step, least, mask=known)
    tl.store(at + 2 * step, tiles.summed(nans.to(tl.int64), RUNS), mask=known)
    tl.store(at + 3 * step, tiles.summed(plus.to(tl.int64), RUNS), mask=known)
    tl.store(at + 4 * step, tiles.summed(minus.to(tl.int64), RUNS), mask=known)


@triton.jit
def _fold(v, magic):
    """v to the nearest multiple of a fold's unit, as that multiple, and what is left of v."""
    t = v + magic
    return _bits(t) - _bits(tl.full((1, 1), magic, tl.float64)), v - (t - magic)


@triton.jit
def _square(v):
    """v² as h + l."""
    c = v * _SPLITTER
    high = c - (c - v)
    low = v - high
    h = v * v
    return h, low * low - ((h - high * high) - 2 * (high * low))


@triton.jit
def _keep(out, total, known, RUNS: tl.constexpr):
    """A fold's sums as low + high · 2³², so that the sums of many fit. `out` points at the low ones."""
    tl.store(out[0], tiles.summed(total & _LOW, RUNS), mask=known)
    tl.store(out[1], tiles.summed(total >> 32, RUNS), mask=known)


@triton.jit
def folds(
    x, up, again, out, outer, features, width,
    DOUBLED: tl.constexpr, LEAST: tl.constexpr, RUNS: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """The sums of x and x² of one window, by fold and feature.

    up, again: (features,), float64 powers of two whose product is 2^−top. LEAST: 2^−BINADES. out: int64,
    (3 or 6, 2, parts, features). A program takes at most 4,095 tiles: each adds less than 2^51 to a lane.
    """
    block, part, parts = tl.program_id(0), tl.program_id(1), tl.num_programs(1)
    first, last = tiles.share(tiles.count(outer, width, RUNS, ROWS, COLUMNS), part, parts)
    feature, known = tiles.per(block, features, RUNS, COLUMNS)
    once = tl.load(up + feature, mask=known, other=1.0)
    twice = tl.load(again + feature, mask=known, other=1.0)
    a0, a1, a2 = (
        tl.zeros((ROWS, COLUMNS), tl.int64),
        tl.zeros((ROWS, COLUMNS), tl.int64),
        tl.zeros((ROWS, COLUMNS), tl.int64),
    )
    a3, a4, a5 = (
        tl.zeros((ROWS, COLUMNS), tl.int64),
        tl.zeros((ROWS, COLUMNS), tl.int64),
        tl.zeros((ROWS, COLUMNS), tl.int64),
    )
    for tile in range(first, last):
        row, one, along, there = tiles.place(tile, block, outer, features, width, RUNS, ROWS, COLUMNS)
        v = tl.load(x + (row * features + one) * width + along, mask=there, other=0.0).to(tl.float64)
        v = (v * once) * twice
        size = tl.abs(v)
        v = tl.where((size < 1) & (size >= LEAST), v, 0.0)
        q, rest = _fold(v, _FIRST)
        a0 += q
        if DOUBLED:
            q, rest = _fold(rest, _SECOND)
            a3 += q
            h, low = _square(v)
            q, rest = _fold(low, _THIRD)
            a4 += q
            q, rest = _fold(rest, _FOURTH)
            a5 += q
        else:
            h = v * v
        q, rest = _fold(h, _FIRST)
        a1 += q
        q, rest = _fold(rest, _SECOND)
        a2 += q
    step = parts.to(tl.int64) * features
    at = out + part * features + feature
    _keep((at, at + step), a0, known, RUNS)
    _keep((at + 2 * step, at + 3 * step), a1, known, RUNS)
    _keep((at + 4 * step, at + 5 * step), a2, known, RUNS)
    if DOUBLED:
        _keep((at + 6 * step, at + 7 * step), a3, known, RUNS)
        _keep((at + 8 * step, at + 9 * step), a4, known, RUNS)
        _keep((at + 10 * step, at + 11 * step), a5, known, RUNS)


@triton.jit
def _rounded(v, TYPE: tl.constexpr):
    """v in a narrower type, the nearest. bfloat16 is made of float32 rounded to odd, or it would be rounded twice."""
    if tl.bfloat16 == TYPE:
        near = v.to(tl.float32)
        bits = near.to(tl.int32, bitcast=True)
        bits -= (tl.abs(near.to(tl.float64)) > tl.abs(v)).to(tl.int32)
        bits |= (near.to(tl.float64) != v).to(tl.int32)
        nearest = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16
        result = tl.where(v == v, nearest, 0x7FC0).to(tl.int16).to(tl.bfloat16, bitcast=True)
    else:
        result = v.to(TYPE)
    return result


@triton.jit
def image(
    x, center, scale, shift, y, infinite, outer, features, width,
    RUNS: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """y = (x − center) · scale + shift in float64, rounded once; and of each program how many x were infinite."""
    parts = tl.num_programs(1)
    block, part = tl.program_id(0), tl.program_id(1)
    first, last = tiles.share(tiles.count(outer, width, RUNS, ROWS, COLUMNS), part, parts)
    feature, known = tiles.per(block, features, RUNS, COLUMNS)
    c = tl.load(center + feature, mask=known, other=0.0)
    s = tl.load(scale + feature, mask=known, other=0.0)
    t = tl.load(shift + feature, mask=known, other=0.0)
    found = tl.zeros((ROWS, COLUMNS), tl.int32)
    for tile in range(first, last):
        row, one, along, there = tiles.place(tile, block, outer, features, width, RUNS, ROWS, COLUMNS)
        at = (row * features + one) * width + along
        v = tl.load(x + at, mask=there, other=0.0).to(tl.float64)
        found += (tl.abs(v) == float("inf")).to(tl.int32)
        tl.store(y + at, _rounded((v - c) * s + t, y.dtype.element_ty), mask=there)
    tl.store(infinite + block * parts + part, tl.sum(tl.sum(found, 1), 0))
