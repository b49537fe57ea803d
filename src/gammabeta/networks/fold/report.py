"""The report of `fold` in any framework, and the difference between two outputs."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gammabeta.affine import Affine
from gammabeta.norm import linear_map


class RefusalError(Exception):
    """The reason why something is not folded; caught by the planner, never raised to a caller."""


@dataclass(frozen=True, slots=True)
class FoldedNorm:
    """A norm, or "scaler", and the layers that it was folded into: those before it, or those after."""

    norm: str
    into: tuple[str, ...]
    order: str


@dataclass(frozen=True, slots=True)
class SkippedNorm:
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
        folded, skipped: each norm of the model is in one of them.
        traced: how the way through the model was found.
        difference: between the folded and the unfolded model's output on the example; None without one.
        notes: what else there is to know.
    """

    folded: tuple[FoldedNorm, ...]
    skipped: tuple[SkippedNorm, ...]
    traced: str
    difference: Difference | None = None
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        lines = [f"{len(self.folded)} folded, {len(self.skipped)} skipped; traced {self.traced}"]
        lines += [f"  {f.norm} folded into {', '.join(f.into)}, {f.order} it" for f in self.folded]
        lines += [f"  {k.norm} skipped: {k.why}" for k in self.skipped]
        if self.difference is not None:
            lines.append(f"  largest difference on the example: {self.difference}")
        return "\n".join(lines + [f"  note: {note}" for note in self.notes])


def difference(got: NDArray[Any], want: NDArray[Any], eps: float, min_normal: float) -> Difference:
    """The largest difference of two outputs, by the second's ULPs.

    Args:
        eps, min_normal: of the second's type: the distance from 1 to the next number, and the least normal number.
    """
    a, b = got.astype(np.float64), want.astype(np.float64)
    with np.errstate(invalid="ignore"):
        errors = np.where((a == b) | (np.isnan(a) & np.isnan(b)), 0.0, np.abs(a - b))
    largest = float(np.abs(b[np.isfinite(b)]).max(initial=0.0))
    absolute = float(np.nan_to_num(errors, nan=math.inf).max(initial=0.0))
    ulp = eps * 2.0 ** math.floor(math.log2(max(largest, min_normal)))
    return Difference(absolute / ulp, absolute, want.dtype.name)


def digits(affine: Affine, eps: float, dtype: str, wider: str) -> tuple[str, ...]:
    """A note on the digits that raw data cost the first layer; () where that is less than one.

    Args:
        eps: the distance from 1 to the next number of the layer's type.
        wider: what to fold where that is too much.
    """
    distance = linear_map.distance(affine)
    if distance < 10:
        return ()
    note = (
        f"raw data lie up to {distance:.3g} deviations from 0, which W·x + b adds up and takes away again: in {dtype} "
        f"the first layer sees its input to about {distance * eps:.1g} of a deviation; where that is too little, keep "
        f"the scaler, or fold {wider}"
    )
    return (note,)
