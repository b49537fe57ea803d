"""A fitted map as an `nnx.Module`."""

from typing import Any

from flax import nnx
from jax import numpy as jnp

from gammabeta.affine import Affine
from gammabeta.backends import array_ops
from gammabeta.networks import normalize


class Normalize(nnx.Module):
    """y = (x − center) · slope + shift, by a fitted scaler or an `Affine`, clipped where the scaler clips.

    In float64, whether or not `jax_enable_x64` is set, rounded once to x's type: the values of `scaler.transform`. An
    integer x gives JAX's default type. Differentiable in x. The map is no variable: it is constant in what is compiled,
    and the module's state is empty.

    Args:
        scaler: a fitted `StandardScaler` or `MinMaxScaler`, of gammabeta or scikit-learn, a pipeline of such, or an
            `Affine`. The features lie where the scaler's `axis` says; a table's, and an `Affine`'s, on x's last axes.

    Raises:
        DataError: a parameter that is not finite; at a call, x has other features.
        KindError: the scaler is none of these.

    >>> from gammabeta import StandardScaler
    >>> layer = Normalize(StandardScaler().fit([[999999.0], [1000001.0]]))
    >>> layer(jnp.asarray([[1000001.0]]))
    Array([[1.]], dtype=float32)
    """

    def __init__(self, scaler: Any) -> None:
        fitted, self.axis = normalize.fitted(scaler)
        self.affine = Affine(fitted.center, fitted.slope, fitted.shift)
        self.limits = fitted.limits

    def __call__(self, x: Any) -> Any:
        """The image of x, of its shape."""
        x = jnp.asarray(x)
        shape = normalize.parameter_shape(self.affine.shape, self.axis, x.shape)
        center, slope, shift = (p.reshape(shape) for p in (self.affine.center, self.affine.slope, self.affine.shift))
        y = array_ops.of(x).affine(x, (center, slope, shift))
        return y if self.limits is None else jnp.clip(y, *self.limits)
