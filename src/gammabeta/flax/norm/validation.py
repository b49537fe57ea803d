"""The Flax layer's checks of its arguments and inputs, made before anything is updated."""

from math import prod
from typing import Any

from jax import numpy as jnp

from gammabeta import axes
from gammabeta.backends import arrays
from gammabeta.conventions import check_eps
from gammabeta.errors import DataError, KindError
from gammabeta.norm.running_stats import check_count, check_ghost, check_renorm

FLOATS = ("float16", "bfloat16", "float32", "float64")


def features(num_features: Any, axis: Any) -> tuple[int, ...]:
    """`num_features` as the shape of γ and β, which `axis` names axes for."""
    shape = tuple(num_features) if isinstance(num_features, tuple | list) else (num_features,)
    if not shape or not all(isinstance(n, int) and not isinstance(n, bool) and n > 0 for n in shape):
        raise DataError(f"num_features must be a positive integer, or a tuple of them, got {num_features!r}")
    if len(named(axis)) != len(shape):
        raise DataError(
            f"axis must name the axes of the features, as many as num_features={num_features!r} has, got {axis!r}"
        )
    axes.reduced(axis, 64)  # whether these are axes at all, each named once: an array has at most 64
    return shape


def named(axis: Any) -> tuple[int, ...]:
    """`axis` as a tuple."""
    return tuple(axis) if isinstance(axis, tuple | list) else (axis,)


def options(momentum: float | None, epsilon: float, dtype: Any, param_dtype: Any, ghost: Any, renorm: Any) -> None:
    """Check the layer's other arguments."""
    check_eps(epsilon)
    if momentum is not None and not 0 <= momentum <= 1:
        raise DataError(
            f"momentum, the weight of the old running value, must be from 0 to 1, or None for the mean of all batches, "
            f"got {momentum}"
        )
    for name, value in (("dtype", dtype), ("param_dtype", param_dtype)):
        if value is not None and jnp.dtype(value).name not in FLOATS:
            raise KindError(f"{name} must be float16, bfloat16, float32 or float64, got {jnp.dtype(value).name}")
    check_ghost(ghost)
    if renorm is not None:
        check_renorm(renorm)


def reduced(layer: Any, x: Any, *, one_sample: bool = False) -> tuple[int, ...]:
    """The reduced axes of x, which must be of a floating type and have the layer's features.

    one_sample: whether x may have the axes of the features alone.
    """
    if arrays.dtype_name(x) not in FLOATS:
        raise KindError(
            f"x must be float16, bfloat16, float32 or float64, got {arrays.dtype_name(x)}: convert it to one of these"
        )
    along = named(layer.axis)
    if x.ndim + one_sample <= len(along):
        wanted = "the axes" if one_sample else "at least one axis beside those"
        raise DataError(f"x must have {wanted} of the features, {along}, got shape {x.shape}")
    reduced_axes = axes.feature_axes(along, x.ndim)
    found = tuple(n for i, n in enumerate(x.shape) if i not in reduced_axes)
    features = tuple(layer.mean.shape)
    if found != features:
        raise DataError(
            f"x must have features {features} at axis {layer.axis}, got {found} in shape {x.shape}; give the "
            f"layer num_features={found[0] if len(found) == 1 else found}, or another axis="
        )
    return reduced_axes


def enough(x: Any, reduced_axes: tuple[int, ...], parts: int, devices: int) -> None:
    """Raise if several ghost batches have one value each of a feature, over all devices.

    A batch that is no more than one part is as flax has it: of a single value y is β, and no statistic moves.
    """
    if parts > 1:
        count = x.shape[0] // parts * prod(x.shape[i] for i in reduced_axes if i != 0) * devices
        check_count(count, x.shape, "a larger ghost=", parts)
