"""The update of running statistics by a batch, renorm, and checks, in any framework's own operations.

Running statistics follow them, feature by feature, and renorm brings the batch's output near the running ones'.
"""

from math import isfinite
from typing import Any, NamedTuple, Protocol

from gammabeta.backends.array_ops import ArrayOps
from gammabeta.conventions import Convention
from gammabeta.errors import DataError
from gammabeta.norm.functional import Normalized


class RunningStats(NamedTuple):
    """The running statistics, of the shape of the features, and how many batches moved them."""

    mean: Any
    var: Any
    batches: Any


class StatsUpdate(NamedTuple):
    """The running statistics after a batch, and whether it had a NaN or an infinity."""

    running: RunningStats
    bad: Any


def moved(space: ArrayOps, running: RunningStats, batch: Normalized, convention: Convention) -> StatsUpdate:
    """New running statistics: running + weight · (batch − running), for each feature with two or more finite values.

    No gradient flows into the result. It is computed in the running statistics' type.
    """
    mean, var = (space.stop_gradient(space.cast(value, running.mean.dtype)) for value in (batch.mean, batch.var))
    count = space.array(batch.count, running.mean, running.mean.dtype)
    enough, finite = count > 1, space.finite(mean + var)
    keep = enough & finite
    batches = running.batches + space.cast(space.any(keep), running.batches.dtype)
    first = space.xp.ones_like(batches)
    counted = space.cast(space.xp.where(batches > 0, batches, first), running.mean.dtype)
    divisor = space.xp.where(enough, count, space.constant(2.0, running.mean))
    news = mean, convention.running_variance(var, divisor)
    olds = running.mean, running.var
    mean, var = (
        space.xp.where(keep, convention.updated(old, new, batches=counted), old)
        for old, new in zip(olds, news, strict=True)
    )
    return StatsUpdate(RunningStats(mean, var, batches), space.any(~finite))


class Batch(Protocol):
    """The statistics of a batch, of the shape of the features; var is biased."""

    @property
    def mean(self) -> Any: ...

    @property
    def var(self) -> Any: ...


def renormalized(
    space: ArrayOps, batch: Batch, running: RunningStats, eps: float, bounds: tuple[float, float]
) -> tuple[Any, Any]:
    """r and d of batch renormalization, which takes x̂ · r + d for x̂; no gradient flows into them.

    r = √(var + eps) / √(running var + eps) within 1 / r_max and r_max, d = (mean − running mean) / √(running var + eps)
    within −d_max and d_max.

    Ioffe (2017), algorithm 1: https://arxiv.org/abs/1702.03275
    """
    r_max, d_max = bounds
    mean, var = (space.stop_gradient(space.cast(value, running.mean.dtype)) for value in (batch.mean, batch.var))
    deviation = space.xp.sqrt(running.var + eps)
    r = space.clip(space.xp.sqrt(var + eps) / deviation, 1 / r_max, r_max)
    d = space.clip((mean - running.mean) / deviation, -d_max, d_max)
    return r, d


def scale_and_shift(r: Any, d: Any, gamma: Any, beta: Any) -> tuple[Any, Any]:
    """γ · (x̂ · r + d) + β as a scale and a shift of x̂, of the shape of the features; gamma, beta: None for 1 and 0."""
    scale, shift = (r, d) if gamma is None else (r * gamma, d * gamma)
    return scale, shift if beta is None else shift + beta


def check_count(count: int, shape: Any, evaluate: str, parts: int = 1) -> None:
    """Refuse a batch with fewer than two values of each feature, whose own statistics would be taken.

    Args:
        count: how many values of each feature there are, in each of the batch's `parts`.
        shape: the batch's.
        evaluate: how the framework's user asks for evaluation instead.
    """
    if count < 2:
        raise DataError(
            f"training needs more than 1 value of each feature, got {count} in shape {tuple(shape)}"
            f"{f' split into {parts} ghost batches' if parts > 1 else ''}: a single value is its own mean, and y would "
            f"be β whatever it is; use a larger batch, or {evaluate}"
        )


def check_ghost(ghost: Any) -> None:
    """Raise unless `ghost` is None or a positive number of samples."""
    if ghost is not None and (not isinstance(ghost, int) or isinstance(ghost, bool) or ghost < 1):
        raise DataError(f"ghost must be None or the number of samples that are normalized together, got {ghost!r}")


def check_renorm(renorm: Any) -> None:
    """Raise unless `renorm` is (r_max, d_max), finite, with r_max ≥ 1 and d_max ≥ 0."""
    bounds = isinstance(renorm, tuple | list) and len(renorm) == 2 and all(isinstance(b, int | float) for b in renorm)
    if not (bounds and renorm[0] >= 1 and renorm[1] >= 0):
        raise DataError(f"renorm must be (r_max, d_max) with r_max ≥ 1 and d_max ≥ 0, got {renorm!r}")
    if not all(map(isfinite, renorm)):
        raise DataError(f"renorm needs finite bounds, got {renorm!r}")
