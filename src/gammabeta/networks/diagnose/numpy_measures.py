"""Moments and shares of a call's input and output in NumPy; those of tensors are in torch/networks/diagnose/hooks."""

from functools import partial
from typing import Any

import numpy as np

from gammabeta.networks.diagnose.accumulator import Measure, Shares
from gammabeta.statistics import Moments

Axes = tuple[int, ...]


def moments(x: Any, reduced_axes: Axes, mask: Any) -> tuple[Moments, int]:
    """The exact moments of the finite values that count, and how many values that count are not finite.

    Args:
        x: of any floating type.
        reduced_axes: over which the moments are taken.
        mask: boolean, where a value counts, of x's rank; None for everywhere.
    """
    finite = np.isfinite(x)
    wanted = np.ones_like(finite) if mask is None else np.broadcast_to(mask, x.shape)
    missing = int((wanted & ~finite).sum())
    if mask is not None or missing:
        x = np.where(wanted & finite, x, x.dtype.type(np.nan))
    return Moments.of(x, axis=reduced_axes, nan="omit"), missing


def measured(y: Any, reduced_axes: Axes, mask: Any) -> Measure:
    """A function of two bounds that gives the `Shares` of a call's output y, which it holds and does not copy."""
    return partial(_shares, y, reduced_axes, mask)


def _shares(y: Any, reduced_axes: Axes, mask: Any, low: float, high: float) -> Shares:
    counts = np.broadcast_to(True if mask is None else mask, y.shape)
    return Shares(*(_each(flags & counts, reduced_axes) for flags in (counts, y <= low, y >= high)))


def _each(flags: Any, reduced_axes: Axes) -> Any:
    return flags.sum(axis=reduced_axes).reshape(-1).astype(np.float64)


def has(x: Any) -> set[str]:
    """Which of NaN and infinity are in an array."""
    values = np.asarray(x)
    found: set[str] = set()
    if not np.isfinite(values).all():
        found |= {"NaN"} if np.isnan(values).any() else set()
        found |= {"infinity"} if np.isinf(values).any() else set()
    return found
