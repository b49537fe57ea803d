"""What processors do and Numba has no name for."""

from llvmlite import ir
from numba import float64, int64, types, uint64
from numba.core import cgutils
from numba.extending import intrinsic


@intrinsic
def bits(context, x):
    """A float64 read as an unsigned integer."""
    return uint64(float64), lambda context, builder, signature, args: builder.bitcast(args[0], ir.IntType(64))


@intrinsic
def number(context, x):
    """An unsigned integer read as a float64."""
    return float64(uint64), lambda context, builder, signature, args: builder.bitcast(args[0], ir.DoubleType())


@intrinsic
def fma(context, x, y, z):
    """x·y + z, rounded once."""

    def generate(context, builder, signature, args):
        double = ir.DoubleType()
        function = builder.module.declare_intrinsic("llvm.fma", [double], ir.FunctionType(double, [double] * 3))
        return builder.call(function, args)

    return float64(float64, float64, float64), generate


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
