"""What a formula asks of any array: the few operations that frameworks name differently.

`where`, `sqrt`, `abs` and `reshape` have one name and one meaning everywhere: they are `space.xp`'s.

Where one number is nearly the whole of a float32 sum, each addition of another to it may lose half a unit in its last
place, always to the same side. On a CPU XLA and TensorFlow add one after the other, torch in blocks: of 0s and one huge
value y lost 12, 243 and 6 units. So float32 numbers are added in float64 on a CPU (by TensorFlow, whose traced tensors
have no place yet, everywhere); GPUs add in trees.
"""

import sys
from functools import cache
from importlib import import_module
from math import prod
from typing import Any

from gammabeta.backends import arrays

Axes = tuple[int, ...]


class ArrayOps:
    """The operations of NumPy, and of what follows it: JAX, CuPy, the array API standard."""

    def __init__(self, x: Any) -> None:
        self.xp = arrays.namespace(x)

    def plain(self, x: Any) -> Any:
        """x as what has all operations."""
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
        """The same, a scalar of the framework where it is not known yet."""
        return list(x.shape)

    def sum(self, x: Any, reduced_axes: Axes) -> Any:
        """The sum over axes, which stay with length 1."""
        return self.xp.sum(x, axis=reduced_axes, keepdims=True)

    def mean(self, x: Any, reduced_axes: Axes) -> Any:
        """The mean over axes, which stay with length 1."""
        return self.xp.mean(x, axis=reduced_axes, keepdims=True)

    def largest(self, x: Any, reduced_axes: Axes) -> Any:
        """The greatest value over axes, which stay with length 1."""
        return self.xp.max(x, axis=reduced_axes, keepdims=True)

    def squeeze(self, x: Any, reduced_axes: Axes) -> Any:
        """x without those axes of length 1."""
        return self.xp.squeeze(x, axis=reduced_axes)

    def finite(self, x: Any) -> Any:
        """Where x is neither NaN nor infinite."""
        return self.xp.isfinite(x)

    def any(self, x: Any) -> Any:
        """Whether anything in x is True, as a scalar array."""
        return self.xp.any(x)

    def clip(self, x: Any, least: float, most: float) -> Any:
        """x within bounds."""
        return self.xp.clip(x, least, most)

    def stopped(self, x: Any) -> Any:
        """x, through which no gradient flows."""
        return x

    def kernels(self, x: Any, mean: Any, var: Any) -> Any:
        """What normalizes x by kernels and gives its gradients, or None where there are only operations."""
        return None


class _Jax(ArrayOps):
    def sum(self, x: Any, reduced_axes: Axes) -> Any:
        return _jax_sum()(x, reduced_axes) if x.dtype == self.xp.float32 else super().sum(x, reduced_axes)

    def mean(self, x: Any, reduced_axes: Axes) -> Any:
        return self.sum(x, reduced_axes) / prod(x.shape[i] for i in reduced_axes)

    def stopped(self, x: Any) -> Any:
        return sys.modules["jax"].lax.stop_gradient(x)


class _Torch(ArrayOps):
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

    def largest(self, x: Any, reduced_axes: Axes) -> Any:
        return self.xp.amax(x, dim=reduced_axes, keepdim=True)

    def squeeze(self, x: Any, reduced_axes: Axes) -> Any:
        return self.xp.squeeze(x, dim=reduced_axes)

    def stopped(self, x: Any) -> Any:
        return x.detach()

    def kernels(self, x: Any, mean: Any, var: Any) -> Any:
        if self.xp.compiler.is_compiling():  # its compiler fuses the operations
            return None
        # By name: the frameworks' folders lie above this one, and torch, whose tensor this is, has been imported.
        cpu, tiling = (import_module(f"gammabeta.torch.norm.{name}") for name in ("autograd_cpu", "gpu_tiling"))
        if not cpu.constant(mean, var):
            return None
        if cpu.fits(x):
            return cpu.normalized
        return import_module("gammabeta.torch.norm.autograd_gpu").formula if tiling.reachable(x) else None


class _TensorFlow(ArrayOps):
    def plain(self, x: Any) -> Any:
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

    def largest(self, x: Any, reduced_axes: Axes) -> Any:
        return self.xp.reduce_max(x, axis=reduced_axes, keepdims=True)

    def squeeze(self, x: Any, reduced_axes: Axes) -> Any:
        return self.xp.squeeze(x, axis=reduced_axes)

    def finite(self, x: Any) -> Any:
        return self.xp.math.is_finite(x)

    def any(self, x: Any) -> Any:
        return self.xp.reduce_any(x)

    def clip(self, x: Any, least: float, most: float) -> Any:
        return self.xp.clip_by_value(x, least, most)

    def stopped(self, x: Any) -> Any:
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


_SPACES: dict[str, type[ArrayOps]] = {"jax": _Jax, "torch": _Torch, "tensorflow": _TensorFlow}


def of(x: Any) -> ArrayOps:
    """The operations for arrays of x's kind."""
    return _SPACES.get(arrays.kind(x), ArrayOps)(x)
