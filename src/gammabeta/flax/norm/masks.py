"""Masks of the Flax layer: NumPy's broadcasting, as flax has it, or the shape of the reduced axes."""

from typing import Any

import numpy as np

from gammabeta.backends import arrays
from gammabeta.backends.array_ops import ArrayOps, Axes
from gammabeta.errors import DataError
from gammabeta.norm import formula


def broadcast_mask(space: ArrayOps, mask: Any, x: Any, reduced_axes: Axes) -> Any:
    """A boolean mask, broadcast to x's shape: along the reduced axes, or along x's last axes."""
    if arrays.kind(mask) == "other":
        mask = np.asarray(mask)
    shape, whole = tuple(mask.shape), tuple(x.shape)
    trailing = tuple(range(len(whole) - len(shape), len(whole)))
    if len(shape) < len(whole) and _fits(shape, whole, trailing):
        if not _fits(shape, whole, reduced_axes):
            mask = space.xp.reshape(mask, [1] * (len(whole) - len(shape)) + list(shape))
        elif any(i != j and n != 1 for n, i, j in zip(shape, trailing, reduced_axes, strict=True)):
            raise DataError(
                f"mask must say which axes of x it is along, got shape {shape}, which fits both the last axes "
                f"{trailing} and the reduced axes {reduced_axes} of shape {whole}: give it {len(whole)} axes, with "
                f"lengths of 1"
            )
    if len(shape) < len(whole) and _fits(shape, whole, reduced_axes):
        lengths = dict(zip(reduced_axes, shape, strict=True))
        mask = space.xp.reshape(mask, [lengths.get(i, 1) for i in range(len(whole))])
    return formula.broadcast_mask(space, mask, x, reduced_axes)


def _fits(shape: tuple[int, ...], whole: tuple[int, ...], along: Axes) -> bool:
    return len(shape) == len(along) and all(n in (1, whole[i]) for n, i in zip(shape, along, strict=True))
