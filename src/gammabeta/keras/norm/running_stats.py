"""The Keras layer's moving statistics: its variables, and their values after a batch."""

from typing import Any

from keras import ops

from gammabeta.backends.array_ops import ArrayOps
from gammabeta.norm import running_stats
from gammabeta.norm.functional import Normalized
from gammabeta.norm.running_stats import RunningStats

Values = tuple[Any, ...]
"""Moving mean and variance; with Keras' renorm also the deviation, and the mean and deviation that renorm follows."""


def variables(layer: Any) -> list[Any]:
    """The layer's moving statistics."""
    renorm = ["moving_stddev", "renorm_mean", "renorm_stddev"] if layer.renorm is True else []
    return [getattr(layer, name) for name in ("moving_mean", "moving_variance", *renorm)]


def wide(layer: Any, variable: Any) -> Any:
    """A variable's value, in float32 at least."""
    return ops.cast(ops.convert_to_tensor(variable), "float64" if layer.variable_dtype == "float64" else "float32")


def values(layer: Any) -> Values:
    """The values of the moving statistics."""
    return tuple(wide(layer, variable) for variable in variables(layer))


def assign(layer: Any, new: Values) -> None:
    """Give the layer's moving statistics other values."""
    for variable, value in zip(variables(layer), new, strict=True):
        variable.assign(value)


def moved(layer: Any, space: ArrayOps, old: Values, batch: Normalized) -> Values:
    """The moving statistics after a batch."""
    rule = layer.convention
    if len(old) == 2:
        return _moved(space, old[0], old[1], batch, rule)
    mean, var, deviation, renorm_mean, renorm_deviation = old
    deviations = batch._replace(var=ops.sqrt(batch.var + layer.epsilon))
    mean, new = _moved(space, mean, deviation, deviations, rule)
    # A deviation that stayed leaves its variance, which began as 1 and not 1 − ε.
    var = ops.where(new == deviation, var, ops.relu(new * new - layer.epsilon))
    return (
        mean,
        var,
        new,
        *_moved(space, renorm_mean, renorm_deviation, deviations, rule.replace(decay=layer.renorm_momentum)),
    )


def moved_by_parts(layer: Any, space: ArrayOps, old: Values, batch: Normalized) -> tuple[Values, Values]:
    """The moving statistics after all parts of a batch, one after the other, and before each of them."""

    def step(before: Values, part: Any) -> tuple[Values, Values]:
        return moved(layer, space, before, Normalized(None, part[0], part[1], part[2])), before

    # One array and its known rank: of several with an unknown length Keras 3.15 fails on TensorFlow, and of one it
    # forgets the rank of what comes out.
    parts = ops.stack([space.stop_gradient(batch.mean), space.stop_gradient(batch.var), batch.count], axis=1)
    after, before = ops.scan(step, old, parts)
    return after, tuple(ops.reshape(value, ops.shape(batch.mean)) for value in before)


def _moved(space: ArrayOps, mean: Any, var: Any, batch: Normalized, rule: Any) -> Values:
    uncounted = space.constant(0.0, mean)  # a rule with a decay asks for no number of batches
    return running_stats.moved(space, RunningStats(mean, var, uncounted), batch, rule).running[:2]
