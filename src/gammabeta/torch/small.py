"""Small contiguous tensors, and larger ones in evaluation: one kernel call for all, since around it every microsecond
counts."""

from math import inf
from typing import Any, NamedTuple

import numpy as np
import torch

from gammabeta.kernels import memory, small, threads
from gammabeta.kernels.batchnorm import SAFE
from gammabeta.kernels.layout import LANES
from gammabeta.torch.functions import Plan, again, fits
from gammabeta.torch.running import recomputing

Tensor = torch.Tensor

MOST = 2**19  # values; beyond it the kernels that split their work over threads are faster
NARROW = 2**17  # values likewise of rows of less than 64, which those lay side by side
SPLIT = 2**19  # values worth a thread in evaluation: waking it takes 50 µs

_KINDS = {
    torch.float16: np.empty(0, np.int16),
    torch.bfloat16: np.empty(0, np.uint16),
    torch.float32: np.empty(0, np.float32),
    torch.float64: np.empty(0, np.float64),
}


_LAST = {4: torch.channels_last, 5: torch.channels_last_3d}


class Call(NamedTuple):
    """What a kernel needs to know of a layer and its batch."""

    kinds: tuple[Any, Any]
    """Empty arrays of the types of x and of the parameters."""
    sizes: tuple[int, int, int]
    """Runs, features, width."""
    most: float
    """Below which a variance can be kept, the unbiased one being twice as much at most, and gone back from."""
    plan: Plan
    held: tuple[Tensor | None, ...]
    """γ, β, the running mean and variance, how many batches."""


def call(layer: Any, x: Any, by_batch: bool) -> Call | None:
    """How to call the kernels for x; None if x is large or not contiguous, or the parameters not of one type."""
    if type(x) is not Tensor or x.ndim < 2 or x.is_neg() or not fits(x):
        return None
    values = x.numel()
    if values > MOST and (by_batch or values * x.itemsize >= memory.LEAST):
        return None
    if layer.axis is not None or layer.activation is not None or x.shape[1] != layer.num_features:
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
    kinds = _KINDS.get(x.dtype), _KINDS.get(dtype)
    if kinds[0] is None or kinds[1] is None:
        return None
    for p in (gamma, beta, mean, var):
        if p is not None and (
            p.dtype != dtype or not p.is_cpu or not p.is_contiguous() or p.numel() != layer.num_features
        ):
            return None
    sizes = _sizes(x)
    if sizes is None or (values > NARROW and sizes[2] == 1 and sizes[1] < LANES):
        return None
    away = _AWAY[x.ndim] if x.ndim < len(_AWAY) else (0, *range(2, x.ndim))
    most = min(torch.finfo(dtype).max / 2, SAFE if x.dtype.itemsize == 2 else inf)
    return Call(kinds, sizes, most, Plan(away, layer.eps), (gamma, beta, mean, var, buffers["num_batches_tracked"]))


def _sizes(x: Tensor) -> tuple[int, int, int] | None:
    """Runs, features and width, as x lies in memory; None if it lies otherwise."""
    if x.is_contiguous():
        runs, features = x.shape[:2]
        return runs, features, x.numel() // (runs * features)
    last = _LAST.get(x.ndim)
    return (x.numel() // x.shape[1], x.shape[1], 1) if last and x.is_contiguous(memory_format=last) else None


_AWAY = tuple((0, *range(2, ndim)) for ndim in range(6))


def by_batch(layer: Any, x: Tensor, how: Call) -> Tensor | None:
    """The output, the running statistics having moved; or None, nothing having happened, for a batch with NaN or ∞."""
    if layer._waiting is not None or recomputing() or how.sizes[0] * how.sizes[2] < 2:
        return None
    gamma, beta, *running = how.held
    if not layer.training:
        running = [None, None, None]
    weight = layer.momentum
    if weight is None:
        weight = 0.0 if running[2] is None else 1 / (int(running[2]) + 1)
    stats = np.empty((3, how.sizes[1]))
    y: Tensor | None = _ByBatch.apply(x, gamma, beta, running, (weight, layer.unbiased), how, stats)
    return y


def by_running(x: Tensor, how: Call) -> Tensor:
    """The output in evaluation; it has no gradient."""
    y = torch.empty_like(x)
    runs, features, width = how.sizes
    source, target, *held = map(_address, (x, y, *how.held[:4]))

    def some(between: tuple[int, int]) -> None:
        first, last = between
        ahead = first * features * width * x.itemsize
        small.evaluate(*how.kinds, source + ahead, target + ahead, *held, last - first, features, width, how.plan.eps)

    threads.run(some, threads.ranges(runs, SPLIT // (features * width)))
    return y


class _ByBatch(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, gamma: Tensor | None, beta: Tensor | None, running: Any, rule: Any, how: Call, stats: Any
    ) -> Tensor | None:
        y = torch.empty_like(x)
        places = map(_address, (x, y, gamma, beta, *running))
        if not small.forward(*how.kinds, *places, stats, *how.sizes, how.plan.eps, how.most, *rule):
            return None
        ctx.save_for_backward(x, gamma, beta)
        ctx.how, ctx.plan, ctx.stats = how, how.plan, stats
        return y

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> Any:
        x, gamma, beta = ctx.saved_tensors
        if torch.is_grad_enabled():
            return *again(ctx, dy, x, gamma, beta, None), None, None, None, None
        dx = torch.empty_like(x)
        if dy.stride() != dx.stride() or dy.is_neg():
            dy = torch.empty_like(x).copy_(dy)
        dgamma = torch.empty_like(gamma) if ctx.needs_input_grad[1] else None
        dbeta = torch.empty_like(beta) if ctx.needs_input_grad[2] else None
        places = map(_address, (x, dy, dx, gamma, dgamma, dbeta))
        small.backward(*ctx.how.kinds, *places, ctx.stats, *ctx.how.sizes, ctx.plan.eps)
        return dx, dgamma, dbeta, None, None, None, None


def _address(x: Tensor | None) -> int:
    return 0 if x is None else x.data_ptr()
