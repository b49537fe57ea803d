"""The layer on a contiguous CPU tensor in one kernel call: for small batches every microsecond counts."""

from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from gammabeta.kernels import batchnorm_contiguous, buffer_cache
from gammabeta.kernels.batchnorm import SAFE
from gammabeta.torch import openmp
from gammabeta.torch.norm.autograd_cpu import Plan, again, fits
from gammabeta.torch.norm.running_stats import recomputing

Tensor = torch.Tensor

SPLIT = 2**16  # values from which torch's other threads, awake between its own operations, are worth it

KINDS = {getattr(torch, name): kind for name, kind in batchnorm_contiguous.KINDS.items()}
_GREATEST = {dtype: torch.finfo(dtype).max / 2 for dtype in KINDS}
_LAST = {4: torch.channels_last, 5: torch.channels_last_3d}


class Call(NamedTuple):
    """The arguments of a kernel call for one layer and batch."""

    form: tuple[int, int, int, int, int, int]
    """The kinds of x and of the parameters, how many threads; runs, features, width."""
    max_stat: float
    """Below which a variance can be kept, the unbiased one being twice as much at most, and gone back from."""
    plan: Plan
    held: tuple[Tensor | None, ...]
    """γ, β, the running mean and variance, how many batches."""


def call(layer: Any, x: Any) -> Call | None:
    """How to call the kernels for x; None if x is not contiguous, or the parameters not of one type."""
    if type(x) is not Tensor or x.ndim < 2 or x.is_neg() or not fits(x):
        return None
    if layer.axis is not None or layer.activation is not None or x.shape[1] != layer.num_features:
        return None
    if layer._ranks is not None and x.ndim not in layer._ranks:
        return None
    # Past `Module.__getattr__`, at 0.4 µs each.
    parameters, buffers = layer._parameters, layer._buffers
    if "weight" not in parameters or "bias" not in parameters:  # pruned, or parametrized
        return None
    gamma, beta, mean, var = (
        parameters["weight"],
        parameters["bias"],
        buffers["running_mean"],
        buffers["running_var"],
    )
    first = mean if gamma is None else gamma
    dtype = x.dtype if first is None else first.dtype
    kind, as_ = KINDS.get(x.dtype), KINDS.get(dtype)
    if kind is None or as_ is None:
        return None
    for p in (gamma, beta, mean, var):
        if p is not None and (
            p.dtype != dtype or not p.is_cpu or not p.is_contiguous() or p.numel() != layer.num_features
        ):
            return None
    sizes = _sizes(x)
    if sizes is None:
        return None
    many = 1 if x.numel() < SPLIT else openmp.count()
    reduced_axes = _REDUCED_AXES[x.ndim] if x.ndim < len(_REDUCED_AXES) else (0, *range(2, x.ndim))
    max_stat = min(_GREATEST[dtype], SAFE) if x.itemsize == 2 else _GREATEST[dtype]
    held = (gamma, beta, mean, var, buffers["num_batches_tracked"])
    return Call((kind, as_, many, *sizes), max_stat, Plan(reduced_axes, layer.eps), held)


def _sizes(x: Tensor) -> tuple[int, int, int] | None:
    """Runs, features and width, as x lies in memory; None if it lies otherwise."""
    if x.is_contiguous():
        runs, features = x.shape[:2]
        return runs, features, x.numel() // (runs * features)
    last = _LAST.get(x.ndim)
    return (x.numel() // x.shape[1], x.shape[1], 1) if last and x.is_contiguous(memory_format=last) else None


_REDUCED_AXES = tuple((0, *range(2, ndim)) for ndim in range(6))


def by_batch(layer: Any, x: Tensor, how: Call) -> Tensor | None:
    """The output, the running statistics having moved; or None, nothing having happened, for a batch with NaN or ∞."""
    if layer._waiting is not None or recomputing() or how.form[3] * how.form[5] < 2:
        return None
    gamma, beta, *running = how.held
    if not (layer.training and layer.track_running_stats):
        running = [None, None, None]
    weight = layer.momentum
    if weight is None:
        weight = 0.0 if running[2] is None else 1 / (int(running[2]) + 1)
    stats = np.empty((3, how.form[4]))
    y: Tensor | None = _ByBatch.apply(x, gamma, beta, running, (weight, layer.unbiased), how, stats)
    return y


def by_running(x: Tensor, how: Call) -> Tensor:
    """The output in evaluation; it has no gradient."""
    y, room = empty_like(x), _room(how)
    batchnorm_contiguous.evaluate(room, *how.form, *map(address, (x, y, *how.held[:4])), how.plan.eps)
    _ended(room, how)
    return y


def _room(how: Call) -> NDArray[np.float64]:
    return batchnorm_contiguous.room(*how.form[2:])


def _ended(room: NDArray[np.float64], how: Call) -> bool:
    """Run a prepared call on its threads; return whether the running statistics have moved."""
    many = how.form[2]
    if many == 1:
        return True
    openmp.together(batchnorm_contiguous.RUN, batchnorm_contiguous.run, room, many)
    return bool(batchnorm_contiguous.settle(room))


def empty_like(x: Tensor) -> Tensor:
    """A new tensor of x's shape and layout; a large one from the buffer cache."""
    if x.numel() * x.itemsize < buffer_cache.LEAST:
        return torch.empty_like(x)
    flat = torch.from_numpy(buffer_cache.empty(x.numel() * x.itemsize, np.uint8)).view(x.dtype)
    return flat.as_strided(x.shape, x.stride())


class _ByBatch(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, gamma: Tensor | None, beta: Tensor | None, running: Any, rule: Any, how: Call, stats: Any
    ) -> Tensor | None:
        y, room = empty_like(x), _room(how)
        places = map(address, (x, y, gamma, beta, *running))
        if not batchnorm_contiguous.forward(
            room, *how.form, *places, stats, how.plan.eps, how.max_stat, *rule
        ) or not _ended(room, how):
            return None
        ctx.save_for_backward(x, gamma, beta)
        ctx.how, ctx.plan, ctx.stats = how, how.plan, stats
        return y

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> Any:
        x, gamma, beta = ctx.saved_tensors
        if torch.is_grad_enabled():
            return *again(ctx, dy, x, gamma, beta, None), None, None, None, None
        dx, room, how = empty_like(x), _room(ctx.how), ctx.how
        if dy.stride() != dx.stride() or dy.is_neg():
            dy = torch.empty_like(x).copy_(dy)
        dgamma = torch.empty_like(gamma) if ctx.needs_input_grad[1] else None
        dbeta = torch.empty_like(beta) if ctx.needs_input_grad[2] else None
        batchnorm_contiguous.backward(
            room, *how.form, *map(address, (x, dy, dx, gamma, dgamma, dbeta)), ctx.stats, how.plan.eps
        )
        _ended(room, how)
        return dx, dgamma, dbeta, None, None, None, None


def address(x: Tensor | None) -> int:
    return 0 if x is None else x.data_ptr()
