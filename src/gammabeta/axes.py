"""Reduced axes, feature axes and the shape of parameters: the one rule for axes.

`axis` always names the axes that are **reduced**, as in NumPy; None names all of them.
"""

from gammabeta.errors import DataError, KindError

Axis = int | tuple[int, ...] | None


def reduced(axis: Axis, ndim: int) -> tuple[int, ...]:
    """The reduced axes of an `ndim`-dimensional array, in increasing order, each from 0 to ndim − 1."""
    if axis is None:
        return tuple(range(ndim))
    if type(axis) is int and -ndim <= axis < ndim:
        return (axis % ndim,)
    named = (axis,) if not isinstance(axis, tuple | list) else tuple(axis)
    if not all(isinstance(a, int) and not isinstance(a, bool) for a in named):
        raise KindError(f"axis must be an integer or a tuple of integers, or None for all axes, got {axis!r}")
    if not named:
        raise DataError("axis must name at least one axis to reduce, got ()")
    for a in named:
        if not -ndim <= a < ndim:
            raise DataError(f"axis must be within an array of {ndim} dimensions, from 0 to {ndim - 1}, got {a}")
    positive = sorted(a % ndim for a in named)
    if len(set(positive)) < len(positive):
        raise DataError(f"axis must name each axis once, got {axis!r}")
    return tuple(positive)


def feature_axes(axis: Axis, ndim: int) -> tuple[int, ...]:
    """The feature axes: those that are not reduced."""
    reduced_axes = reduced(axis, ndim)
    return tuple(a for a in range(ndim) if a not in reduced_axes)


def parameter_shape(axis: Axis, shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape in which one parameter per feature broadcasts against `shape`: 1 on every reduced axis."""
    reduced_axes = reduced(axis, len(shape))
    return tuple(1 if a in reduced_axes else n for a, n in enumerate(shape))
