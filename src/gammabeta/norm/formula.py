"""The formula in any framework's own operations: differentiable, traceable, and safe at both ends of the type's range.

Three things make it exact where frameworks are not. The mean is subtracted twice: the first one is rounded, and what is
left of it, mean_lo = mean(x − mean), goes too. Squares are those of differences. A feature with a value so large that a
square would overflow is first multiplied by a power of two, which changes no digit.
"""

from collections.abc import Callable
from contextlib import nullcontext
from math import prod
from typing import Any, NamedTuple

import numpy as np

from gammabeta import axes
from gammabeta.backends import array_ops, arrays, masked
from gammabeta.backends.array_ops import ArrayOps, Axes
from gammabeta.conventions import check_eps
from gammabeta.errors import DataError, KindError

# The largest |x| that is left alone, the power of two for features beyond it, and the least normal number. The squares
# of a unit in the last place of 2⁵⁰, shrunk (2^(50−23−80))² = 2⁻¹⁰⁶, are still normal; 2³⁰ of the largest still add up.
_RANGE = {"float32": (2.0**50, -80, 2.0**-126), "float64": (2.0**400, -600, 2.0**-1022)}
_MOST = float(np.finfo(np.float32).max)
_SINGLE = ("float16", "bfloat16")  # computed in float32


Add = Callable[[Any], Any]
"""Takes an array of this process and gives the sum of all processes' arrays, each of which calls it."""


class Standardized(NamedTuple):
    """x − mean, its divisor √(var + eps), and the statistics of x, with length 1 on the reduced axes."""

    centred: Any
    root: Any
    mean: Any
    var: Any
    count: Any


def checked(x: Any, axis: axes.Axis, eps: float) -> tuple[ArrayOps, Any, Axes]:
    """The operations for x, x as an array, and the axes to reduce."""
    if arrays.kind(x) == "other":
        x = np.asarray(x)
    if arrays.dtype_name(x) not in (*_RANGE, *_SINGLE):
        raise KindError(
            f"x must be float16, bfloat16, float32 or float64, got {arrays.dtype_name(x)}: convert it to one of these"
        )
    check_eps(eps)
    space = array_ops.of(x)
    reduced_axes = axes.reduced(axis, len(x.shape))
    if any(x.shape[i] == 0 for i in reduced_axes):
        raise DataError(
            f"x must have at least one value for each feature, got shape {tuple(x.shape)}, axes {reduced_axes} reduced"
        )
    return space, space.as_tensor(x), reduced_axes


def computing(space: ArrayOps, x: Any) -> Any:
    """The dtype to compute in: float32 at least, and float64 for NumPy."""
    name = arrays.dtype_name(x)
    return space.xp.float64 if space.xp is np or name == "float64" else space.xp.float32


def broadcast_like(space: ArrayOps, name: str, value: Any, x: Any, along: Axes, *, broadcast: bool = False) -> Any:
    """A parameter that varies along some axes of x, shaped so that it broadcasts against x; a single number will do.

    With `broadcast` it may also have fewer axes than `along`, or a length of 1 in place of x's.
    """
    if value is None:
        return None
    masked.refuse(name, value)
    value = space.array(value, x, computing(space, x))
    shape = space.shape(value)
    expected = tuple(space.shape(x)[i] for i in along)
    padded = (1,) * (len(along) - len(shape)) + shape
    fits = len(padded) == len(along) and all(
        got in (want, None) or want is None or (broadcast and got == 1)
        for got, want in zip(padded, expected, strict=True)
    )
    if shape != () and (not fits or (len(shape) < len(along) and not broadcast)):
        raise DataError(
            f"{name} must have shape {expected}, the lengths of x's axes {along} along which it varies, got {shape}"
        )
    lengths = space.lengths(value) if shape else []
    lengths = [1] * (len(along) - len(lengths)) + lengths
    return space.xp.reshape(value, [lengths[along.index(i)] if i in along else 1 for i in range(len(x.shape))])


def lower_digits(space: ArrayOps, mean: Any, x: Any, along: Axes) -> Any:
    """What a given mean loses when it is rounded to the type that is computed in, shaped alike; None if nothing.

    A mean in float64 stays in its framework's graph, and so do its lower digits.
    """
    if mean is None or computing(space, x) == space.xp.float64:
        return None
    if arrays.is_tensor(mean):
        if arrays.dtype_name(mean) != "float64":
            return None
        low = mean - space.cast(space.cast(mean, space.xp.float32), space.xp.float64)
    else:
        masked.refuse("mean", mean)
        wide = np.asarray(mean, np.float64)
        low = wide - np.clip(wide, -_MOST, _MOST).astype(np.float32)
        if space.known(x) and not low.any():
            return None
    return broadcast_like(space, "mean", low, x, along)


def broadcast_mask(space: ArrayOps, mask: Any, x: Any, reduced_axes: Axes) -> Any:
    """A mask as a boolean array of x's shape."""
    if arrays.kind(mask) == "other":
        mask = np.asarray(mask)
    if arrays.dtype_name(mask) != "bool":
        raise KindError(
            f"mask must be boolean, True where a value counts, got {arrays.dtype_name(mask)}: compare it with 0"
        )
    mask = space.array(mask, x, space.xp.bool if hasattr(space.xp, "bool") else bool)
    shape, whole = space.shape(mask), space.shape(x)
    if len(shape) == len(whole):
        fits = all(got in (1, want, None) or want is None for got, want in zip(shape, whole, strict=True))
        lengths = space.lengths(mask)
    else:
        fits = len(shape) == len(reduced_axes) and all(
            got in (whole[i], None) or whole[i] is None for got, i in zip(shape, reduced_axes, strict=True)
        )
        lengths = (
            [space.lengths(mask)[reduced_axes.index(i)] if i in reduced_axes else 1 for i in range(len(whole))]
            if fits
            else []
        )
    if not fits:
        raise DataError(
            f"mask must have x's shape {whole}, lengths of 1 allowed, or that of the reduced axes "
            f"{tuple(whole[i] for i in reduced_axes)}, got {shape}"
        )
    return space.xp.broadcast_to(space.xp.reshape(mask, lengths), space.lengths(x))


def in_range(space: ArrayOps, x: Any, reduced_axes: Axes, eps: float, add: Add | None = None) -> tuple[Any, Any, Any]:
    """x times a power of two so that its squares are in range, the inverse power, and eps on that scale."""
    largest, power, floor = _RANGE[arrays.dtype_name(x)]
    huge = space.max(space.xp.abs(x), reduced_axes) > largest
    if add is not None:
        huge = add(space.cast(huge, x.dtype)) > 0

    def choose(there: float, else_: float) -> Any:
        return space.xp.where(huge, space.constant(there, x), space.constant(else_, x))

    return x * choose(2.0**power, 1.0), choose(2.0**-power, 1.0), choose(floor, max(eps, floor))


def counted(space: ArrayOps, x: Any, reduced_axes: Axes, mask: Any = None, add: Add | None = None) -> Any:
    """How many values each feature has: an int where no mask and no other process has a say.

    An array of them is of integers, since a float32 stops counting at 2²⁴.
    """
    lengths = space.lengths(x)
    count = prod([lengths[i] for i in reduced_axes])
    if mask is not None:
        count = space.sum(space.cast(mask, space.xp.int32), reduced_axes)
    return count if add is None else add(space.array(count, x, space.xp.int32))


def standardized(
    space: ArrayOps,
    x: Any,
    reduced_axes: Axes,
    eps: float,
    mask: Any = None,
    add: Add | None = None,
    unmasked: Any = None,
) -> Standardized:
    """The statistics of x, which is of a computing type, 0 where `mask` is False; of all processes, with `add`.

    unmasked: x with its values where `mask` is False, which are then centred too; None to centre x.
    """
    count = counted(space, x, reduced_axes, mask, add)
    alone = mask is None and add is None
    total = None if alone else space.cast(space.xp.where(count > 0, count, space.xp.ones_like(count)), x.dtype)

    def average(of: Any) -> Any:
        if alone:
            return space.mean(of, reduced_axes)
        part = space.sum(of if mask is None else space.xp.where(mask, of, space.constant(0.0, x)), reduced_axes)
        return (part if add is None else add(part)) / total

    largest, power, least = _RANGE[arrays.dtype_name(x)]
    if alone and (found := space.moments(x, reduced_axes, largest, power)) is not None:
        scale, mean, mean_lo, var = found
        back, floor = 1 / scale, space.xp.where(scale < 1, space.constant(least, x), space.constant(max(eps, least), x))
        centred = x * scale - mean - mean_lo
    else:
        shrunk, back, floor = in_range(space, x, reduced_axes, eps, add)
        mean = average(shrunk)
        centred = shrunk - mean
        mean_lo = average(centred)
        centred = centred - mean_lo
        var = average(centred * centred)
    if unmasked is not None:
        # Within `where`, or TensorFlow's graphs would subtract mean + mean_lo, which is mean.
        centred = space.xp.where(mask, centred, unmasked * (1 / back) - mean)
        centred = centred - space.xp.where(mask, space.constant(0.0, x), mean_lo)
    return Standardized(centred, space.xp.sqrt(var + floor), (mean + mean_lo) * back, var * back * back, count)


def affine(centred: Any, root: Any, gamma: Any, beta: Any) -> Any:
    """γ · centred / root + β, of parameters that vary with the statistics: one division for each feature."""
    y = centred * ((1 if gamma is None else gamma) / root)
    return y if beta is None else y + beta


def affine_within(centred: Any, root: Any, gamma: Any, beta: Any) -> Any:
    """γ · centred / root + β, of parameters that vary along the reduced axes."""
    y = centred * (1 / root)
    y = y if gamma is None else y * gamma
    return y if beta is None else y + beta


def ignore_fp_warnings(space: ArrayOps) -> Any:
    """A context in which NumPy does not warn of NaN and infinities; no change for other frameworks."""
    return np.errstate(over="ignore", invalid="ignore", divide="ignore") if space.xp is np else nullcontext()
