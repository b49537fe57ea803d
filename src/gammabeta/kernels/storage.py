"""How 16-bit floats are read and written inside a kernel: bfloat16 as uint16, float16 as int16, computed in float64.

Numba has neither type on a CPU. NumPy views them as integers without a copy, and a kernel asks for `take(x, place)` and
`put(x, place, value)` whatever x holds. These two also neither check for negative places, which would keep a loop from
becoming vector instructions, nor make slices, each of which counts references: an atomic operation for 64 values.
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import float32, float64, int16, int64, types, uint16, uint32
from numba.extending import intrinsic, overload

from gammabeta.kernels import binding
from gammabeta.kernels.layout import Array

_WIDEN = binding.function("widen")
_SHIFT = np.uint32(16)
_ONE = np.uint32(1)
_HALF = np.uint32(0x7FFF)
_QUIET = np.uint32(0x0040)

FLOATS = ("float16", "bfloat16", "float32", "float64")


def mapping(x: Array) -> type[np.floating[Any]]:
    """The type to map stored values in, as `like` has it."""
    return np.float32 if x.dtype.kind in "iu" else np.float64


def stored(x: Array) -> Array:
    """x, of one of `FLOATS`, as the array that a kernel takes: the same memory."""
    if x.dtype.itemsize > 2:
        return x
    return x.view(np.int16 if x.dtype == np.float16 else np.uint16)


@intrinsic
def _from_half(context, v):
    def generate(context, builder, signature, args):
        return builder.fpext(builder.bitcast(args[0], ir.HalfType()), ir.FloatType())

    return float32(int16), generate


@intrinsic
def _to_half(context, v):
    def generate(context, builder, signature, args):
        return builder.bitcast(builder.fptrunc(args[0], ir.HalfType()), ir.IntType(16))

    return int16(float32), generate


@intrinsic
def single(context, v):
    """32 bits read as a float32."""
    return float32(uint32), lambda context, builder, signature, args: builder.bitcast(args[0], ir.FloatType())


@intrinsic
def word_of(context, v):
    """A float32 read as 32 bits."""
    return uint32(float32), lambda context, builder, signature, args: builder.bitcast(args[0], ir.IntType(32))


def _address(context, builder, signature, args):
    """Of x[place], with no look at whether place is negative."""
    array = context.make_array(signature.args[0])(context, builder, args[0])
    return builder.gep(array.data, [args[1]])


@intrinsic
def _load(context, x, place):
    def generate(context, builder, signature, args):
        return builder.load(_address(context, builder, signature, args))

    return x.dtype(x, int64), generate


@intrinsic
def _load_constant(context, x, place):
    def generate(context, builder, signature, args):
        value = builder.load(_address(context, builder, signature, args))
        value.set_metadata("invariant.load", builder.module.add_metadata([]))
        return value

    return x.dtype(x, int64), generate


def _apart(builder):
    """The scope of what `given` reads: see LLVM's metadata alias.scope and noalias."""
    module = builder.module
    domain = module.add_metadata(["gammabeta"])
    return module.add_metadata([module.add_metadata(["gammabeta.given", domain])])


@intrinsic
def _load_apart(context, x, place):
    def generate(context, builder, signature, args):
        value = builder.load(_address(context, builder, signature, args))
        value.set_metadata("alias.scope", _apart(builder))
        return value

    return x.dtype(x, int64), generate


@intrinsic
def _store_apart(context, x, place, value):
    def generate(context, builder, signature, args):
        stored = builder.store(args[2], _address(context, builder, signature, args))
        stored.set_metadata("noalias", _apart(builder))
        return context.get_dummy_value()

    return types.void(x, int64, x.dtype), generate


@intrinsic
def _store(context, x, place, value):
    def generate(context, builder, signature, args):
        builder.store(args[2], _address(context, builder, signature, args))
        return context.get_dummy_value()

    return types.void(x, int64, x.dtype), generate


def get(x, place):
    """x[place] as it is."""


@overload(get)
def _get(x, place):
    return lambda x, place: _load(x, place)


def given(x, place):
    """x[place] as it is, from memory to which `keep` writes nothing: the compiler need not ask whether it does."""


@overload(given)
def _given(x, place):
    return lambda x, place: _load_apart(x, place)


def keep(x, place, value):
    """x[place] = value, of x's type, where nothing is that `given` reads."""


@overload(keep)
def _keep(x, place, value):
    return lambda x, place, value: _store_apart(x, place, value)


def like(x, value):
    """A float64 in the type to map x's values in: float32 for 16 bits, where it has 2¹³ times their digits."""


@overload(like)
def _like(x, value):
    if isinstance(x.dtype, types.Integer):
        return lambda x, value: float32(value)
    return lambda x, value: float64(value)


def zeros(x, many):
    """So many zeros of the type that x's values are mapped in."""


@overload(zeros)
def _zeros(x, many):
    kind = np.float32 if isinstance(x.dtype, types.Integer) else np.float64
    return lambda x, many: np.zeros(many, kind)


def _wide(x, value):
    """A value of x as a float64, or of 16 bits as a float32, which holds it exactly."""


@overload(_wide)
def _wide_(x, value):
    if x.dtype == types.uint16:
        return lambda x, value: single(uint32(value) << _SHIFT)
    if x.dtype == types.int16:
        return lambda x, value: _from_half(value)
    return lambda x, value: float64(value)


def take(x, place):
    """x[place] as a float64, or from 16 bits as a float32."""


@overload(take)
def _take(x, place):
    return lambda x, place: _wide(x, _load(x, place))


def read(x, place):
    """`take` from memory that no kernel writes while this one runs.

    The compiler then need not ask whether a result lies over it: with four rows at a time it would give up vectorizing.
    """


@overload(read)
def _read(x, place):
    return lambda x, place: _wide(x, _load_constant(x, place))


def parameter(x, place):
    """x[place] as it is, from memory that no kernel writes while this one runs."""


@overload(parameter)
def _parameter(x, place):
    return lambda x, place: _load_constant(x, place)


def put(x, place, value):
    """Make x[place] a float64, rounded to nearest; in 16 bits by way of float32."""


@overload(put)
def _put(x, place, value):
    if x.dtype == types.uint16:

        def put_bfloat16(x, place, value):
            bits = word_of(float32(value))
            near = (bits + _HALF + ((bits >> _SHIFT) & _ONE)) >> _SHIFT
            _store(x, place, uint16(near if value == value else (bits >> _SHIFT) | _QUIET))

        return put_bfloat16
    if x.dtype == types.int16:
        return lambda x, place, value: _store(x, place, _to_half(float32(value)))
    if x.dtype == types.float32:
        return lambda x, place, value: _store(x, place, float32(value))
    return lambda x, place, value: _store(x, place, value)


def widened(x: Array) -> Array:
    """A contiguous float16 array in float32: NumPy takes thirty times as long."""
    y = np.empty(x.shape, np.float32)
    _WIDEN(x, y)
    return y
