"""What processors do and Numba has no name for."""

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import float64, int64, njit, types, uint64, version_info
from numba.core import cgutils
from numba.core.caching import FunctionCache
from numba.core.runtime import rtsys
from numba.extending import intrinsic

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
