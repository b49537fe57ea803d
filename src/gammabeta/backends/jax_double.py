"""JAX's sums, moments, differences and maps of float32 numbers in float64, whether or not `jax_enable_x64` is set.

Each is differentiable, by a derivative of its own: without that setting no float64 can be transposed. XLA adds up
constants before it subtracts them, so that a center in two float32 parts would lose the second.
"""

import sys
from functools import cache
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

Axes = tuple[int, ...]


@cache
def exact_sum() -> Any:
    """The sum of float32 numbers over axes, which stay: in float64 on a CPU, whether or not `jax_enable_x64` is set.

    The derivative has no float64, which could not be transposed where that is not set. `jit` makes a call outside a
    trace 30 times as fast, and is nothing inside one.
    """
    jax = sys.modules["jax"]
    lax = jax.lax

    def added(x: Any, reduced_axes: Axes) -> Any:
        def wide(x: Any) -> Any:
            with jax.enable_x64(True):
                total = lax.reduce_sum(lax.convert_element_type(x, "float64"), axes=reduced_axes)
                return lax.convert_element_type(total, x.dtype)

        total = lax.platform_dependent(x, cpu=wide, default=lambda x: lax.reduce_sum(x, axes=reduced_axes))
        return lax.expand_dims(total, reduced_axes)

    def derivative(reduced_axes: Axes, values: Any, changes: Any) -> Any:
        return added_with_derivative(*values, reduced_axes), changes[0].sum(reduced_axes, keepdims=True)

    added_with_derivative = jax.custom_jvp(added, nondiff_argnums=(1,))
    added_with_derivative.defjvp(derivative)
    return jax.jit(added_with_derivative, static_argnums=1)


@cache
def moments() -> Any:
    """`ArrayOps.moments` of float32 numbers, on a CPU by sums in float64, whether or not `jax_enable_x64` is set.

    The lower digits of a mean that is summed in float64 are there without a sweep for them, and the sweep for the
    maximum, which takes as long as such a sum, is made only if a square has overflowed: a third of the time.
    The derivative has no float64, for `exact_sum`'s reasons.
    """
    jax = sys.modules["jax"]
    jnp = jax.numpy

    def found(x: Any, reduced_axes: Axes, largest: float, power: int) -> Any:
        n = prod(x.shape[i] for i in reduced_axes)

        def guarded(mean: Any, x: Any) -> Any:
            huge = abs(x).max(reduced_axes, keepdims=True) > largest
            scale = jnp.where(huge, 2.0**power, 1.0).astype(x.dtype)
            high = mean(x * scale).astype(x.dtype)
            low = mean(x * scale - high).astype(x.dtype)
            return scale, high, low, mean((x * scale - high - low) ** 2).astype(x.dtype)

        def on_cpu(x: Any) -> Any:
            def mean(of: Any) -> Any:
                return of.astype("float64").sum(reduced_axes, keepdims=True) / n

            with jax.enable_x64(True):
                whole = mean(x)
                high = whole.astype(x.dtype)
                low = (whole - high).astype(x.dtype)
                var = mean((x - high - low) ** 2)
                plain = jnp.ones_like(high), high, low, var.astype(x.dtype)
                fits = jnp.isfinite(var)

                def rescaled(x: Any) -> Any:
                    """Those features alone whose squares overflow: a bad one moves no bit of another."""
                    return tuple(jnp.where(fits, *pair) for pair in zip(plain, guarded(mean, x), strict=True))

                return jax.lax.cond(fits.all(), lambda x: plain, rescaled, x)

        def elsewhere(x: Any) -> Any:
            return guarded(lambda of: of.sum(reduced_axes, keepdims=True) / n, x)

        return jax.lax.platform_dependent(x, cpu=on_cpu, default=elsewhere)

    def derivative(reduced_axes: Axes, largest: float, power: int, values: Any, changes: Any) -> Any:
        (x,), (change,) = values, changes
        scale, high, low, var = differentiable(x, reduced_axes, largest, power)
        n = prod(x.shape[i] for i in reduced_axes)
        change, still = change * scale, jnp.zeros_like(scale)
        centred = x * scale - high - low
        slopes = (still, change.sum(reduced_axes, keepdims=True) / n, still)
        return (scale, high, low, var), (*slopes, 2 * (centred * change).sum(reduced_axes, keepdims=True) / n)

    differentiable = jax.custom_jvp(found, nondiff_argnums=(1, 2, 3))
    differentiable.defjvp(derivative)
    return jax.jit(differentiable, static_argnums=(1, 2, 3))


@cache
def difference() -> Any:
    """`ArrayOps.subtract`, in float64 whether or not `jax_enable_x64` is set; the derivative is not, as above."""
    jax = sys.modules["jax"]

    def found(x: Any, center: Any, center_lo: Any) -> Any:
        with jax.enable_x64(True):
            wide, high, low = (jax.lax.convert_element_type(each, "float64") for each in (x, center, center_lo))
            return jax.lax.convert_element_type(wide - (high + low), x.dtype)

    def derivative(values: Any, changes: Any) -> Any:
        return differentiable(*values), changes[0] - changes[1].astype(changes[0].dtype)

    differentiable = jax.custom_jvp(found)
    differentiable.defjvp(derivative)
    return differentiable


def affine(x: Any, parameters: tuple[NDArray[np.float64], ...]) -> Any:
    """`ArrayOps.affine`, in float64 whether or not `jax_enable_x64` is set; of integers float32 where it is not."""
    jax = sys.modules["jax"]
    jnp = jax.numpy
    floating = "float" in x.dtype.name
    dtype = x.dtype if floating else jnp.asarray(0.0).dtype

    def image(x: Any) -> Any:
        with jax.enable_x64(True):
            center, slope, shift = map(jnp.asarray, parameters)
            y = (jax.lax.convert_element_type(x, "float64") - center) * slope + shift
            return jax.lax.convert_element_type(y, dtype)

    def derivative(values: Any, changes: Any) -> Any:
        # In float32 at least, and in no type that could not be transposed where `jax_enable_x64` is not set.
        working = jnp.promote_types(dtype, jnp.float32)
        change = changes[0].astype(working) * jnp.asarray(parameters[1], working)
        return differentiable(values[0]), change.astype(dtype)

    if not floating:
        return image(x)
    differentiable = jax.custom_jvp(image)
    differentiable.defjvp(derivative)
    return differentiable(x)
