"""What processors do and Numba has no name for."""

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import float64, int64, njit, types, uint64, version_info
from numba.core import cgutils
from numba.core.caching import FunctionCache
from numba.core.runtime import rtsys
from numba.extending import intrinsic, overload

_TRIED = (0, 68)  # the last Numba with which `_Cache` was


class _Cache(FunctionCache):
    """Compiled code on the disk, read by itself. Numba would read in first all that it can compile, for a third of a
    second; that waits until something is compiled."""

    def load_overload(self, signature: Any, context: Any) -> Any:
        with self._guard_against_spurious_io_errors():
            return self._load_overload(signature, context)


class _AllocatingCache(_Cache):
    def load_overload(self, signature: Any, context: Any) -> Any:
        rtsys.initialize(context)  # what makes arrays calls it
        return super().load_overload(signature, context)


def _compiled(function: Callable[..., Any], cache: type[_Cache], **options: bool) -> Any:
    compiled = njit(nogil=True, cache=True, **options)(function)
    if version_info.short <= _TRIED:
        compiled._cache = cache(function)
    return compiled


def kernel(function: Callable[..., Any]) -> Any:
    """Compile a function that makes no array: those that it is given are its caller's, and Numba need not count who
    holds them, which takes an atomic operation for each array and each function that passes it on."""
    return _compiled(function, _Cache, _nrt=False)


def allocating(function: Callable[..., Any]) -> Any:
    """Compile a function that makes arrays, or may."""
    return _compiled(function, _AllocatingCache)


def callback(function: Callable[[int], None]) -> Any:
    """Compile a kernel of an int64 for callers that are not Python; its `address` tells them where it is."""
    from numba.core.ccallback import CFunc

    compiled: Any = CFunc(function, ((int64,), types.void), {}, {"nopython": True, "_nrt": False})
    compiled._cache = _Cache(function) if version_info.short <= _TRIED else FunctionCache(function)
    compiled.compile()
    return compiled


@intrinsic
def bits(context, x):
    """A float64 read as an unsigned integer."""
    return uint64(float64), lambda context, builder, signature, args: builder.bitcast(args[0], ir.IntType(64))


@intrinsic
def number(context, x):
    """An unsigned integer read as a float64."""
    return float64(uint64), lambda context, builder, signature, args: builder.bitcast(args[0], ir.DoubleType())


@intrinsic
def multiply_high(context, a, b):
    """The upper 64 bits of the 128-bit product of two unsigned integers."""

    def generate(context, builder, signature, args):
        long = ir.IntType(128)
        product = builder.mul(*(builder.zext(arg, long) for arg in args))
        return builder.trunc(builder.lshr(product, long(64)), ir.IntType(64))

    return uint64(uint64, uint64), generate


@intrinsic
def fma(context, x, y, z):
    """x·y + z, rounded once; of three float64 or three float32."""

    def generate(context, builder, signature, args):
        number = args[0].type
        function = builder.module.declare_intrinsic("llvm.fma", [number], ir.FunctionType(number, [number] * 3))
        return builder.call(function, args)

    return x(x, x, x), generate


@intrinsic
def prefetch(context, x, index):
    """Ask for the cache line of x[index], which need not exist."""

    def generate(context, builder, signature, args):
        array = context.make_array(signature.args[0])(context, builder, args[0])
        address = builder.bitcast(builder.gep(array.data, [args[1]]), ir.IntType(8).as_pointer())
        word = ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [address.type, word, word, word])
        function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
        builder.call(function, [address, word(0), word(2), word(1)])  # to read, into the L2 cache, data
        return context.get_dummy_value()

    return types.void(x, int64), generate


@intrinsic
def lying(context, address, shape, kind):
    """The array of a shape, a tuple, and of a kind of number that lies at an address, whoever holds it."""
    array_type = types.Array(kind.dtype, len(shape), "C")

    def generate(context, builder, signature, args):
        from numba.np.arrayobj import populate_array

        array = context.make_array(array_type)(context, builder)
        sizes, step = cgutils.unpack_tuple(builder, args[1]), context.get_abi_sizeof(context.get_data_type(kind.dtype))
        item = ir.Constant(sizes[0].type, step)
        strides = [item]
        for size in sizes[:0:-1]:
            strides.insert(0, builder.mul(strides[0], size))
        data = builder.inttoptr(args[0], context.get_data_type(kind.dtype).as_pointer())
        populate_array(array, data, sizes, strides, item, None)
        return array._getvalue()

    return array_type(address, shape, kind), generate


@intrinsic
def take_ticket(context, address):
    """The int64 at an address, which then is one more: no two threads take the same."""

    def generate(context, builder, signature, args):
        place = builder.inttoptr(args[0], ir.IntType(64).as_pointer())
        return builder.atomic_rmw("add", place, ir.Constant(ir.IntType(64), 1), "monotonic")

    return int64(int64), generate


# Constants of NumPy's types rather than Python's: Numba compiles a function once for each Python constant it is given.
SUM_BASE, SUM_HEIGHT = np.int64(-34), 70  # limbs for x: from 2^−1088 to beyond every float and 64-bit integer
SQUARES_BASE, SQUARES_HEIGHT = np.int64(-68), 138  # for x² and w·x: from 2^−2176
CUBES_BASE, CUBES_HEIGHT = np.int64(-102), 206  # for w·x²: from 2^−3264

NAN, PLUS_INF, MINUS_INF = 0, 1, 2

MAGNITUDE = np.uint64(0x7FFF_FFFF_FFFF_FFFF)
POINT = np.uint64(52)
ONE = np.uint64(1)
POSITIVE = np.bool_(False)
_FRACTION = np.uint64(2**52 - 1)
_LOW = np.uint64(0xFFFF_FFFF)
_WORD = np.uint64(32)


@kernel
def add_shifted(limbs, base, touched, lane, value, exponent, negative):
    """Add ±value · 2^exponent, value an unsigned 64-bit integer, to a lane of limbs; note which rows that touched."""
    position = exponent - 32 * base
    at = position >> 5
    shift = np.uint64(position & 31)
    first = (value & _LOW) << shift
    second = (value >> _WORD) << shift
    d0 = np.int64(first & _LOW)
    d1 = np.int64(first >> _WORD) + np.int64(second & _LOW)
    d2 = np.int64(second >> _WORD)
    if negative:
        d0, d1, d2 = -d0, -d1, -d2
    limbs[at, lane] += d0
    limbs[at + 1, lane] += d1
    limbs[at + 2, lane] += d2
    touched[0] = min(touched[0], at)
    touched[1] = max(touched[1], at + 3)


@kernel
def add_square(limbs, base, touched, lane, value, exponent):
    """Add (value · 2^exponent)²."""
    add_shifted(limbs, base, touched, lane, value * value, 2 * exponent, POSITIVE)
    add_shifted(limbs, base, touched, lane, multiply_high(value, value), 2 * exponent + 64, POSITIVE)


def split(v):
    """A finite number as an unsigned integer, an exponent of 2 and whether it is negative."""


@overload(split)
def _split(v):
    def integer(v):
        return (np.uint64(0) - np.uint64(v) if v < 0 else np.uint64(v)), 0, v < 0

    def floating(v):
        b = bits(v)
        field = np.int64((b & MAGNITUDE) >> POINT)
        significand = b & _FRACTION
        if field > 0:
            significand |= ONE << POINT
        return significand, max(field, 1) - 1075, v < 0

    return integer if isinstance(v, types.Integer) else floating


@kernel
def add_weighted(v, w, lane, omit, weights, weight_base, sums, sum_base, squares, square_base, specials, touched):
    """Add w, w·v and w·v² to a lane of limbs with these bases; where w = 0, v counts for nothing.

    v: float64, int64 or uint64; w: float64, finite, ≥ 0; omit: whether the weight of a NaN is left out.
    """
    if w == 0:
        return
    weight, place, _ = split(w)
    if not (omit and np.isnan(v)):
        add_shifted(weights, weight_base, touched[0], lane, weight, place, POSITIVE)
    if not np.isfinite(v):
        specials[NAN if np.isnan(v) else PLUS_INF if v > 0 else MINUS_INF, lane] += 1
        return
    size, exponent, negative = split(v)
    place += exponent
    add_shifted(sums, sum_base, touched[1], lane, size * weight, place, negative)
    add_shifted(sums, sum_base, touched[1], lane, multiply_high(size, weight), place + 64, negative)
    place += exponent
    lower, upper = size * size, multiply_high(size, size)
    middle = multiply_high(lower, weight) + upper * weight
    carry = np.uint64(middle < upper * weight)
    highest = multiply_high(upper, weight) + carry
    add_shifted(squares, square_base, touched[2], lane, lower * weight, place, POSITIVE)
    add_shifted(squares, square_base, touched[2], lane, middle, place + 64, POSITIVE)
    add_shifted(squares, square_base, touched[2], lane, highest, place + 128, POSITIVE)
