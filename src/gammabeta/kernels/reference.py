"""Batch norm in plain NumPy, in float64: what the kernels are compared with, and what masks go through.

Statistics have x's number of dimensions, 1 on the reduced axes. `mask` is True where a value counts, and broadcasts
against x.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Axes = tuple[int, ...]

_HUGE, _POWER = 2.0**400, -600  # beyond the first, a feature is multiplied by 2 to the second before it is squared


def forward(
    x: Array, reduced_axes: Axes, gamma: Any, beta: Any, eps: float, mask: Any = True
) -> tuple[Array, Array, Array, Array]:
    """y = γ · (x − mean) / √(var + eps) + β, mean, var = Σ(x − mean)² / count, and count; y is 0 where not mask."""
    values = np.where(mask, x, 0.0).astype(np.float64)
    count = np.broadcast_to(mask, x.shape).sum(axis=reduced_axes, keepdims=True)
    with np.errstate(over="ignore", invalid="ignore"):
        huge = np.abs(values).max(axis=reduced_axes, keepdims=True) > _HUGE
        values = np.ldexp(values, np.where(huge, _POWER, 0))
        mean = values.sum(axis=reduced_axes, keepdims=True) / np.maximum(count, 1)
        centred = np.where(mask, values - mean, 0.0)
        mean_lo = centred.sum(axis=reduced_axes, keepdims=True) / np.maximum(count, 1)
        centred = np.where(mask, centred - mean_lo, 0.0)
        var = (centred**2).sum(axis=reduced_axes, keepdims=True) / np.maximum(count, 1)
        floor = np.where(huge, np.finfo(np.float64).tiny, eps)
        y = np.where(mask, gamma * (centred / np.sqrt(var + floor)) + beta, 0.0)
        back = np.where(huge, -_POWER, 0)
        return _rounded(y, x), np.ldexp(mean + mean_lo, back), np.ldexp(var, 2 * back), count


def evaluate(x: Array, mean: Any, var: Any, gamma: Any, beta: Any, eps: float, mask: Any = True) -> Array:
    """y = γ · (x − mean) / √(var + eps) + β, and 0 where mask is False."""
    with np.errstate(over="ignore", invalid="ignore"):
        return _rounded(np.where(mask, gamma * ((x - mean) / np.sqrt(var + eps)) + beta, 0.0), x)


def backward(
    dy: Array, x: Array, reduced_axes: Axes, mean: Any, var: Any, gamma: Any, eps: float, mask: Any = True
) -> tuple[Array, Array, Array]:
    """dx, dγ and dβ of `forward`: with x̂ = (x − mean) / √(var + eps),

    dβ = Σdy,  dγ = Σdy·x̂,  dx = γ / √(var + eps) · (dy − dβ/n − x̂·dγ/n).
    """
    slope, normal, inverse = _parts(dy, x, mean, var, eps, mask)
    count = np.maximum(np.broadcast_to(mask, x.shape).sum(axis=reduced_axes, keepdims=True), 1)
    dbeta = slope.sum(axis=reduced_axes, keepdims=True)
    dgamma = (slope * normal).sum(axis=reduced_axes, keepdims=True)
    dx = gamma * inverse * (slope - dbeta / count - normal * (dgamma / count))
    return _rounded(np.where(mask, dx, 0.0), x), dgamma, dbeta


def evaluate_backward(
    dy: Array, x: Array, reduced_axes: Axes, mean: Any, var: Any, gamma: Any, eps: float, mask: Any = True
) -> tuple[Array, Array, Array]:
    """dx, dγ and dβ of `evaluate`, whose mean and var are constants: dx = γ / √(var + eps) · dy."""
    slope, normal, inverse = _parts(dy, x, mean, var, eps, mask)
    sums = (slope * normal).sum(axis=reduced_axes, keepdims=True), slope.sum(axis=reduced_axes, keepdims=True)
    return _rounded(gamma * inverse * slope, x), *sums


def _parts(dy: Array, x: Array, mean: Any, var: Any, eps: float, mask: Any) -> tuple[Array, Array, Array]:
    """dy and x̂, 0 where mask is False, and 1 / √(var + eps)."""
    inverse = 1 / np.sqrt(var + eps)
    slope = np.where(mask, dy, 0.0).astype(np.float64)
    return slope, np.where(mask, (x - mean) * inverse, 0.0), inverse


def _rounded(y: Array, x: Array) -> Array:
    return y.astype(x.dtype.newbyteorder("="))
