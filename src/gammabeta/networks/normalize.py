"""What a layer that normalizes by a fitted map needs: the map, and the parts in which a network's float32 holds it."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gammabeta import axes
from gammabeta.errors import DataError
from gammabeta.export.fitted_map import Exports, FittedMap


def fitted(scaler: Any) -> tuple[FittedMap, axes.Axis]:
    """The map of a scaler, of ours or scikit-learn's, or an `Affine`; and the axes reduced, None for all but the last.

    Raises:
        KindError: it is something else.
        DataError: it clips and is scikit-learn's, or a parameter is not finite.
    """
    if isinstance(scaler, Exports):
        return scaler._fitted_map().checked(), getattr(scaler, "axis", None)
    from gammabeta.scalers import as_affine

    return as_affine.affine_of(scaler)._fitted_map().checked(), None


def parts(values: NDArray[np.float64]) -> NDArray[np.float32]:
    """Numbers as three float32 each, along a new first axis, whose sum in float64 is the number.

    >>> parts(np.array([0.1])).astype(np.float64).sum(0) == 0.1
    array([ True])

    Raises:
        DataError: a number is so large or small that float32 does not reach it.
    """
    found: list[NDArray[np.float32]] = []
    rest = values
    with np.errstate(over="ignore", invalid="ignore"):
        for _ in range(3):
            found.append(rest.astype(np.float32))
            rest = rest - found[-1]
    if (rest != 0).any():
        raise DataError("parameters must be within the range of float32 to be held by a network: scale the data first")
    return np.stack(found)


def parameter_shape(features: tuple[int, ...], axis: axes.Axis, shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape in which the parameters broadcast against data of `shape`. DataError if its features are others."""
    last = tuple(range(len(shape) - len(features), len(shape)))
    kept = last if axis is None else axes.feature_axes(axis, len(shape))
    fits = len(kept) == len(features) <= len(shape)
    if not fits or any(n != shape[i] and (n != 1 or axis is not None) for n, i in zip(features, kept, strict=True)):
        beside = "on its last axes" if axis is None else f"beside axis {axis}"
        raise DataError(f"x must have the features {features} {beside}, got shape {tuple(shape)}")
    lengths = dict(zip(kept, features, strict=True))
    return tuple(lengths.get(i, 1) for i in range(len(shape)))
