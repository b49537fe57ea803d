"""The array operations that the formula needs and that frameworks name differently.

`where`, `sqrt`, `abs` and `reshape` have one name and one meaning everywhere: they are `space.xp`'s.

Where one number is nearly the whole of a float32 sum, each addition of another to it may lose half a unit in its last
place, always to the same side. On a CPU XLA and TensorFlow add one after the other, torch in blocks: of 0s and one huge
value y lost 12, 243 and 6 units. So float32 numbers are added in float64 on a CPU (by TensorFlow, whose traced tensors
have no place yet, everywhere); GPUs add in trees.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from math import prod
from typing import Any

from gammabeta.backends import arrays, registry

Axes = tuple[int, ...]


@dataclass(frozen=True)
class ArrayOps:
    """The operations for NumPy, and for what follows its names: JAX, CuPy, the array API standard."""

    xp: Any
    """The module of the operations that have one name everywhere."""

    def as_tensor(self, x: Any) -> Any:
        """x as the framework's tensor type, which has all operations: a TensorFlow variable is read."""
        return x

    def array(self, value: Any, like: Any, dtype: Any) -> Any:
        """Values as an array of that type, on the device of `like`; an array of the framework stays in its graph."""
        return self.xp.asarray(value, dtype=dtype)

    def constant(self, value: float, like: Any) -> Any:
        """One number, of the type and on the device of `like`."""
        return self.xp.asarray(value, dtype=like.dtype)

    def cast(self, x: Any, dtype: Any) -> Any:
        """x in another type."""
        return x.astype(dtype) if hasattr(x, "astype") else self.xp.astype(x, dtype)

    def shape(self, x: Any) -> tuple[int | None, ...]:
        """The lengths of x's axes; None where a traced one is not known yet."""
        return tuple(x.shape)

    def lengths(self, x: Any) -> list[Any]:
        """The lengths of x's axes; a scalar of the framework where a traced one is not known yet."""
        return list(x.shape)

    def sum(self, x: Any, reduced_axes: Axes) -> Any:
        """The sum over axes, which stay with length 1."""
        return self.xp.sum(x, axis=reduced_axes, keepdims=True)

    def mean(self, x: Any, reduced_axes: Axes) -> Any:
        """The mean over axes, which stay with length 1."""
        return self.xp.mean(x, axis=reduced_axes, keepdims=True)

    def max(self, x: Any, reduced_axes: Axes) -> Any:
        """The greatest value over axes, which stay with length 1."""
        return self.xp.max(x, axis=reduced_axes, keepdims=True)

    def squeeze(self, x: Any, reduced_axes: Axes) -> Any:
        """x without the named axes, which have length 1."""
        return self.xp.squeeze(x, axis=reduced_axes)

    def finite(self, x: Any) -> Any:
        """A boolean array: True where x is neither NaN nor infinite."""
        return self.xp.isfinite(x)

    def any(self, x: Any) -> Any:
        """Whether anything in x is True, as a scalar array."""
        return self.xp.any(x)

    def clip(self, x: Any, lower: float, upper: float) -> Any:
        """x clipped to lower…upper."""
        return self.xp.clip(x, lower, upper)

    def stop_gradient(self, x: Any) -> Any:
        """x as a constant: no gradient flows through it."""
        return x

    def moments(self, x: Any, reduced_axes: Axes, largest: float, power: int) -> Any:
        """A power of two for each feature; and the mean, its lower digits and the variance of x times that.

        Differentiable. None where one operation after the other must find them. The power is 2^power where values
        beyond `largest` have squares that overflow, else 1.
        """
        return None

    def kernels(self, x: Any, mean: Any, var: Any) -> Any:
        """The function that normalizes x by kernels, differentiably; None where the operations must do it."""
        return None

    def compiled(self, function: Callable[..., Any], static: tuple[str, ...]) -> Callable[..., Any]:
        """`function(self, …)` of the other arguments, compiled whole where each operation would be compiled by itself.

        static: the names of the arguments that are no arrays.
        """
        return partial(function, self)

    def rows(self, x: Any) -> Any:
        """The function that normalizes rows of x by kernels, differentiably; None where the operations must do it."""
        return None


class _Jax(ArrayOps):
    """The operations for JAX, whose float32 sums on a CPU are taken in float64."""

    def sum(self, x: Any, reduced_axes: Axes) -> Any:
        return _jax_sum()(x, reduced_axes) if x.dtype == self.xp.float32 else super().sum(x, reduced_axes)

    def mean(self, x: Any, reduced_axes: Axes) -> Any:
        return self.sum(x, reduced_axes) / prod(x.shape[i] for i in reduced_axes)

    def moments(self, x: Any, reduced_axes: Axes, largest: float, power: int) -> Any:
        return _jax_moments()(x, reduced_axes, largest, power) if x.dtype == self.xp.float32 else None

    def stop_gradient(self, x: Any) -> Any:
        return sys.modules["jax"].lax.stop_gradient(x)

    def compiled(self, function: Callable[..., Any], static: tuple[str, ...]) -> Callable[..., Any]:
        return _jax_compiled(self, function, static)


class _Torch(ArrayOps):
    """The operations for torch."""

    def array(self, value: Any, like: Any, dtype: Any) -> Any:
        return self.xp.as_tensor(value, dtype=dtype, device=like.device)

    def constant(self, value: float, like: Any) -> Any:
        return self.xp.full((), value, dtype=like.dtype, device=like.device)

    def cast(self, x: Any, dtype: Any) -> Any:
        return x.to(dtype)

    def sum(self, x: Any, reduced_axes: Axes) -> Any:
        return self.xp.sum(x, dim=reduced_axes, keepdim=True, dtype=self._wide(x)).to(x.dtype)

    def mean(self, x: Any, reduced_axes: Axes) -> Any:
        return self.xp.mean(x, dim=reduced_axes, keepdim=True, dtype=self._wide(x)).to(x.dtype)

    def _wide(self, x: Any) -> Any:
        return self.xp.float64 if x.dtype == self.xp.float32 and x.device.type == "cpu" else x.dtype

    def max(self, x: Any, reduced_axes: Axes) -> Any:
        return self.xp.amax(x, dim=reduced_axes, keepdim=True)

    def squeeze(self, x: Any, reduced_axes: Axes) -> Any:
        return self.xp.squeeze(x, dim=reduced_axes)

    def stop_gradient(self, x: Any) -> Any:
        return x.detach()

    def kernels(self, x: Any, mean: Any, var: Any) -> Any:
        if self.xp.compiler.is_compiling():  # its compiler fuses the operations
            return None
        on_cpu = registry.module("torch", "cpu")
        if not on_cpu.constant(mean, var):
            return None
        if on_cpu.fits(x):
            return on_cpu.normalized
        return registry.module("torch", "gpu").formula if registry.module("torch", "tiling").reachable(x) else None

    def rows(self, x: Any) -> Any:
        if self.xp.compiler.is_compiling() or not registry.module("torch", "cpu").fits(x):
            return None
        return registry.module("torch", "rows").normalized


class _TensorFlow(ArrayOps):
    """The operations for TensorFlow, also of symbolic tensors."""

    def as_tensor(self, x: Any) -> Any:
        return self.xp.convert_to_tensor(x)

    def array(self, value: Any, like: Any, dtype: Any) -> Any:
        return self.xp.cast(self.xp.convert_to_tensor(value), dtype)

    def constant(self, value: float, like: Any) -> Any:
        return self.xp.constant(value, dtype=like.dtype)

    def cast(self, x: Any, dtype: Any) -> Any:
        return self.xp.cast(x, dtype)

    def lengths(self, x: Any) -> list[Any]:
        traced = self.xp.shape(x)
        return [traced[i] if n is None else n for i, n in enumerate(x.shape)]

    def sum(self, x: Any, reduced_axes: Axes) -> Any:
        return self.xp.cast(self.xp.reduce_sum(self._wide(x), axis=reduced_axes, keepdims=True), x.dtype)

    def mean(self, x: Any, reduced_axes: Axes) -> Any:
        return self.xp.cast(self.xp.reduce_mean(self._wide(x), axis=reduced_axes, keepdims=True), x.dtype)

    def _wide(self, x: Any) -> Any:
        return self.xp.cast(x, self.xp.float64) if x.dtype == self.xp.float32 else x

    def max(self, x: Any, reduced_axes: Axes) -> Any:
        return self.xp.reduce_max(x, axis=reduced_axes, keepdims=True)

    def squeeze(self, x: Any, reduced_axes: Axes) -> Any:
        return self.xp.squeeze(x, axis=reduced_axes)

    def finite(self, x: Any) -> Any:
        return self.xp.math.is_finite(x)

    def any(self, x: Any) -> Any:
        return self.xp.reduce_any(x)

    def clip(self, x: Any, lower: float, upper: float) -> Any:
        return self.xp.clip_by_value(x, lower, upper)

    def stop_gradient(self, x: Any) -> Any:
        return self.xp.stop_gradient(x)


@cache
def _jax_sum() -> Any:
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
def _jax_moments() -> Any:
    """`ArrayOps.moments` of float32 numbers, on a CPU by sums in float64, whether or not `jax_enable_x64` is set.

    The lower digits of a mean that is summed in float64 are there without a sweep for them, and the sweep for the
    maximum, which takes as long as such a sum, is made only if a square has overflowed: a third of the time.
    The derivative has no float64, for `_jax_sum`'s reasons.
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
        scale, high, low, var = moments(x, reduced_axes, largest, power)
        n = prod(x.shape[i] for i in reduced_axes)
        change, still = change * scale, jnp.zeros_like(scale)
        centred = x * scale - high - low
        slopes = (still, change.sum(reduced_axes, keepdims=True) / n, still)
        return (scale, high, low, var), (*slopes, 2 * (centred * change).sum(reduced_axes, keepdims=True) / n)

    moments = jax.custom_jvp(found, nondiff_argnums=(1, 2, 3))
    moments.defjvp(derivative)
    return jax.jit(moments, static_argnums=(1, 2, 3))


@cache
def _jax_compiled(space: _Jax, function: Callable[..., Any], static: tuple[str, ...]) -> Callable[..., Any]:
    """`ArrayOps.compiled`: outside a trace one program in the place of some sixty, inside one nothing."""
    jit = sys.modules["jax"].jit
    compiled: Callable[..., Any] = jit(partial(function, space), static_argnames=static, inline=True)
    return compiled


_SPACES: dict[str, type[ArrayOps]] = {"jax": _Jax, "torch": _Torch, "tensorflow": _TensorFlow}


def of(x: Any) -> ArrayOps:
    """The operations for arrays of x's kind."""
    return _SPACES.get(arrays.kind(x), ArrayOps)(arrays.namespace(x))
