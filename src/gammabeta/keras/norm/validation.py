"""The Keras layer's checks of its arguments and inputs, made before anything is updated."""

from math import prod
from operator import index
from typing import Any

import keras

from gammabeta import axes
from gammabeta.axes import Axis
from gammabeta.backends import arrays
from gammabeta.backends.array_ops import Axes
from gammabeta.conventions import check_eps
from gammabeta.errors import DataError, KindError
from gammabeta.norm.running_stats import check_count, check_ghost, check_renorm

FLOATS = ("float16", "bfloat16", "float32", "float64")
CLIPPING = ("rmax", "rmin", "dmax")


def axis(given: Any) -> Axis:
    """`axis` as an integer or a tuple of them: the axes that are kept."""
    try:
        named = tuple(map(index, given)) if isinstance(given, tuple | list) else index(given)
    except TypeError:
        raise KindError(f"axis must be an integer or a tuple of integers, got {given!r}") from None
    if named == ():
        raise DataError("axis must name at least one axis to keep, got ()")
    axes.reduced(named, 64)  # whether these are axes at all, each named once: an array has at most 64
    return named


def options(layer: Any) -> None:
    """Check the layer's other arguments."""
    check_eps(layer.epsilon)
    for name in ("momentum", "renorm_momentum"):
        momentum = getattr(layer, name)
        if not 0 <= momentum <= 1:
            raise DataError(f"{name}, the weight of the old value, must be from 0 to 1, got {momentum}")
    check_ghost(layer.ghost)
    if isinstance(layer.renorm, bool):
        _clipping(layer)
    else:
        check_renorm(layer.renorm)
        if layer.renorm_clipping is not None:
            raise DataError("renorm_clipping goes with renorm=True: renorm=(r_max, d_max) has its bounds itself")
    if layer.synchronized and keras.config.backend() != "tensorflow":
        raise DataError(
            f"synchronized=True needs the TensorFlow backend, got {keras.config.backend()}: leave it False. On JAX a "
            f"batch under keras.distribution is one array over all devices, and its statistics are those of all of it"
        )
    if layer.synchronized and layer.ghost is not None:
        raise DataError("ghost= takes statistics of parts, synchronized=True those of all replicas: choose one")


def _clipping(layer: Any) -> None:
    """Check the bounds of Keras' renorm."""
    if layer.renorm and layer.unbiased:
        raise DataError("renorm=True keeps moving deviations, which are biased: unbiased=True needs (r_max, d_max)")
    bounds = layer.renorm_clipping or {}
    if not set(bounds) <= set(CLIPPING):
        raise DataError(
            f"Received invalid keys for renorm_clipping: it must have no other keys than {CLIPPING}, got {bounds}"
        )
    r_min, r_max, d_max = bounds.get("rmin") or 0, bounds.get("rmax"), bounds.get("dmax") or 0
    if r_min < 0 or (r_max is not None and r_max < r_min):
        raise DataError(f"rmax should be at least rmin and rmin at least 0 in renorm_clipping, got {bounds}")
    if d_max < 0:
        raise DataError(f"dmax should be non-negative in renorm_clipping, got {bounds}")


def feature_axes(layer: Any, shape: tuple[int | None, ...]) -> Axes:
    """The feature axes of an x of that shape, in increasing order, each from 0."""
    reduced_axes = axes.reduced(layer.axis, len(shape))
    if len(reduced_axes) == len(shape):
        raise DataError(
            f"axis must leave an axis of x to take statistics over, such as that of the samples, got {layer.axis} for "
            f"shape {tuple(shape)}"
        )
    return reduced_axes


def features(layer: Any, shape: tuple[int | None, ...]) -> tuple[int, ...]:
    """The shape of γ and β for x of that shape."""
    along = feature_axes(layer, shape)
    found = [shape[i] for i in along]
    if any(n is None for n in found):
        raise DataError(
            f"x must have known lengths on its feature axes {along}, got shape {tuple(shape)}: axis={layer.axis} names "
            f"the axes that are kept, and the others are reduced"
        )
    return tuple(n for n in found if n is not None)


def shape(layer: Any, features: tuple[int, ...]) -> tuple[int | None, ...]:
    """The shortest shape of x with those features on the layer's axes, and any lengths elsewhere."""
    named = layer.axis if isinstance(layer.axis, tuple) else (layer.axis,)
    min_ndim = max(len(named), *(a if a >= 0 else -a - 1 for a in named)) + 1
    for ndim in range(min_ndim, 65):
        if len({a % ndim for a in named}) == len(named) == len(features):
            lengths = dict(zip(feature_axes(layer, (None,) * ndim), features, strict=True))
            return tuple(lengths.get(i) for i in range(ndim))
    raise DataError(f"axis must name as many axes as there are features, {features}, got {layer.axis}")


def reduced(layer: Any, x: Any) -> Axes:
    """The axes to reduce of x, which must be of a floating type and have the layer's features."""
    if (dtype := arrays.dtype_name(x)) not in FLOATS:
        raise KindError(
            f"x must be float16, bfloat16, float32 or float64, got {dtype}: convert it, as by "
            f'keras.ops.cast(x, "float32")'
        )
    shape = tuple(x.shape)
    along = feature_axes(layer, shape)
    found, expected = tuple(shape[i] for i in along), tuple(layer.moving_mean.shape)
    if len(found) != len(expected) or any(a not in (b, None) for a, b in zip(found, expected, strict=True)):
        raise DataError(
            f"x must have features {expected} on its axes {along}, got {found} in shape {shape}: the layer was built "
            f"for these; give it axis= for others, or make a new layer"
        )
    return tuple(i for i in range(len(shape)) if i not in along)


def samples(layer: Any, reduced_axes: Axes) -> None:
    """Raise unless axis 0, which ghost batches split, is reduced."""
    if 0 not in reduced_axes:
        raise DataError(f"ghost= splits axis 0, the samples, which axis={layer.axis} keeps")


def enough(parts: Any, reduced_axes: Axes, mask: Any) -> None:
    """Raise if ghost batches (parts, samples, …) have one value each, as far as their shape is known.

    A batch that is no more than one part is as Keras has it: of a single value y is β, and no statistic moves.
    """
    many, lengths = parts.shape[0], [parts.shape[i] for i in reduced_axes]
    if mask is None and many not in (None, 1) and None not in lengths:
        check_count(prod(lengths), parts.shape[1:], "a larger ghost=", many)
