"""Batch norm of CPU tensors by the kernels, with gradients; tensors and NumPy arrays share memory."""

from math import prod
from typing import Any, NamedTuple

import numpy as np
import torch

from gammabeta import axes
from gammabeta.backends import array_ops, arrays
from gammabeta.kernels import batchnorm, relu_mask
from gammabeta.kernels.batchnorm_blocks import Batch, Floats
from gammabeta.kernels.dtypes import Array
from gammabeta.norm import formula, functional
from gammabeta.torch.norm.gpu_tiling import INTERPRETED

Tensor = torch.Tensor
Axes = tuple[int, ...]


class Plan(NamedTuple):
    """The arguments that are no tensors: reduced axes, eps, and the activation: "relu", "silu" or None."""

    reduced_axes: Axes
    eps: float
    activation: str | None = None

    @property
    def relu(self) -> bool:
        """Whether a ReLU follows."""
        return self.activation == "relu"


def composed(
    x: Tensor,
    gamma: Tensor | None,
    beta: Tensor | None,
    residual: Tensor | None,
    plan: Plan,
    given: tuple[Tensor, Tensor] | None = None,
    mask: Tensor | None = None,
) -> tuple[Tensor, functional.Normalized]:
    """activation(batch norm + residual) in torch's own operations, for any device, transformation and compiler."""
    space, features = array_ops.of(x), axes.feature_axes(plan.reduced_axes, x.ndim)
    named = zip(("gamma", "beta", "mean", "var"), (gamma, beta, *(given or (None, None))), strict=True)
    gamma, beta, mean, var = (formula.broadcast_like(space, name, value, x, features) for name, value in named)
    mask = None if mask is None else formula.broadcast_mask(space, mask, x, plan.reduced_axes)
    with torch.autocast(x.device.type, enabled=False):
        seen = functional.by_operations(space, x, plan.reduced_axes, plan.eps, gamma, beta, mean, var, mask)
        return finished(seen.y, residual, plan), seen


def finished(y: Tensor, residual: Tensor | None, plan: Plan) -> Tensor:
    """activation(y + residual), each where asked for."""
    y = y if residual is None else y + residual
    if plan.activation == "silu":
        return torch.nn.functional.silu(y)
    return torch.relu(y) if plan.relu else y


def fits(x: Tensor) -> bool:
    """Whether kernels may have x: in the host's memory, and nobody traces or transforms the operations."""
    return (
        x.device.type == "cpu"
        and not INTERPRETED
        and not transformed(x)
        and not torch._C._is_tracing()
        and not torch._C._len_torch_dispatch_stack()
        and x.numel() > 0
    )


def transformed(x: Tensor) -> bool:
    """Whether x is no plain tensor, or somebody looks at the operations: torch.func, forward-mode gradients."""
    return (
        type(x) not in (Tensor, torch.nn.Parameter)
        or torch._C._are_functorch_transforms_active()
        or torch.autograd.forward_ad._current_level >= 0
    )


def constant(*given: Tensor | None) -> bool:
    """Whether no gradient flows to given statistics, which the kernels do not give."""
    return not (torch.is_grad_enabled() and any(value is not None and value.requires_grad for value in given))


def normalized(x: Tensor, reduced_axes: Axes, eps: float, *parameters: Tensor | None) -> functional.Normalized:
    """`functional.normalized` of what it has checked and shaped: γ, β, and the mean and variance or None."""
    features, shape = (
        [x.shape[i] for i in axes.feature_axes(reduced_axes, x.ndim)],
        axes.parameter_shape(reduced_axes, tuple(x.shape)),
    )
    gamma, beta, mean, var = (p if p is None else p.expand(shape).reshape(features) for p in parameters)
    if mean is not None and var is not None:
        y = by_running(x, gamma, beta, None, Plan(reduced_axes, eps), (mean, var))
        return functional.Normalized(y, mean, var, prod(x.shape[i] for i in reduced_axes))
    y, batch = by_batch(x, gamma, beta, None, Plan(reduced_axes, eps))
    mean, var = (torch.from_numpy(value).reshape(features) for value in (batch.mean, batch.var))
    return functional.Normalized(y, mean, var, batch.values)


def by_batch(
    x: Tensor, gamma: Tensor | None, beta: Tensor | None, residual: Tensor | None, plan: Plan
) -> tuple[Tensor, Batch]:
    """activation(batch norm + residual) with x's own statistics, which come with it."""
    if plan.activation == "silu":
        y, batch = by_batch(x, gamma, beta, None, plan._replace(activation=None))
        return finished(y, residual, plan), batch
    seen: list[Batch] = []
    y = _ByBatch.apply(x, gamma, beta, residual, plan, seen)
    return y, seen[0]


def by_running(
    x: Tensor,
    gamma: Tensor | None,
    beta: Tensor | None,
    residual: Tensor | None,
    plan: Plan,
    given: tuple[Tensor, Tensor],
) -> Tensor:
    """activation(batch norm + residual) with given statistics."""
    if plan.activation == "silu":
        y = by_running(x, gamma, beta, None, plan._replace(activation=None), given)
        return finished(y, residual, plan)
    if not torch.is_grad_enabled():
        return _tensor(x, _evaluated(x, gamma, beta, residual, plan, given)[0])
    mapped: Tensor = _ByRunning.apply(x, gamma, beta, residual, plan, given)
    return mapped


class _Constants(NamedTuple):
    """What a backward pass in evaluation needs: the statistics of then, since the running ones may move; (f,)."""

    mean: Floats
    inverse: Floats
    """1 / √(var + eps)."""
    scale: Floats
    """γ / √(var + eps)."""


def _evaluated(
    x: Tensor,
    gamma: Tensor | None,
    beta: Tensor | None,
    residual: Tensor | None,
    plan: Plan,
    given: tuple[Tensor, Tensor],
) -> tuple[Array, _Constants]:
    """The output by given statistics, a new array, and what its backward pass needs."""
    scale, shift = _parameters(gamma, beta, x, plan.reduced_axes)
    mean, var = (_floats(value) for value in given)
    with np.errstate(divide="ignore", invalid="ignore"):
        inverse = 1 / np.sqrt(var + plan.eps)
        scale = scale * inverse
    y = batchnorm.applied(_view(x), plan.reduced_axes, mean, np.zeros_like(mean), scale, shift, _then(residual, plan))
    return y, _Constants(mean, inverse, scale)


class _ByBatch(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        gamma: Tensor | None,
        beta: Tensor | None,
        residual: Tensor | None,
        plan: Plan,
        seen: list[Batch],
    ) -> Tensor:
        scale, shift = _parameters(gamma, beta, x, plan.reduced_axes)
        y, batch = batchnorm.forward(_view(x), plan.reduced_axes, scale, shift, plan.eps, _then(residual, plan))
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
        scale, _ = _parameters(gamma, None, x, ctx.plan.reduced_axes)
        dx, dgamma, dbeta = batchnorm.backward(
            _view(dy), _view(x), ctx.plan.reduced_axes, ctx.batch, scale, ctx.plan.eps
        )
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
        y, ctx.constants = _evaluated(x, gamma, beta, residual, plan, given)
        ctx.save_for_backward(x if gamma is not None and ctx.needs_input_grad[1] else None, gamma, beta)
        ctx.plan = plan
        ctx.gate = _Gate(y) if plan.relu and any(ctx.needs_input_grad) else None
        return _tensor(x, y)

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> Any:
        x, gamma, beta = ctx.saved_tensors
        dy = dy if ctx.gate is None else ctx.gate(dy)
        dx = dgamma = dbeta = None
        at, factors, scales = ctx.constants
        nothing = np.zeros_like(at)
        if torch.is_grad_enabled():
            reduced_axes, shape = ctx.plan.reduced_axes, axes.parameter_shape(ctx.plan.reduced_axes, tuple(dy.shape))
            mean, inverse = (torch.from_numpy(v).reshape(shape).to(dy.device) for v in (at, factors))
            factor = inverse if gamma is None else inverse * gamma.reshape(shape)
            if ctx.needs_input_grad[0]:
                dx = (dy * factor).to(dy.dtype)
            if ctx.needs_input_grad[1]:
                dgamma = (dy * (x - mean) * inverse).sum(reduced_axes).reshape(gamma.shape).to(gamma.dtype)
            if ctx.needs_input_grad[2]:
                dbeta = dy.double().sum(reduced_axes).reshape(beta.shape).to(beta.dtype)
        else:
            slope = _view(dy)
            if ctx.needs_input_grad[0]:
                dx = _tensor(dy, batchnorm.applied(slope, ctx.plan.reduced_axes, nothing, nothing, scales, nothing))
            if ctx.needs_input_grad[1] or ctx.needs_input_grad[2]:
                values = slope if x is None else _view(x)
                total, product = batchnorm.sums(slope, values, ctx.plan.reduced_axes, at, nothing)
                dgamma = _like(gamma, product * factors) if ctx.needs_input_grad[1] else None
                dbeta = _like(beta, total) if ctx.needs_input_grad[2] else None
        return dx, dgamma, dbeta, dy if ctx.needs_input_grad[3] else None, None, None


class _Gate:
    """The mask of a ReLU's gradient, one bit for each value of its output."""

    def __init__(self, y: Array) -> None:
        self.bits, self.shape, self.order = relu_mask.signs(y), y.shape, relu_mask.order(y)

    def __call__(self, dy: Tensor) -> Tensor:
        if torch.is_grad_enabled():
            return dy * _tensor(dy, relu_mask.gated(np.ones(self.shape, np.float32), self.order, self.bits)).to(
                dy.dtype
            )
        return _tensor(dy, relu_mask.gated(_view(dy), self.order, self.bits))


def again(ctx: Any, dy: Tensor, x: Tensor, gamma: Tensor | None, beta: Tensor | None, given: Any) -> list[Any]:
    """The gradients of x, γ and β as torch computes them, so that they have gradients themselves."""
    # Views: where γ depends on x, or is β too, the gradient of each is only that of its own place in the formula.
    x, *affine = x.view_as(x), *(p if p is None else p.view_as(p) for p in (gamma, beta))
    wanted: list[Any] = [p for p, needed in zip((x, *affine), ctx.needs_input_grad, strict=False) if needed]
    if not wanted:
        return [None, None, None]
    y, _ = composed(x, affine[0], affine[1], None, ctx.plan._replace(activation=None), given)
    found = iter(torch.autograd.grad(y, wanted, dy, create_graph=True, allow_unused=True))
    return [next(found) if needed else None for needed in ctx.needs_input_grad[:3]]


def _then(residual: Tensor | None, plan: Plan) -> batchnorm.Then:
    """The residual and ReLU that the kernel applies after the normalization."""
    return batchnorm.Then(None if residual is None else _view(residual), plan.relu)


def _view(x: Tensor) -> Array:
    """A tensor as a NumPy array in the same memory."""
    view: Array = arrays.to_numpy(x.detach())
    return view


def _tensor(x: Tensor, result: Array) -> Tensor:
    """A result as a tensor with the same memory."""
    tensor: Tensor = arrays.like(x, result)
    return tensor


def _floats(value: Tensor) -> Floats:
    """A parameter as a new float64 array (f,)."""
    return np.array(_view(value), np.float64).reshape(-1)


def _like(parameter: Tensor, gradient: Floats) -> Tensor:
    """A gradient of the type and shape of its parameter."""
    return torch.from_numpy(gradient).to(parameter.dtype).view(parameter.shape)


def _parameters(gamma: Tensor | None, beta: Tensor | None, x: Tensor, reduced_axes: Axes) -> tuple[Floats, Floats]:
    """γ and β, (f,), 1 and 0 where there is none."""
    features = prod(n for i, n in enumerate(x.shape) if i not in reduced_axes)
    return (
        np.ones(features) if gamma is None else _floats(gamma),
        np.zeros(features) if beta is None else _floats(beta),
    )
