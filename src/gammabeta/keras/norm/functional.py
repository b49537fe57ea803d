"""The Keras layer's computation: the output in evaluation and in training, and the new moving statistics."""

from typing import Any, NamedTuple

from keras import ops

from gammabeta import axes
from gammabeta.backends.array_ops import ArrayOps, Axes
from gammabeta.keras.norm import ghost, renorm, running_stats, sync, validation
from gammabeta.keras.norm.running_stats import Values
from gammabeta.norm import formula, functional
from gammabeta.norm.functional import Normalized
from gammabeta.norm.running_stats import scale_and_shift


class Batch(NamedTuple):
    """The input of a call: x, its reduced axes, and its boolean mask of x's shape, or None."""

    space: ArrayOps
    x: Any
    reduced_axes: Axes
    mask: Any


def by_moving(layer: Any, batch: Batch) -> Any:
    """y by the moving statistics, as in evaluation."""
    if 0 in batch.x.shape:
        return _empty(layer, batch)
    gamma, beta = _affine(layer)
    mean, var = running_stats.values(layer)[:2]
    mask = batch.mask if layer.zero_masked else None
    given = {"axis": batch.reduced_axes, "eps": layer.epsilon, "mask": mask}
    return functional.normalized(batch.x, gamma, beta, mean=mean, var=var, **given).y


def by_batch(layer: Any, batch: Batch) -> tuple[Any, Values]:
    """y in training, and the moving statistics after it."""
    old = running_stats.values(layer)
    if 0 in batch.x.shape and not layer.synchronized:  # which waits for all replicas
        return _empty(layer, batch), old
    if layer.ghost is not None:
        return _by_parts(layer, batch, old)
    if layer.renorm is not False:
        seen = _standardized(layer, batch)
        return _finished(layer, batch, seen, old), running_stats.moved(layer, batch.space, old, seen)
    seen = _normalized(layer, batch, batch.x, *_affine(layer))
    return seen.y, running_stats.moved(layer, batch.space, old, seen)


def _by_parts(layer: Any, batch: Batch, old: Values) -> tuple[Any, Values]:
    space = batch.space
    validation.samples(layer, batch.reduced_axes)
    reduced_axes = tuple(i + 1 for i in batch.reduced_axes)
    parts = ghost.split(space, batch.x, layer.ghost)
    masks = [None] * len(parts) if batch.mask is None else ghost.split(space, batch.mask, layer.ghost)
    groups = [Batch(space, x, reduced_axes, mask) for x, mask in zip(parts, masks, strict=True)]
    for group in groups:
        validation.enough(group.x, reduced_axes, group.mask)
    seen = [_standardized(layer, group) for group in groups]
    new, before = running_stats.moved_by_parts(layer, space, old, ghost.statistics(space, seen))
    olds = ghost.divided(space, before, seen)
    outputs = [_finished(layer, *one) for one in zip(groups, seen, olds, strict=True)]
    return ghost.joined(space, outputs), new


def _empty(layer: Any, batch: Batch) -> Any:
    """y of a batch without values, from which γ and β take gradients of 0."""
    x = batch.space.cast(batch.x, formula.computing(batch.space, batch.x))
    return _scaled(batch, x, *_affine(layer))


def _affine(layer: Any) -> tuple[Any, Any]:
    """γ and β, or None, in float32 at least."""
    gamma, beta = (None if p is None else running_stats.wide(layer, p) for p in (layer.gamma, layer.beta))
    return gamma, beta


def _normalized(layer: Any, batch: Batch, x: Any, gamma: Any = None, beta: Any = None) -> Normalized:
    """x by its own statistics, and these; x is the batch's, in its type or in a wider one."""
    add = sync.over_replicas() if layer.synchronized else None
    given = {"axis": batch.reduced_axes, "eps": layer.epsilon, "mask": batch.mask, "zero_masked": layer.zero_masked}
    return functional.normalized(x, gamma, beta, add=add, **given)


def _standardized(layer: Any, batch: Batch) -> Normalized:
    """`_normalized` without γ and β, in the computing type: rounded once, after these are applied."""
    return _normalized(layer, batch, batch.space.cast(batch.x, formula.computing(batch.space, batch.x)))


def _finished(layer: Any, batch: Batch, seen: Normalized, before: Values) -> Any:
    """γ · (x̂ · r + d) + β; r and d are 1 and 0 without renorm."""
    space, normal = batch.space, seen.y
    scale, shift = _affine(layer)
    if layer.renorm is not False:
        r, d = renorm.correction(layer, space, seen, before)
        scale, shift = scale_and_shift(r, d, scale, shift)
    y = _scaled(batch, normal, scale, shift)
    return ops.where(batch.mask, y, space.constant(0.0, y)) if batch.mask is not None and layer.zero_masked else y


def _scaled(batch: Batch, normal: Any, scale: Any, shift: Any) -> Any:
    """scale · x̂ + shift, of values that vary with the statistics."""
    along = axes.feature_axes(batch.reduced_axes, len(normal.shape))
    named = ("gamma", scale), ("beta", shift)
    scale, shift = (
        formula.broadcast_like(batch.space, name, value, normal, along, broadcast=True) for name, value in named
    )
    return formula.affine(normal, 1.0, scale, shift)
