"""What a layer computes in training, as pure functions of a batch and the running statistics."""

from typing import Any, NamedTuple

from jax import lax
from jax import numpy as jnp

from gammabeta.backends import array_ops
from gammabeta.conventions import Convention
from gammabeta.norm import running_stats
from gammabeta.norm.formula import Add
from gammabeta.norm.functional import Normalized, normalized
from gammabeta.norm.running_stats import RunningStats


class Plan(NamedTuple):
    """How a batch is normalized; `add` makes one batch of all devices' batches."""

    reduced_axes: tuple[int, ...]
    convention: Convention
    renorm: tuple[float, float] | None
    zero_masked: bool
    add: Add | None


def by_batch(x: Any, gamma: Any, beta: Any, running: RunningStats, mask: Any, plan: Plan) -> tuple[Any, RunningStats]:
    """y by the batch's own statistics, and the running ones after it."""
    given = {"axis": plan.reduced_axes, "eps": plan.convention.eps, "mask": mask, "add": plan.add}
    given["zero_masked"] = plan.zero_masked
    if plan.renorm is None:
        batch = normalized(x, gamma, beta, **given)
        y = batch.y
    else:
        batch = normalized(x, **given)
        y = _renormalized(batch, gamma, beta, running, mask, plan, plan.renorm)
    return y, running_stats.moved(array_ops.of(x), running, batch, plan.convention).running


def by_parts(
    x: Any, gamma: Any, beta: Any, running: RunningStats, mask: Any, plan: Plan, parts: int
) -> tuple[Any, RunningStats]:
    """`by_batch` of parts along axis 0, one after the other and about equally long: the first ones by one sample.

    mask: of x's shape.
    """

    def step(running: RunningStats, part: Any) -> tuple[RunningStats, Any]:
        y, running = by_batch(part[0], gamma, beta, running, part[1], plan)
        return running, y

    short, longer = divmod(x.shape[0], parts)
    middle, done = longer * (short + 1), []
    for samples, length in ((slice(0, middle), short + 1), (slice(middle, None), short)):
        share = [v if v is None else v[samples].reshape(-1, length, *v.shape[1:]) for v in (x, mask)]
        running, y = lax.scan(step, running, tuple(share))
        done.append(y.reshape(-1, *x.shape[1:]))
    return jnp.concatenate(done), running


def _renormalized(
    batch: Normalized, gamma: Any, beta: Any, running: RunningStats, mask: Any, plan: Plan, bounds: tuple[float, float]
) -> Any:
    """γ · (x̂ · r + d) + β: the running statistics' output, as far as the bounds of r and d allow."""
    normal, space = batch.y, array_ops.of(batch.y)
    r, d = running_stats.renormalized(space, batch, running, plan.convention.eps, bounds)
    scale, shift = running_stats.scale_and_shift(r, d, gamma, beta)
    shape = [1 if i in plan.reduced_axes else n for i, n in enumerate(normal.shape)]
    y = normal * scale.reshape(shape) + shift.reshape(shape)
    return jnp.where(mask, y, 0) if mask is not None and plan.zero_masked else y
