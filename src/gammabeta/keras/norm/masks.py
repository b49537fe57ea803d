"""Masks of the Keras layer: (n, t), other leading axes or x's own shape, broadcast to x."""

from typing import Any

import numpy as np

from gammabeta.backends import arrays
from gammabeta.backends.array_ops import ArrayOps, Axes
from gammabeta.errors import DataError
from gammabeta.norm import formula

Shape = tuple[int | None, ...]


def broadcast_mask(space: ArrayOps, mask: Any, x: Any, reduced_axes: Axes) -> Any:
    """A mask as booleans of x's shape; of numbers, True where they are not 0.

    It may have x's number of axes; or the shape of the reduced axes; or that of x's leading axes, as Keras hands it
    from layer to layer. Lengths of 1 are allowed in each.
    """
    if arrays.kind(mask) == "other":
        mask = np.asarray(mask)
    if arrays.dtype_name(mask) != "bool":
        mask = mask != 0
    shape, whole = space.shape(mask), space.shape(x)
    leading = tuple(range(len(shape)))
    if len(shape) < len(whole) and _fits(shape, whole, leading):
        if not _fits(shape, whole, reduced_axes):
            mask = space.xp.reshape(mask, space.lengths(mask) + [1] * (len(whole) - len(shape)))
        elif any(i != j and n not in (1, None) for n, i, j in zip(shape, leading, reduced_axes, strict=True)):
            raise DataError(
                f"mask must say which axes of x it is along, got shape {shape}, which fits both axes {leading} and the "
                f"reduced axes {reduced_axes} of shape {whole}: give it {len(whole)} axes, with lengths of 1"
            )
    if len(shape) < len(whole) and _fits(shape, whole, reduced_axes):
        lengths = dict(zip(reduced_axes, space.lengths(mask), strict=True))
        mask = space.xp.reshape(mask, [lengths.get(i, 1) for i in range(len(whole))])
    return formula.broadcast_mask(space, mask, x, reduced_axes)


def _fits(shape: Shape, whole: Shape, along: Axes) -> bool:
    """Whether a mask may lie along those axes of x, as far as the shapes are known."""
    return len(shape) == len(along) and all(
        got == whole[i] or got in (1, None) or whole[i] is None for got, i in zip(shape, along, strict=True)
    )
