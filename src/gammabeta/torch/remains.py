"""What folding leaves: the module in a norm's place, and the report."""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.utils import _pytree as pytree


class RefusalError(Exception):
    """Why something is not folded; never seen by a caller."""


class Remains(nn.Module):
    """What stands in the place of a batch norm that was folded away: what it did besides.

    Args:
        rank: how many axes x must have for the folding to be right, where the norm took others as well.
        relu: whether a ReLU was fused into it.
    """

    def __init__(self, rank: int | None, relu: bool) -> None:
        super().__init__()
        self.rank, self.relu = rank, relu

    def forward(self, x: torch.Tensor, mask: None = None, residual: torch.Tensor | None = None) -> torch.Tensor:
        if self.rank is not None:
            torch._assert(
                x.ndim == self.rank, f"x must have {self.rank} axes, for which a batch norm was folded away here"
            )
        y = x if residual is None else x + residual
        return torch.relu(y) if self.relu else y

    def extra_repr(self) -> str:
        """What it does."""
        return ", ".join(["relu"] * self.relu + [f"rank={self.rank}"] * (self.rank is not None))


@dataclass(frozen=True, slots=True)
class Folded:
    """A norm, or "scaler", and the layers that it was folded into: those before it, or those after."""

    norm: str
    into: tuple[str, ...]
    order: str


@dataclass(frozen=True, slots=True)
class Kept:
    """A norm that stays, and why."""

    norm: str
    why: str


@dataclass(frozen=True, slots=True)
class Difference:
    """The largest difference of two outputs: itself, and in ULPs of the largest value of the one it is in."""

    ulps: float
    absolute: float
    dtype: str

    def __str__(self) -> str:
        return f"{self.ulps:.3g} ULPs of {self.dtype} ({self.absolute:.3g})"


@dataclass(frozen=True, slots=True)
class Report:
    """What `fold` has done.

    Attributes:
        folded, kept: each norm of the model is in one of them.
        traced: how the way through the model was found.
        difference: between the folded and the unfolded model's output on the example; None without one.
        notes: what else there is to know.
    """

    folded: tuple[Folded, ...]
    kept: tuple[Kept, ...]
    traced: str
    difference: Difference | None = None
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        lines = [f"{len(self.folded)} folded, {len(self.kept)} kept; traced {self.traced}"]
        lines += [f"  {f.norm} folded into {', '.join(f.into)}, {f.order} it" for f in self.folded]
        lines += [f"  {k.norm} kept: {k.why}" for k in self.kept]
        if self.difference is not None:
            lines.append(f"  largest difference on the example: {self.difference}")
        return "\n".join(lines + [f"  note: {note}" for note in self.notes])


def difference(got: Any, want: Any) -> Difference | None:
    """The largest difference of two outputs, tensors or structures of them, by the second's ULPs; None without any."""
    pairs = zip(*(_tensors(result) for result in (got, want)), strict=True)
    return max((_difference(a, b) for a, b in pairs), key=lambda d: d.ulps, default=None)


def _tensors(result: Any) -> list[torch.Tensor]:
    leaves = pytree.tree_leaves(result)
    return [t for t in leaves if isinstance(t, torch.Tensor) and t.dtype.is_floating_point and t.numel()]


def _difference(got: torch.Tensor, want: torch.Tensor) -> Difference:
    a, b = got.double(), want.double()
    apart = torch.where((a == b) | (a.isnan() & b.isnan()), 0.0, (a - b).abs()).nan_to_num(nan=math.inf).max().item()
    largest = b[b.isfinite()].abs().max().item() if bool(b.isfinite().any()) else 0.0
    limits = torch.finfo(want.dtype)
    ulp = limits.eps * 2.0 ** math.floor(math.log2(max(largest, limits.smallest_normal)))
    return Difference(apart / ulp, apart, str(want.dtype).removeprefix("torch."))
