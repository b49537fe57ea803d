"""What the backward pass of a ReLU needs of its output: one bit for each value, whether it got through.

Bits lie in memory's order, 64 to a word. A processor compares 8 or 16 values at once and has their bits in a register,
but a compiler does not find that in a loop: a word is made and taken apart by vectors of 64, which it cuts to size.
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import int64, types, uint64
from numba.extending import intrinsic
from numpy.typing import NDArray

from gammabeta.kernels import layout, memory, threads
from gammabeta.kernels.intrinsics import kernel
from gammabeta.kernels.layout import Array
from gammabeta.kernels.storage import stored

Bits = NDArray[np.uint64]

_WORD = np.int64(64)


def signs(y: Array) -> Bits:
    """Of each value of y ≥ 0 whether it is not 0; NaN is not."""
    flat = _integers(y.transpose(order(y)).reshape(-1))
    bits = np.zeros(-(-flat.size // int(_WORD)), np.uint64)
    threads.run(lambda r: _signs(flat, bits, *r), threads.ranges(bits.size, layout.COSTLY // int(_WORD)))
    return bits


def gated(dy: Array, order: list[int], bits: Bits) -> Array:
    """dy where y got through, else 0, in the layout of y: its `order` and its `signs`."""
    moved = np.ascontiguousarray(dy.transpose(order), dy.dtype.newbyteorder("=")).reshape(-1)
    place = memory.empty(moved.size, moved.dtype)
    source, target = _integers(moved), _integers(place)
    threads.run(lambda r: _gate(source, bits, target, *r), threads.ranges(bits.size, layout.COSTLY // int(_WORD)))
    return place.reshape([dy.shape[i] for i in order]).transpose(np.argsort(order))


def order(y: Array) -> list[int]:
    """The axes from the longest stride to the shortest."""
    return sorted(range(y.ndim), key=lambda i: (-abs(y.strides[i]), i))


def _integers(flat: Array) -> Any:
    """Floats as the integers of their bits, which are 0 where the value is."""
    return layout.readable(stored(flat).view(f"i{flat.itemsize}"))


def _vector(context, builder, signature, args):
    """64 integers of an array, from a place on."""
    array = context.make_array(signature.args[0])(context, builder, args[0])
    kind = ir.VectorType(ir.IntType(signature.args[0].dtype.bitwidth), int(_WORD))
    pointer = builder.bitcast(builder.gep(array.data, [args[1]]), kind.as_pointer())
    return pointer, kind


@intrinsic
def _word(context, x, place):
    """The bits of 64 values: whether they are not 0, whatever their sign."""

    def generate(context, builder, signature, args):
        pointer, kind = _vector(context, builder, signature, args)
        values = builder.load(pointer, align=signature.args[0].dtype.bitwidth // 8)
        one = ir.Constant(kind, [ir.Constant(kind.element, 1)] * int(_WORD))
        there = builder.icmp_unsigned("!=", builder.shl(values, one), ir.Constant(kind, None))
        return builder.bitcast(there, ir.IntType(64))

    return uint64(x, int64), generate


@intrinsic
def _let(context, x, place, word, out):
    """64 values where their bit is 1, else 0."""

    def generate(context, builder, signature, args):
        pointer, kind = _vector(context, builder, signature, args)
        target, _ = _vector(context, builder, signature.args[3](*signature.args[3:], int64), [args[3], args[1]])
        align = signature.args[0].dtype.bitwidth // 8
        mask = builder.bitcast(args[2], ir.VectorType(ir.IntType(1), int(_WORD)))
        values = builder.select(mask, builder.load(pointer, align=align), ir.Constant(kind, None))
        builder.store(values, target, align=align)
        return context.get_dummy_value()

    return types.void(x, int64, uint64, x), generate


@kernel
def _signs(y, bits, first, last):
    """Words first to last."""
    whole = min(last, y.size // _WORD)
    for i in range(first, whole):
        bits[i] = _word(y, i * _WORD)
    for j in range(whole * _WORD, min(last * _WORD, y.size)):
        bits[j // _WORD] |= np.uint64((y[j] << 1) != 0) << np.uint64(j % _WORD)


@kernel
def _gate(dy, bits, out, first, last):
    """Words first to last."""
    whole = min(last, dy.size // _WORD)
    for i in range(first, whole):
        _let(dy, i * _WORD, bits[i], out)
    for j in range(whole * _WORD, min(last * _WORD, dy.size)):
        out[j] = dy[j] if (bits[j // _WORD] >> np.uint64(j % _WORD)) & np.uint64(1) else 0
