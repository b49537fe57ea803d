"""Batch norm on a GPU: Triton's kernels as operators that torch differentiates, compiles and captures in CUDA graphs.

A second gradient is that of the formula in torch's own operations.
"""

from importlib import import_module
from math import prod
from typing import Any

import torch

from gammabeta import axes
from gammabeta.backends import array_ops
from gammabeta.norm import functional
from gammabeta.norm.formula import broadcast_mask
from gammabeta.torch.norm import autograd_cpu
from gammabeta.torch.norm.autograd_cpu import Plan
from gammabeta.torch.norm.gpu_tiling import BESIDE, WIDE, Tiling, dense, reachable

Tensor = torch.Tensor
Optional = Tensor | None

TILE = 4096  # values, 16 for each thread of 8 warps
LANE = 256  # tiles that a lane adds up: in float32 its error, 2⁻²⁴ each, stays below a unit of 16 bits


def fits(x: Tensor, reduced_axes: tuple[int, ...]) -> bool:
    """Whether kernels may have x: it lies without gaps where they run, and nobody transforms the operations."""
    return (
        reachable(x)
        and x.numel() > 0
        and (torch.compiler.is_compiling() or not autograd_cpu.transformed(x))
        and dense(x, reduced_axes) is not None
    )


def normalized(
    x: Tensor,
    gamma: Optional,
    beta: Optional,
    residual: Optional,
    plan: Plan,
    given: tuple[Tensor, Tensor] | None = None,
    mask: Optional = None,
) -> tuple[Tensor, functional.Normalized]:
    """activation(batch norm + residual) on any device: by kernels where they fit, else by `autograd_cpu.composed`."""
    if not fits(x, plan.reduced_axes) or not autograd_cpu.constant(*(given or ())):
        return autograd_cpu.composed(x, gamma, beta, residual, plan, given, mask)
    mask = None if mask is None else broadcast_mask(array_ops.of(x), mask, x, plan.reduced_axes)
    features = [x.shape[i] for i in axes.feature_axes(plan.reduced_axes, x.ndim)]
    parameters = (*(p if p is None else p.contiguous() for p in (gamma, beta)), residual, mask)
    options = list(plan.reduced_axes), plan.eps, plan.activation or ""
    if given is not None:
        y = batch_norm_given(x, *(value.contiguous() for value in given), *parameters, *options)
        return y, functional.Normalized(y, *given, prod([x.shape[i] for i in plan.reduced_axes]))
    y, statistics = batch_norm(x, *parameters, *options)
    count, mean, spread = (row.view(features) for row in statistics.detach())
    return y, functional.Normalized(y, mean, spread / count.clamp(min=1), count)


def formula(x: Tensor, reduced_axes: tuple[int, ...], eps: float, *parameters: Optional) -> functional.Normalized:
    """`functional.normalized` of what it has checked and shaped: γ, β, and the mean and variance or None."""
    features, shape = (
        [x.shape[i] for i in axes.feature_axes(reduced_axes, x.ndim)],
        axes.parameter_shape(reduced_axes, tuple(x.shape)),
    )
    gamma, beta, mean, var = (p if p is None else p.expand(shape).reshape(features) for p in parameters)
    given = None if mean is None or var is None else (mean, var)
    return normalized(x, gamma, beta, None, Plan(reduced_axes, eps), given)[1]


class _Launch(Tiling):
    """The tiles, the programs, the mask and the types for one tensor."""

    def __init__(self, x: Tensor, reduced_axes: list[int], mask: Optional) -> None:
        super().__init__(x, tuple(reduced_axes), TILE)
        self.kernels = import_module("gammabeta.kernels.triton.batchnorm")
        self.mask = _mask(x, mask, tuple(reduced_axes))
        wide = getattr(import_module("triton.language"), WIDE[x.dtype])
        self.options |= {"MASKED": mask is not None, "WIDE": wide, "enable_fp_fusion": True}


def _in_layout_of(x: Tensor, other: Tensor) -> Tensor:
    """Another tensor of x's shape, in x's memory layout."""
    return other if other.stride() == x.stride() else torch.empty_like(x, dtype=other.dtype).copy_(other)


def _mask(x: Tensor, mask: Optional, reduced_axes: tuple[int, ...]) -> tuple[Optional, bool]:
    """A mask, broadcast to x, in x's layout; and whether it differs from feature to feature, else it is that of one."""
    if mask is None:
        return None, False
    feature_axes = axes.feature_axes(reduced_axes, x.ndim)
    if any(mask.stride(i) and mask.shape[i] > 1 for i in feature_axes):
        return _in_layout_of(x, mask), True
    for i in feature_axes:
        mask = mask.narrow(i, 0, 1)
    down = sorted(reduced_axes, key=x.stride, reverse=True)
    return mask.permute([*feature_axes, *down]).contiguous(), False


def _flags(count: Any, gamma: Any, beta: Any, residual: Any, activation: str) -> dict[str, Any]:
    return {
        "GIVEN": count is None,
        "SCALED": gamma is not None,
        "SHIFTED": beta is not None,
        "ADDED": residual is not None,
        "ACTIVATION": activation,
    }


@torch.library.custom_op("gammabeta::batch_norm", mutates_args=())
def batch_norm(
    x: Tensor,
    gamma: Optional,
    beta: Optional,
    residual: Optional,
    mask: Optional,
    reduced_axes: list[int],
    eps: float,
    activation: str,
) -> tuple[Tensor, Tensor]:
    """activation(batch norm + residual), and the statistics: count, mean and n·var, (3, features), float64."""
    launch = _Launch(x, reduced_axes, mask)
    grid, features = launch.summing(LANE), launch.shape.features
    partial = x.new_empty((3, grid[1], features), dtype=torch.float64)
    launch.kernels.moments[grid](x, *launch.mask, partial, *launch.shape, **launch.options)
    if grid[1] == 1:
        statistics = partial.view(3, features)
    else:
        statistics = x.new_empty((3, features), dtype=torch.float64)
        launch.kernels.join[(-(-features // BESIDE),)](
            partial, statistics, grid[1], features, BLOCK=BESIDE, enable_fp_fusion=True
        )
    count, mean, spread = statistics
    return _applied(launch, x, mean, spread, count, gamma, beta, residual, eps, activation), statistics


@torch.library.custom_op("gammabeta::batch_norm_given", mutates_args=())
def batch_norm_given(
    x: Tensor,
    mean: Tensor,
    var: Tensor,
    gamma: Optional,
    beta: Optional,
    residual: Optional,
    mask: Optional,
    reduced_axes: list[int],
    eps: float,
    activation: str,
) -> Tensor:
    """activation(batch norm + residual) with given statistics, of the shape of the features."""
    return _applied(_Launch(x, reduced_axes, mask), x, mean, var, None, gamma, beta, residual, eps, activation)


def _applied(
    launch: _Launch,
    x: Tensor,
    mean: Tensor,
    spread: Tensor,
    count: Optional,
    gamma: Optional,
    beta: Optional,
    residual: Optional,
    eps: float,
    activation: str,
) -> Tensor:
    y = torch.empty_like(x)
    added = None if residual is None else _in_layout_of(x, residual)
    given = (x, *launch.mask, mean, spread, count, gamma, beta, added, y, *launch.shape, eps)
    flags = _flags(count, gamma, beta, residual, activation)
    launch.kernels.apply[launch.mapping()](*given, **flags, **launch.options)
    return y


@torch.library.custom_op("gammabeta::batch_norm_backward", mutates_args=())
def batch_norm_backward(
    dy: Tensor,
    x: Tensor,
    mean: Tensor,
    spread: Tensor,
    count: Optional,
    gamma: Optional,
    beta: Optional,
    residual: Optional,
    mask: Optional,
    reduced_axes: list[int],
    eps: float,
    activation: str,
) -> tuple[Tensor, Tensor, Tensor]:
    """dx, the sums that are dβ and dγ, (2, features), and the gradient of the residual, if an activation follows."""
    launch = _Launch(x, reduced_axes, mask)
    grid, added = launch.summing(LANE), None if residual is None else _in_layout_of(x, residual)
    given = (_in_layout_of(x, dy), x, *launch.mask, mean, spread, count, gamma, beta, added)
    options = _flags(count, gamma, beta, residual, activation) | launch.options
    partial = x.new_empty((2, grid[1], launch.shape.features), dtype=torch.float64)
    launch.kernels.slopes[grid](*given, partial, *launch.shape, eps, **options)
    sums = partial.sum(1)
    dx, gated = torch.empty_like(x), _room(x, residual, activation)
    launch.kernels.slope[launch.mapping()](*given, sums, dx, gated, *launch.shape, eps, **options)
    return dx, sums, gated


def _room(x: Tensor, residual: Optional, activation: str) -> Tensor:
    """A new tensor for the gradient of the residual; an empty one where that is dy or not asked for."""
    return torch.empty_like(x) if residual is not None and activation else x.new_empty(0)


@batch_norm.register_fake
def _(x: Tensor, *others: Any) -> tuple[Tensor, Tensor]:
    features = prod(x.shape[i] for i in axes.feature_axes(tuple(others[4]), x.ndim))
    return torch.empty_like(x), x.new_empty((3, features), dtype=torch.float64)


@batch_norm_given.register_fake
def _(x: Tensor, *others: Any) -> Tensor:
    return torch.empty_like(x)


@batch_norm_backward.register_fake
def _(dy: Tensor, x: Tensor, mean: Tensor, *others: Any) -> tuple[Tensor, Tensor, Tensor]:
    sums = x.new_empty((2, mean.numel()), dtype=torch.float64)
    return torch.empty_like(x), sums, _room(x, others[4], others[8])


def _keep(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    x, *parameters, reduced_axes, eps, activation = inputs
    _remember(ctx, x, parameters, Plan(tuple(reduced_axes), eps, activation or None), output[1])


def _keep_given(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    x, mean, var, *parameters, reduced_axes, eps, activation = inputs
    _remember(ctx, x, parameters, Plan(tuple(reduced_axes), eps, activation or None), mean, var)


def _remember(ctx: Any, x: Tensor, parameters: list[Optional], plan: Plan, *statistics: Tensor) -> None:
    gamma, beta, residual, mask = parameters
    ctx.plan, ctx.added = plan, residual is not None
    ctx.save_for_backward(x, gamma, beta, residual if plan.activation else None, mask, *statistics)


def _gradients(ctx: Any, dy: Tensor, *ignored: Any) -> tuple[Any, ...]:
    """The gradients of x, γ, β and the residual, and None for each other argument."""
    x, gamma, beta, residual, mask, *statistics = ctx.saved_tensors
    given = tuple(statistics) if len(statistics) == 2 else None
    if torch.is_grad_enabled():
        dx, dgamma, dbeta, gated = _again(ctx.plan, dy, (x, gamma, beta, residual), given, mask)
    else:
        mean, spread, count = (*given, None) if given else statistics[0][[1, 2, 0]]
        options = list(ctx.plan.reduced_axes), ctx.plan.eps, ctx.plan.activation or ""
        dx, sums, gated = batch_norm_backward(dy, x, mean, spread, count, gamma, beta, residual, mask, *options)
        dbeta, dgamma = (
            p if p is None else total.view(p.shape).to(p.dtype) for p, total in zip((beta, gamma), sums, strict=True)
        )
    added = (gated if ctx.plan.activation else dy) if ctx.added else None
    return (dx, *([None, None] if given else []), dgamma, dbeta, added, None, None, None, None)


def _again(
    plan: Plan, dy: Tensor, inputs: tuple[Any, ...], given: tuple[Tensor, Tensor] | None, mask: Optional
) -> list[Optional]:
    """The gradients of the inputs as torch computes them, so that they have gradients themselves."""
    # Views: where γ depends on x, or is β too, the gradient of each is only that of its own place in the formula.
    views: list[Any] = [p if p is None else p.view_as(p) for p in inputs]
    x, gamma, beta, residual = views
    wanted = [p for p in views if p is not None and p.requires_grad]
    y, _ = autograd_cpu.composed(x, gamma, beta, residual, plan, given, mask)
    found = iter(torch.autograd.grad(y, wanted, dy, create_graph=True, allow_unused=True))
    return [next(found) if p is not None and p.requires_grad else None for p in views]


batch_norm.register_autograd(_gradients, setup_context=_keep)
batch_norm_given.register_autograd(_gradients, setup_context=_keep_given)
