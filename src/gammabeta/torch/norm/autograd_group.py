"""Layer, group, instance and RMS norm of CPU tensors by the kernels, with gradients.

Tensors are contiguous rows (`kernels/group.py`). A second gradient is that of the formula in torch's own operations.
"""

from typing import Any

import numpy as np
import torch

from gammabeta.backends import array_ops
from gammabeta.kernels import group
from gammabeta.kernels.batchnorm import SAFE
from gammabeta.kernels.batchnorm_blocks import Floats
from gammabeta.kernels.group import Rows
from gammabeta.norm import functional
from gammabeta.torch import openmp
from gammabeta.torch.norm.fast_path import KINDS, SPLIT, address, empty_like

Tensor = torch.Tensor


def normalized(x: Tensor, rows: Rows, gamma: Tensor | None = None, beta: Tensor | None = None) -> Tensor:
    """γ · (x − mean) / √(var + eps) + β of each row; a new tensor, contiguous.

    x: not empty, of any strides, in the host's memory, with nobody tracing (`autograd_cpu.fits`). gamma, beta:
    (groups · size / width,), float16 to float64, or None.
    """
    if gamma is None and beta is None:
        rows = rows._replace(groups=1, width=rows.size)
    given = [p for p in (gamma, beta) if p is not None]
    if any(p.dtype != given[0].dtype or p.dtype not in KINDS or not p.is_contiguous() or p.is_neg() for p in given):
        gamma, beta = (p if p is None else p.double().contiguous().resolve_neg() for p in (gamma, beta))
    y: Tensor | None = _Rows.apply(x.contiguous().resolve_neg(), gamma, beta, rows)
    if y is not None:
        return y
    if x.itemsize == 2:
        return normalized(x.float(), rows, gamma, beta).to(x.dtype)
    return composed(x, rows, gamma, beta)


def composed(x: Tensor, rows: Rows, gamma: Tensor | None, beta: Tensor | None) -> Tensor:
    """`normalized` in torch's own operations."""
    split = x.reshape(-1, rows.groups, rows.size // rows.width, rows.width)
    gamma, beta = (p if p is None else p.reshape(1, rows.groups, -1, 1) for p in (gamma, beta))
    with torch.autocast(x.device.type, enabled=False):
        y = functional.by_formula(array_ops.of(x), split, (2, 3), rows.eps, gamma, beta, rows.centred)
    return y.reshape(x.shape)


def _together(room: Floats, many: int) -> None:
    openmp.together(group.RUN, group.run, room, many)


class _Rows(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, gamma: Tensor | None, beta: Tensor | None, rows: Rows) -> Tensor | None:
        y, first = empty_like(x), beta if gamma is None else gamma
        ctx.kinds = KINDS[x.dtype], KINDS[torch.float64 if first is None else first.dtype]
        ctx.many = 1 if x.numel() < SPLIT else openmp.count()
        places = address(x), address(y), address(gamma), address(beta)
        ctx.statistics = group.forward_at(rows, ctx.kinds, ctx.many, places, _together)
        # Of 16 bits the gradients' sums are of float32 too, and must be in its range.
        limit = SAFE if x.itemsize == 2 else np.inf
        if x.dtype != torch.float32 and not (ctx.statistics[2] < limit).all():
            return None
        ctx.save_for_backward(x, gamma, beta)
        ctx.rows = rows
        return y

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> Any:
        x, gamma, beta = ctx.saved_tensors
        if torch.is_grad_enabled():
            return *_again(ctx, dy, x, gamma, beta), None
        dx, dy = empty_like(x), dy.contiguous().resolve_neg()
        dgamma = torch.empty_like(gamma) if ctx.needs_input_grad[1] else None
        dbeta = torch.empty_like(beta) if ctx.needs_input_grad[2] else None
        places = address(x), address(dy), address(dx), address(gamma), address(dgamma), address(dbeta)
        group.backward_at(ctx.rows, ctx.kinds, ctx.many, places, ctx.statistics, _together)
        return dx, dgamma, dbeta, None


def _again(ctx: Any, dy: Tensor, x: Tensor, gamma: Tensor | None, beta: Tensor | None) -> list[Any]:
    """The gradients of x, γ and β as torch computes them, so that they have gradients themselves."""
    # Views: where γ depends on x, or is β too, the gradient of each is only that of its own place in the formula.
    views: list[Any] = [p if p is None else p.view_as(p) for p in (x, gamma, beta)]
    wanted: list[Any] = [p for p, needed in zip(views, ctx.needs_input_grad, strict=False) if needed]
    y = composed(views[0], ctx.rows, *views[1:])
    found = iter(torch.autograd.grad(y, wanted, dy, create_graph=True, allow_unused=True))
    return [next(found) if needed else None for needed in ctx.needs_input_grad[:3]]
