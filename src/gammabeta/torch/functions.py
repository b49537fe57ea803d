"""Batch norm of CPU tensors on the kernels, with its gradients; a tensor is a view of NumPy memory and back."""

from typing import Any, NamedTuple

import numpy as np
import torch

from gammabeta import arrays, functional
from gammabeta.kernels import batchnorm, fused
from gammabeta.kernels.layout import Array

Tensor = torch.Tensor
Axes = tuple[int, ...]


class Plan(NamedTuple):
    """What is not a tensor: the reduced axes, eps, and whether a ReLU follows."""

    away: Axes
    eps: float
    relu: bool = False


def composed(
    x: Tensor,
    gamma: Tensor | None,
    beta: Tensor | None,
    residual: Tensor | None,
    plan: Plan,
    given: tuple[Tensor, Tensor] | None = None,
    mask: Tensor | None = None,
) -> tuple[Tensor, functional.Normalized]:
    """relu(batch norm + residual) in torch's own operations, for any device, transformation and compiler."""
    mean, var = (None, None) if given is None else given
    with torch.autocast(x.device.type, enabled=False):
        seen = functional.normalized(
            x, gamma, beta, axis=plan.away, eps=plan.eps, mean=mean, var=var, mask=mask
        )
        return finished(seen.y, residual, plan.relu), seen


def finished(y: Tensor, residual: Tensor | None, relu: bool) -> Tensor:
    """relu(y + residual), each where asked for."""
    y = y if residual is None else y + residual
    return torch.relu(y) if relu else y


def fits(x: Tensor) -> bool:
    """Whether kernels may have x: in the host's memory, and nobody traces or transforms the operations."""
    return (
        x.device.type == "cpu"
        and type(x) in (Tensor, torch.nn.Parameter)
        and not torch._C._are_functorch_transforms_active()
        and torch.autograd.forward_ad._current_level < 0
        and not torch.jit.is_tracing()
        and x.numel() > 0
    )


def by_batch(
    x: Tensor, gamma: Tensor | None, beta: Tensor | None, residual: Tensor | None, plan: Plan
) -> tuple[Tensor, batchnorm.Batch]:
    """relu(batch norm + residual) with x's own statistics, which come with it."""
    seen: list[batchnorm.Batch] = []
    y: Tensor = _ByBatch.apply(x, gamma, beta, residual, plan, seen)
    return y, seen[0]


def by_running(
    x: Tensor,
    gamma: Tensor | None,
    beta: Tensor | None,
    residual: Tensor | None,
    plan: Plan,
    given: tuple[Tensor, Tensor],
) -> Tensor:
    """relu(batch norm + residual) with given statistics."""
    y: Tensor = _ByRunning.apply(x, gamma, beta, residual, plan, given)
    return y


class _ByBatch(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        gamma: Tensor | None,
        beta: Tensor | None,
        residual: Tensor | None,
        plan: Plan,
        seen: list[batchnorm.Batch],
    ) -> Tensor:
        scale, shift = _parameters(gamma, beta, x, plan.away)
        added = None if residual is None else view(residual)
        y, batch, kept = fused.forward(view(x), plan.away, scale, shift, plan.eps, added, plan.relu)
        seen.append(batch)
        ctx.save_for_backward(x, gamma, beta)
        ctx.plan, ctx.batch, ctx.kept, ctx.residual = plan, batch, kept, residual if kept is None else None
        ctx.added = residual is not None
        return _tensor(y)

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> Any:
        x, gamma, beta = ctx.saved_tensors
        return x, gamma, beta
