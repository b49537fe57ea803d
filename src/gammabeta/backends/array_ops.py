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

import numpy as np
from numpy.typing import NDArray

from gammabeta.backends import arrays, jax_double, registry
from gammabeta.errors import KindError

Axes = tuple[int, ...]
Parameters = tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]
"""center, slope and shift, which broadcast against x."""


SINGLE_ONLY = ("mps",)  # torch's devices that have no float64


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

    def infinite(self, x: Any) -> Any:
        """A boolean array: True where x is infinite."""
        return self.xp.isinf(x)

    def any(self, x: Any) -> Any:
        """Whether anything in x is True, as a scalar array."""
        return self.xp.any(x)

    def clip(self, x: Any, lower: float, upper: float) -> Any:
        """x clipped to lower…upper."""
        return self.xp.clip(x, lower, upper)

    def stop_gradient(self, x: Any) -> Any:
        """x as a constant: no gradient flows through it."""
        return x

    def watched(self, x: Any) -> bool:
        """Whether operations on x must be the framework's own: a gradient, a trace or a transformation follows them.

        Also where x lies on a device of which only the framework knows.
        """
        return arrays.kind(x) == "cupy"

    def known(self, x: Any) -> bool:
        """Whether the values of x are there, to be looked at, or only stood for in a trace."""
        return True

    def double(self, x: Any) -> Any:
        """x in float64."""
        return self.cast(x, self.xp.float64)

    def subtract(self, x: Any, center: Any, center_lo: Any) -> Any:
        """x − (center + center_lo), rounded once to x's type: in float64, since a compiler may add constants first."""
        return self.cast(self.double(x) - (self.double(center) + self.double(center_lo)), x.dtype)

    def affine(self, x: Any, parameters: Parameters) -> Any:
        """`_affine` of real numbers; `KindError` if x is of others."""
        name = arrays.dtype_name(x)
        if not (name == "bool" or "int" in name or "float" in name):
            raise KindError(f"an affine map takes real numbers, got dtype {name}")
        return self._affine(x, parameters)

    def _affine(self, x: Any, parameters: Parameters) -> Any:
        """(x − center) · slope + shift in float64, rounded once to x's type; of integers and booleans float64."""
        wide = self.double(x)
        center, slope, shift = (self.array(p.copy(), wide, wide.dtype) for p in parameters)
        y = (wide - center) * slope + shift
        return self.cast(y, x.dtype) if is_floating(x) else y

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
        return jax_double.exact_sum()(x, reduced_axes) if x.dtype == self.xp.float32 else super().sum(x, reduced_axes)

    def mean(self, x: Any, reduced_axes: Axes) -> Any:
        return self.sum(x, reduced_axes) / prod(x.shape[i] for i in reduced_axes)

    def moments(self, x: Any, reduced_axes: Axes, largest: float, power: int) -> Any:
        return jax_double.moments()(x, reduced_axes, largest, power) if x.dtype == self.xp.float32 else None

    def watched(self, x: Any) -> bool:
        return not self.known(x) or any(device.platform != "cpu" for device in x.devices())

    def known(self, x: Any) -> bool:
        return not isinstance(x, sys.modules["jax"].core.Tracer)

    def subtract(self, x: Any, center: Any, center_lo: Any) -> Any:
        return jax_double.difference()(x, center, center_lo)

    def _affine(self, x: Any, parameters: Parameters) -> Any:
        return jax_double.affine(x, parameters)

    def stop_gradient(self, x: Any) -> Any:
        return sys.modules["jax"].lax.stop_gradient(x)

    def compiled(self, function: Callable[..., Any], static: tuple[str, ...]) -> Callable[..., Any]:
        return _jax_compiled(self, function, static)


class _Torch(ArrayOps):
    """The operations for torch."""

    def array(self, value: Any, like: Any, dtype: Any) -> Any:
        return self.xp.as_tensor(value, dtype=dtype, device=like.device)

    def watched(self, x: Any) -> bool:
        torch = self.xp
        return (
            not self.known(x)
            or (x.requires_grad and torch.is_grad_enabled())
            or type(x) not in (torch.Tensor, torch.nn.Parameter)
            or torch._C._are_functorch_transforms_active()
            or torch.autograd.forward_ad._current_level >= 0
            or bool(torch._C._len_torch_dispatch_stack())
        )

    def known(self, x: Any) -> bool:
        torch = self.xp
        if torch.compiler.is_compiling() or torch._C._is_tracing() or x.device.type == "meta":
            return False
        return not (isinstance(x, torch._subclasses.FakeTensor) or torch._C._functorch.is_functorch_wrapped_tensor(x))

    def double(self, x: Any) -> Any:
        return x.to(self.xp.float64)

    def subtract(self, x: Any, center: Any, center_lo: Any) -> Any:
        if x.device.type in SINGLE_ONLY:
            return (x - center) - center_lo
        return super().subtract(x, center, center_lo)

    def _affine(self, x: Any, parameters: Parameters) -> Any:
        if x.device.type in SINGLE_ONLY:
            return affine_in_two_parts(self, x, parameters)
        return super()._affine(x, parameters)

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

    def watched(self, x: Any) -> bool:
        return True  # no public function says whether a tape records

    def known(self, x: Any) -> bool:
        return isinstance(x, self.xp.Variable | self.xp.__internal__.EagerTensor) and self.xp.executing_eagerly()

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

    def infinite(self, x: Any) -> Any:
        return self.xp.math.is_inf(x) if is_floating(x) else self.xp.zeros((), self.xp.bool)

    def any(self, x: Any) -> Any:
        return self.xp.reduce_any(x)

    def clip(self, x: Any, lower: float, upper: float) -> Any:
        return self.xp.clip_by_value(x, lower, upper)

    def stop_gradient(self, x: Any) -> Any:
        return self.xp.stop_gradient(x)


@cache
def _jax_compiled(space: _Jax, function: Callable[..., Any], static: tuple[str, ...]) -> Callable[..., Any]:
    """`ArrayOps.compiled`: outside a trace one program in the place of some sixty, inside one nothing."""
    jit = sys.modules["jax"].jit
    compiled: Callable[..., Any] = jit(partial(function, space), static_argnames=static, inline=True)
    return compiled


def affine_in_two_parts(space: ArrayOps, x: Any, parameters: Parameters) -> Any:
    """`ArrayOps.affine` on a device without float64: in float32, the center in two parts, of 48 bits together.

    With u = 2⁻²⁴ the error is at most 4u·|(x − center) · slope| + 2u·(|y| + |shift|) + u²·|center · slope|.
    """
    center, slope, shift = parameters
    low = center - center.astype(np.float32)
    single = space.xp.float32
    values = space.cast(x, single)
    high, low, slope, shift = (space.array(p.astype(np.float32), values, single) for p in (center, low, slope, shift))
    y = ((values - high) - low) * slope + shift
    return space.cast(y, x.dtype) if is_floating(x) else y


_SPACES: dict[str, type[ArrayOps]] = {"jax": _Jax, "torch": _Torch, "tensorflow": _TensorFlow}


def is_floating(x: Any) -> bool:
    """Whether x's dtype is a floating one.

    >>> is_floating(np.zeros(2)), is_floating(np.arange(2))
    (True, False)
    """
    return "float" in arrays.dtype_name(x)


def of(x: Any) -> ArrayOps:
    """The operations for arrays of x's kind."""
    return _SPACES.get(arrays.kind(x), ArrayOps)(arrays.namespace(x))


def in_graph(x: Any) -> ArrayOps | None:
    """The operations for x where they must be its framework's own (`ArrayOps.watched`); None where kernels may do it.

    >>> in_graph(np.zeros(3))
    """
    if not arrays.is_tensor(x):
        return None
    space = of(x)
    return space if space.watched(x) else None
