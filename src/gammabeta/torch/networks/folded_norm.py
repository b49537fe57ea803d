"""The module that takes a folded norm's place, and the difference between two outputs."""

from typing import Any

import torch
from torch import nn
from torch.utils import _pytree as pytree

from gammabeta.backends import arrays
from gammabeta.networks.fold import report
from gammabeta.networks.fold.report import Difference, FoldedNorm, RefusalError, Report, SkippedNorm

__all__ = ["Difference", "FoldedNorm", "FoldedNormStub", "RefusalError", "Report", "SkippedNorm", "difference"]


class FoldedNormStub(nn.Module):
    """Takes the place of a folded batch norm that also added a residual, applied an activation or checked x's rank.

    Args:
        rank: how many axes x must have for the folding to be right, where the norm took others as well.
        activation: what was fused into it: "relu", "silu" or None.
        then: the modules that it called after it had normalized; None for none.
    """

    def __init__(self, rank: int | None, activation: str | None, then: nn.Module | None = None) -> None:
        super().__init__()
        self.rank, self.activation, self.then = rank, activation, then

    def forward(self, x: torch.Tensor, mask: None = None, residual: torch.Tensor | None = None) -> torch.Tensor:
        if self.rank is not None:
            torch._assert(
                x.ndim == self.rank, f"x must have {self.rank} axes, for which a batch norm was folded away here"
            )
        y = x if residual is None else x + residual
        y = y if self.activation is None else getattr(torch.nn.functional, self.activation)(y)
        return y if self.then is None else self.then(y)

    def extra_repr(self) -> str:
        """What it does."""
        rank = None if self.rank is None else f"rank={self.rank}"
        return ", ".join(word for word in (self.activation, rank) if word is not None)


def difference(got: Any, want: Any) -> Difference | None:
    """The largest difference of two outputs, tensors or structures of them, by the second's ULPs; None without any."""
    pairs = zip(*(_tensors(result) for result in (got, want)), strict=True)
    return max((_difference(a, b) for a, b in pairs), key=lambda d: d.ulps, default=None)


def _tensors(result: Any) -> list[torch.Tensor]:
    leaves = pytree.tree_leaves(result)
    return [t for t in leaves if isinstance(t, torch.Tensor) and t.dtype.is_floating_point and t.numel()]


def _difference(got: torch.Tensor, want: torch.Tensor) -> Difference:
    limits = torch.finfo(want.dtype)
    a, b = (arrays.to_numpy(t.detach().cpu()) for t in (got, want))
    return report.difference(a, b, limits.eps, limits.smallest_normal)
