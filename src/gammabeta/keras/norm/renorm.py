"""Batch renormalization: r and d, which take x̂ · r + d for x̂ (Ioffe 2017), against the one or the other statistics."""

from math import inf, sqrt
from typing import Any

from keras import ops

from gammabeta.backends.array_ops import ArrayOps
from gammabeta.keras.norm.running_stats import Values
from gammabeta.norm import running_stats
from gammabeta.norm.functional import Normalized
from gammabeta.norm.running_stats import RunningStats


def correction(layer: Any, space: ArrayOps, batch: Normalized, before: Values) -> tuple[Any, Any]:
    """r and d of a batch, given the moving statistics before it; no gradient flows into them."""
    if layer.renorm is not True:
        return running_stats.renormalized(
            space, batch, RunningStats(before[0], before[1], 0), layer.epsilon, layer.renorm
        )
    mean, deviation = before[3], ops.maximum(before[4], sqrt(layer.epsilon))
    bounds = {name: value for name, value in layer.renorm_clipping.items() if value is not None}
    d_max = bounds.get("dmax", inf)
    r = ops.sqrt(space.stop_gradient(batch.var) + layer.epsilon) / deviation
    d = (space.stop_gradient(batch.mean) - mean) / deviation
    return ops.clip(r, bounds.get("rmin", 0.0), bounds.get("rmax", inf)), ops.clip(d, -d_max, d_max)
