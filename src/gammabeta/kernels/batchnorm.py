"""Batch norm of NumPy arrays of any layout, split over threads: forward, in evaluation, and backward.

Statistics are float64. Values are mapped in float64, those of 16 bits in float32, and rounded once. A result has its
input's memory layout, so that a framework's tensor, shown as a NumPy view, is neither copied nor transposed. An
addition and a ReLU may follow in the same sweep.
"""

from typing import NamedTuple

import numpy as np

from gammabeta import axes
from gammabeta.kernels import reference
from gammabeta.kernels.batchnorm_blocks import Axes, Batch, Block, Floats
from gammabeta.kernels.dtypes import Array

SAFE = 2.0**100  # a variance beside which float32 sums of squares do not overflow


class Then(NamedTuple):
    """What follows the affine map: an array that is added, and whether a ReLU is applied."""

    added: Array | None = None
    """Of x's shape and type."""
    relu: bool = False


_NOTHING = Then()


def forward(
    x: Array, reduced_axes: Axes, gamma: Floats, beta: Floats, eps: float, then: Then = _NOTHING
) -> tuple[Array, Batch]:
    """y = γ · (x − mean) / √(var + eps) + β with x's own statistics over `reduced_axes`. gamma, beta: (f,)."""
    block = Block(x, reduced_axes)
    y = block.new()
    batch = block.forward(y.flat, gamma, beta, eps, block.in_layout(then.added), then.relu)
    if x.dtype == np.float32 or np.isfinite(batch.var).all():
        return y.array, batch
    # Squares left the range, or there are NaN and infinities.
    if x.dtype.itemsize == 2:
        wide, batch = forward(x.astype(np.float32), reduced_axes, gamma, beta, eps)
    else:
        shape = axes.parameter_shape(reduced_axes, x.shape)
        wide, mean, _, _ = reference.forward(x, reduced_axes, gamma.reshape(shape), beta.reshape(shape), eps)
        batch = batch._replace(mean=mean.reshape(-1), mean_lo=np.zeros(block.features))
    wide = wide if then.added is None else wide + then.added.astype(wide.dtype)
    return (np.maximum(wide, 0) if then.relu else wide).astype(x.dtype.newbyteorder("=")), batch


def applied(
    x: Array, reduced_axes: Axes, mean: Floats, mean_lo: Floats, scale: Floats, shift: Floats, then: Then = _NOTHING
) -> Array:
    """((x − mean) − mean_lo) · scale + shift. The parameters, (f,), vary along the axes that are not reduced."""
    block = Block(x, reduced_axes)
    y = block.new()
    block.apply(y.flat, mean, mean_lo, scale, shift, block.in_layout(then.added), then.relu)
    return y.array


def sums(dy: Array, x: Array, reduced_axes: Axes, mean: Floats, mean_lo: Floats) -> Floats:
    """Σdy and Σdy · (x − mean), (2, f)."""
    block = Block(x, reduced_axes)
    return block.products(block.in_layout(dy), mean, mean_lo)


def backward(
    dy: Array, x: Array, reduced_axes: Axes, batch: Batch, gamma: Floats, eps: float
) -> tuple[Array, Floats, Floats]:
    """The gradients of x, γ and β, given that of `forward`'s y.

    With x̂ = (x − mean) / √(var + eps): dβ = Σdy, dγ = Σdy·x̂, dx = γ / √(var + eps) · (dy − dβ/n − x̂·dγ/n).
    """
    if x.dtype.itemsize == 2 and not (batch.var < SAFE).all():
        dx, dgamma, dbeta = backward(dy.astype(np.float32), x.astype(np.float32), reduced_axes, batch, gamma, eps)
        return dx.astype(x.dtype), dgamma, dbeta
    block = Block(x, reduced_axes)
    dx_ = block.new()
    dbeta, dgamma = block.backward(block.in_layout(dy), dx_.flat, batch, gamma, eps)
    return dx_.array, dgamma, dbeta
