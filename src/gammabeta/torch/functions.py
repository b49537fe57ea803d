"""Batch norm of CPU tensors on the kernels, with its gradients; a tensor is a view of NumPy memory and back."""

from math import prod
from typing import Any, NamedTuple

import numpy as np
import torch

from gammabeta import arrays, axes, functional
from gammabeta.kernels import batchnorm, gates
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
        seen = functional.normalized(x, gamma, beta, axis=plan.away, eps=plan.eps, mean=mean, var=var, mask=mask)
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
        and not torch._C._is_tracing()
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
        y, batch = batchnorm.forward(_view(x), plan.away, scale, shift, plan.eps, _then(residual, plan))
        seen.append(batch)
        ctx.save_for_backward(x, gamma, beta)
        ctx.plan, ctx.batch, ctx.gate = plan, batch, _Gate(y) if plan.relu and any(ctx.needs_input_grad) else None
        return _tensor(x, y)

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> Any:
        x, gamma, beta = ctx.saved_tensors
        dy = dy if ctx.gate is None else ctx.gate(dy)
        if torch.is_grad_enabled():
            return *again(ctx, dy, x, gamma, beta, None), dy if ctx.needs_input_grad[3] else None, None, None
        scale, _ = _parameters(gamma, None, x, ctx.plan.away)
        dx, dgamma, dbeta = batchnorm.backward(_view(dy), _view(x), ctx.plan.away, ctx.batch, scale, ctx.plan.eps)
        return (
            _tensor(x, dx) if ctx.needs_input_grad[0] else None,
            _like(gamma, dgamma) if ctx.needs_input_grad[1] else None,
            _like(beta, dbeta) if ctx.needs_input_grad[2] else None,
            dy if ctx.needs_input_grad[3] else None,
            None,
            None,
        )


class _ByRunning(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        gamma: Tensor | None,
        beta: Tensor | None,
        residual: Tensor | None,
        plan: Plan,
        given: tuple[Tensor, Tensor],
    ) -> Tensor:
        scale, shift = _parameters(gamma, beta, x, plan.away)
        # Copies: the running statistics may move before the backward pass.
        mean, var = (_floats(value) for value in given)
        with np.errstate(divide="ignore", invalid="ignore"):
            inverse = 1 / np.sqrt(var + plan.eps)
            scale = scale * inverse
        rest = np.zeros_like(mean)
        y = batchnorm.applied(_view(x), plan.away, mean, rest, scale, shift, _then(residual, plan))
        ctx.save_for_backward(x if gamma is not None and ctx.needs_input_grad[1] else None, gamma, beta)
        ctx.plan, ctx.mean, ctx.inverse, ctx.scale, ctx.given = plan, mean, inverse, scale, given
        ctx.gate = _Gate(y) if plan.relu and any(ctx.needs_input_grad) else None
        return _tensor(x, y)

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> Any:
        x, gamma, beta = ctx.saved_tensors
        dy = dy if ctx.gate is None else ctx.gate(dy)
        dx = dgamma = dbeta = None
        nothing = np.zeros_like(ctx.mean)
        if torch.is_grad_enabled():
            away, shape = ctx.plan.away, axes.parameter_shape(ctx.plan.away, tuple(dy.shape))
            mean, inverse = (torch.from_numpy(v).reshape(shape).to(dy.device) for v in (ctx.mean, ctx.inverse))
            factor = inverse if gamma is None else inverse * gamma.reshape(shape)
            if ctx.needs_input_grad[0]:
                dx = (dy * factor).to(dy.dtype)
            if ctx.needs_input_grad[1]:
                dgamma = (dy * (x - mean) * inverse).sum(away).reshape(gamma.shape).to(gamma.dtype)
            if ctx.needs_input_grad[2]:
                dbeta = dy.double().sum(away).reshape(beta.shape).to(beta.dtype)
        else:
            slope = _view(dy)
            if ctx.needs_input_grad[0]:
                dx = _tensor(dy, batchnorm.applied(slope, ctx.plan.away, nothing, nothing, ctx.scale, nothing))
            if ctx.needs_input_grad[1] or ctx.needs_input_grad[2]:
                values = slope if x is None else _view(x)
                total, product = batchnorm.sums(slope, values, ctx.plan.away, ctx.mean, nothing)
                dgamma = _like(gamma, product * ctx.inverse) if ctx.needs_input_grad[1] else None
                dbeta = _like(beta, total) if ctx.needs_input_grad[2] else None
        return dx, dgamma, dbeta, dy if ctx.needs_input_grad[3] else None, None, None


class _Gate:
    """Lets a gradient through where a ReLU let its values through."""

    def __init__(self, y: Array) -> None:
        self.bits, self.shape, self.order = gates.signs(y), y.shape, gates.order(y)

    def __call__(self, dy: Tensor) -> Tensor:
        if torch.is_grad_enabled():
            return dy * _tensor(dy, gates.gated(np.ones(self.shape, np.float32), self.order, self.bits)).to(dy.dtype)
        return _tensor(dy, gates.gated(_view(dy), self.order, self.bits))


def again(ctx: Any, dy: Tensor, x: Tensor, gamma: Tensor | None, beta: Tensor | None, given: Any) -> list[Any]:
    """The gradients of x, γ and β as torch computes them, so that they have gradients themselves."""
    wanted: list[Any] = [p for p, needed in zip((x, gamma, beta), ctx.needs_input_grad, strict=False) if needed]
    if not wanted:
        return [None, None, None]
    y, _ = composed(x, gamma, beta, None, ctx.plan._replace(relu=False), given)
    found = iter(torch.autograd.grad(y, wanted, dy, create_graph=True, allow_unused=True))
    return [next(found) if needed else None for needed in ctx.needs_input_grad[:3]]


def _then(residual: Tensor | None, plan: Plan) -> batchnorm.Then:
    """What follows the normalization."""
    return batchnorm.Then(None if residual is None else _view(residual), plan.relu)


def _view(x: Tensor) -> Array:
    """The memory of a tensor."""
    view: Array = arrays.to_numpy(x.detach())
    return view


def _tensor(x: Tensor, result: Array) -> Tensor:
    """A result as a tensor with the same memory."""
    tensor: Tensor = arrays.like(x, result)
    return tensor


def _floats(value: Tensor) -> batchnorm.Floats:
    """A parameter as a new float64 array (f,)."""
    return np.array(_view(value), np.float64).reshape(-1)


def _like(parameter: Tensor, gradient: batchnorm.Floats) -> Tensor:
    """A gradient of the type and shape of its parameter."""
    return torch.from_numpy(gradient).to(parameter.dtype).view(parameter.shape)


def _parameters(
    gamma: Tensor | None, beta: Tensor | None, x: Tensor, away: Axes
) -> tuple[batchnorm.Floats, batchnorm.Floats]:
    """γ and β, (f,), 1 and 0 where there is none."""
    features = prod(n for i, n in enumerate(x.shape) if i not in away)
    return (
        np.ones(features) if gamma is None else _floats(gamma),
        np.zeros(features) if beta is None else _floats(beta),
    )
