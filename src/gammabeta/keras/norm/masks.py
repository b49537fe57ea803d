"""Masks of the Keras layer: (n, t), other leading axes or x's own shape, broadcast to x."""

from typing import Any

from gammabeta.backends.array_ops import ArrayOps, Axes
from gammabeta.errors import DataError
from gammabeta.norm import formula

Shape = tuple[int | None, ...]


def broadcast_mask(space: ArrayOps, mask: Any, x: Any, reduced_axes: Axes) -> Any:
    """A mask as booleans of x's shape.

    It may have x's number of axes, with lengths of 1; or the shape of the reduced axes; or that of x's leading axes, as
    Keras hands it from layer to layer.
    """
    shape, whole = space.shape(mask), space.shape(x)
    leading = tuple(range(len(shape)))
    if len(shape) < len(whole) and leading != reduced_axes and _fits(shape, whole, leading):
        if not _fits(shape, whole, reduced_axes):
            mask = space.xp.reshape(mask, space.lengths(mask) + [1] * (len(whole) - len(shape)))
        elif None not in shape[1:]:
            raise DataError(
                f"mask must say which axes of x it is along, got shape {shape}, which fits both axes {leading} and the "
                f"reduced axes {reduced_axes} of shape {whole}: give it {len(whole)} axes, with lengths of 1"
            )
    return formula.broadcast_mask(space, mask, x, reduced_axes)


def _fits(shape: Shape, whole: Shape, along: Axes) -> bool:
    """Whether a mask may lie along those axes of x, as far as the shapes are known."""
    return len(shape) == len(along) and all(
        got == whole[i] or got is None or whole[i] is None for got, i in zip(shape, along, strict=True)
    )
