"""Batch norm over all processes of a group: all-reduced sums, whose gradients are all-reduced too."""

from math import prod
from typing import Any

import torch
from torch import distributed

from gammabeta.backends import array_ops
from gammabeta.errors import DataError, StateError
from gammabeta.norm import formula
from gammabeta.torch.norm.autograd_cpu import Plan, finished
from gammabeta.torch.norm.running_stats import BatchStats

Tensor = torch.Tensor


def group(sync: Any) -> Any:
    """The process group that `sync` names, True being that of all processes."""
    if not distributed.is_available() or not distributed.is_initialized():
        raise StateError(
            f"sync={sync!r} needs a process group, and there is none: call torch.distributed.init_process_group first, "
            f"or give the layer sync=False"
        )
    return distributed.group.WORLD if sync is True else sync


def normalized(
    x: Tensor,
    gamma: Tensor | None,
    beta: Tensor | None,
    residual: Tensor | None,
    plan: Plan,
    mask: Tensor | None,
    processes: Any,
) -> tuple[Tensor, BatchStats]:
    """activation(batch norm + residual) by the statistics of every process's values, each counting once.

    In float64. Where no process has any value the output is empty. The mean is of two parts, the sum's and what its
    rounding left, as in `formula`.
    """
    reduced_axes, space = plan.reduced_axes, array_ops.of(x)
    mask = None if mask is None else formula.broadcast_mask(space, mask, x, reduced_axes)
    with torch.autocast(x.device.type, enabled=False):
        values = x.double() if mask is None else torch.where(mask, x, 0).double()
        count = (
            values.new_full((1,) * x.ndim, prod([x.shape[i] for i in reduced_axes])).expand(
                values.sum(reduced_axes, True).shape
            )
            if mask is None
            else mask.sum(reduced_axes, True).double()
        )
        total, count = _Sum.apply(torch.stack([values.sum(reduced_axes, True), count]), processes)
        mean, divisor = total / count.clamp(min=1), count.clamp(min=1)
        centred = _only(mask, values - mean)
        mean_lo, squares = (
            _Sum.apply(torch.stack([centred.sum(reduced_axes, True), (centred**2).sum(reduced_axes, True)]), processes)
            / divisor
        )
        var = squares - mean_lo**2
        if mask is None and bool((count == 1).any()):
            raise DataError(
                f"training needs more than 1 value of each feature over all processes, got {int(count.min())}: "
                f"use a larger batch, or layer.eval()"
            )
        scale = torch.rsqrt(var + plan.eps)
        shape = scale.shape
        y = (centred - mean_lo) * (scale if gamma is None else scale * gamma.reshape(shape))
        y = _only(mask, y if beta is None else y + beta.reshape(shape)).to(x.dtype)
        features = [n for i, n in enumerate(x.shape) if i not in reduced_axes]
        seen = BatchStats(*((v.detach().reshape(features)) for v in (mean + mean_lo, var, count)))
        return finished(y, residual, plan), seen


def _only(mask: Tensor | None, values: Tensor) -> Tensor:
    return values if mask is None else torch.where(mask, values, 0.0)


class _Sum(torch.autograd.Function):
    """The sum over all processes; its gradient is the sum of their gradients."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, processes: Any) -> Tensor:
        ctx.processes = processes
        total = x.detach().clone(memory_format=torch.contiguous_format)
        distributed.all_reduce(total, group=processes)
        return total

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> Any:
        return _Sum.apply(dy, ctx.processes), None
