"""Small contiguous tensors: one kernel call for all, since around it every microsecond counts."""

from typing import Any

import numpy as np
import torch

from gammabeta.kernels import small
from gammabeta.torch.functions import Plan, again
from gammabeta.torch.running import recomputing

Tensor = torch.Tensor

MOST = 2**15  # values; beyond it the kernels that split their work over threads are faster

_KINDS = {
    torch.float16: np.empty(0, np.int16),
    torch.bfloat16: np.empty(0, np.uint16),
    torch.float32: np.empty(0, np.float32),
    torch.float64: np.empty(0, np.float64),
}


def fits(layer: Any, x: Tensor) -> bool:
    """Whether x is small and contiguous, and the layer's parameters are of one type beside it."""
    if x.numel() > MOST or layer.axis is not None or layer.activation is not None or not x.is_contiguous():
        return False
    gamma, beta, mean, var, _ = _held(layer)
    first = mean if gamma is None else gamma
    dtype = x.dtype if first is None else first.dtype
    return dtype in _KINDS and all(
        p is None or (p.dtype == dtype and p.is_cpu and p.is_contiguous()) for p in (gamma, beta, mean, var)
    )


def _held(layer: Any) -> tuple[Tensor | None, ...]:
    """γ, β, the running statistics, how many batches: past `Module.__getattr__`, at 0.4 µs each."""
    parameters, buffers = layer._parameters, layer._buffers
    return (
        parameters["weight"],
        parameters["bias"],
        buffers["running_mean"],
        buffers["running_var"],
        buffers["num_batches_tracked"],
    )


def by_batch(layer: Any, x: Tensor, plan: Plan) -> Tensor | None:
    """The output, the running statistics having moved; or None, nothing having happened, for a batch with NaN or ∞."""
    if layer._waiting is not None or recomputing():
        return None
    gamma, beta, *running = _held(layer)
    if not layer.training:
        running = [None, None, None]
    weight = layer.momentum
    if weight is None:
        weight = 0.0 if running[2] is None else 1 / (int(running[2]) + 1)
    stats = np.empty((4, x.shape[1]))
    y: Tensor | None = _ByBatch.apply(x, gamma, beta, running, (plan.eps, weight, layer.unbiased), plan, stats)
    return y


def by_running(layer: Any, x: Tensor) -> Tensor:
    """The output in evaluation; it has no gradient."""
    gamma, beta, mean, var, _ = _held(layer)
    y = torch.empty_like(x)
    small.evaluate(*_kinds(x, mean), *map(_address, (x, y, gamma, beta, mean, var)), *_sizes(x), layer.eps)
    return y


class _ByBatch(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, gamma: Tensor | None, beta: Tensor | None, running: Any, rule: Any, plan: Plan, stats: Any
    ) -> Tensor | None:
        y = torch.empty_like(x)
        places = [_address(p) for p in (x, y, gamma, beta, *running)]
        if not small.forward(*_kinds(x, gamma, beta, running[0]), *places, stats, *_sizes(x), *rule):
            return None
        ctx.save_for_backward(x, gamma, beta)
        ctx.plan, ctx.stats = plan, stats
        return y

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> Any:
        x, gamma, beta = ctx.saved_tensors
        if torch.is_grad_enabled():
            return *again(ctx, dy, x, gamma, beta, None), None, None, None, None
        dy, dx = dy.contiguous(), torch.empty_like(x)
        dgamma = torch.empty_like(gamma) if ctx.needs_input_grad[1] else None
        dbeta = torch.empty_like(beta) if ctx.needs_input_grad[2] else None
        places = [_address(p) for p in (x, dy, dx, gamma, dgamma, dbeta)]
        small.backward(*_kinds(x, gamma, beta), *places, ctx.stats, *_sizes(x))
        return dx, dgamma, dbeta, None, None, None, None


def _address(x: Tensor | None) -> int:
    return 0 if x is None else x.data_ptr()


def _kinds(x: Tensor, *parameters: Tensor | None) -> Any:
    return _KINDS[x.dtype], _KINDS[next((p.dtype for p in parameters if p is not None), x.dtype)]


def _sizes(x: Tensor) -> tuple[int, int, int]:
    """Runs, features, width."""
    runs, features = x.shape[:2]
    return runs, features, x.numel() // (runs * features)
